"""How much faster are coupled trainings of one small network that are stacked, compared with one after the other?

K copies of `dit_tiny` are trained on `glyphs`, each without another tenth of the items: one after the other as a
bare loop, the same in two processes that share the threads (`--processes 2`, on a CPU), and stacked, with one
optimiser and one moving average for all. They alternate in short rounds, so that a busy machine slows all of them; on
a CPU alone the time of the processor is counted. All have the loss, optimiser and moving average of a run, and its
batches, which are drawn beforehand, as by a loader's workers; the weights that come out are compared.

    python benchmarks/stacked_training.py [--models 2 4 8 10 32] [--device cpu] [--threads 2] [--batch 64]
        [--steps 20] [--rounds 3] [--processes 2] [-- experiment=glyphs_mucs]
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import Tensor

from tdattr.diffusion.batch import Batch
from tdattr.networks import Network
from tdattr.pipeline.open import open_workspace
from tdattr.pipeline.train import build_network
from tdattr.pipeline.workspace import Workspace
from tdattr.search_path import CONF
from tdattr.seeding import generator
from tdattr.training.batches import Batches
from tdattr.training.module import Pretraining
from tdattr.training.processes import end_with_parent
from tdattr.training.quiet import quieten
from tdattr.training.stack import Stack

WARM = 3  # steps before the first round


def draw(ws: Workspace, folds: list[np.ndarray], steps: range) -> list[list[Batch]]:
    """The batches of every model at every step."""
    config = ws.train.in_steps(len(ws.ids))
    return [[Batches(ws.data.train, ids, ws.diffusion, config, ws.seed)[step] for step in steps] for ids in folds]


class Training:
    """A network, or a stack of them, with what trains it."""

    def __init__(self, ws: Workspace, networks: list[Network], device: torch.device) -> None:
        self.count, config = len(networks), ws.train.in_steps(len(ws.ids))
        alone = self.count == 1
        self.module = (
            Pretraining(networks[0], ws.diffusion, config, 0, False) if alone else Stack(networks, ws.diffusion, config)
        )
        self.module.to(device)
        found = self.module.configure_optimizers()
        self.optimizer, self.schedule = found["optimizer"], found["lr_scheduler"]["scheduler"]

    def step(self, batch: Batch) -> None:
        """One step on the batches of all after each other."""
        self.optimizer.zero_grad()
        losses = self.module.losses(self.module.network, batch)
        losses.unflatten(0, (self.count, -1)).mean(1).sum().backward()
        self.optimizer.step()
        self.schedule.step()
        self.module.average.update_parameters(self.module.network)

    def weights(self) -> list[Tensor]:
        """Of every model, flat."""
        parts = [value.detach().reshape(self.count, -1) for value in self.module.network.parameters()]
        return list(torch.cat(parts, 1).cpu())


def clock(run: Callable[[], None], options: argparse.Namespace) -> float:
    """Seconds until the device is done; on a CPU alone, those that this process had it."""
    now = time.process_time if options.device == "cpu" and not options.processes else time.perf_counter
    started = now()
    run()
    if options.device == "cuda":
        torch.cuda.synchronize()
    return now() - started


def open_dataset(options: argparse.Namespace, folder: str) -> Workspace:
    """The workspace of the experiment."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        accelerator = "gpu" if options.device == "cuda" else "cpu"
        batch = [f"train.batch_size={options.batch}"] if options.batch else []
        cfg = compose("config", [*options.settings, f"trainer.accelerator={accelerator}", "logger=csv", *batch])
    OmegaConf.update(cfg, "paths.artifacts", folder)
    return open_workspace(cfg)


def one_after_the_other(trainings: list[Training], drawn: list[list[Batch]], device: torch.device) -> None:
    """The plain way."""
    for training, batches in zip(trainings, drawn, strict=True):
        for batch in batches:
            training.step(batch.to(device))


def stacked(training: Training, drawn: list[list[Batch]], device: torch.device) -> None:
    """The other."""
    for batches in zip(*drawn, strict=True):
        training.step(Batch.join(batches).to(device))


def work(options: argparse.Namespace, folder: str, folds: list[np.ndarray], ready, go, done) -> None:  # type: ignore[no-untyped-def]
    """In a process of its own: the plain way, whenever it is told to."""
    end_with_parent()
    quieten()
    torch.set_num_threads(max(1, options.threads // options.processes))
    ws, device = open_dataset(options, folder), torch.device(options.device)
    trainings = [Training(ws, [build_network(ws)], device) for _ in folds]
    one_after_the_other(trainings, draw(ws, folds, range(WARM)), device)
    ready.release()
    for number in range(options.rounds):
        drawn = draw(ws, folds, steps_of(number, options))
        go.acquire()
        one_after_the_other(trainings, drawn, device)
        done.release()


class Processes:
    """Some that train the plain way at the same time."""

    def __init__(self, options: argparse.Namespace, folder: str, folds: list[np.ndarray]) -> None:
        context = torch.multiprocessing.get_context("spawn")
        self.ready, self.done = context.Semaphore(0), context.Semaphore(0)
        self.go = [context.Semaphore(0) for _ in range(options.processes)]
        self.processes = [
            context.Process(
                target=work,
                args=(options, folder, folds[number :: options.processes], self.ready, go, self.done),
                daemon=True,  # ends with this one
            )
            for number, go in enumerate(self.go)
        ]
        for process in self.processes:
            process.start()
        for _ in self.processes:
            self.ready.acquire()

    def round(self) -> None:
        """Return once all are through one."""
        for go in self.go:
            go.release()
        for _ in self.go:
            self.done.acquire()


def steps_of(number: int, options: argparse.Namespace) -> range:
    """The steps of a round."""
    first = WARM + number * options.steps
    return range(first, first + options.steps)


def compare(ws: Workspace, options: argparse.Namespace, count: int, folder: str) -> None:
    """Measure and print for so many models."""
    device = torch.device(options.device)
    rng = generator(0, "folds")
    folds = [np.setdiff1d(ws.ids, rng.choice(ws.ids, len(ws.ids) // 10, replace=False)) for _ in range(count)]
    plain = [Training(ws, [build_network(ws)], device) for _ in folds]
    stack = Training(ws, [build_network(ws) for _ in folds], device)
    ways: dict[str, Callable[[list[list[Batch]]], None]] = {
        "plain": lambda drawn: one_after_the_other(plain, drawn, device),
        "stacked": lambda drawn: stacked(stack, drawn, device),
    }
    for way in ways.values():
        way(draw(ws, folds, range(WARM)))
    if options.processes:
        processes = Processes(options, folder, folds)
        ways["processes"] = lambda _: processes.round()
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    drawing: list[float] = []
    for number in range(options.rounds):
        started = time.perf_counter()
        drawn = draw(ws, folds, steps_of(number, options))
        drawing.append(time.perf_counter() - started)
        for name, way in ways.items():
            seconds[name].append(clock(partial(way, drawn), options))
    seconds["drawing"] = drawing
    per_step = {name: 1000 * statistics.median(s) / options.steps / count for name, s in seconds.items()}
    print(f"{count} models: ms a step of one: " + ", ".join(f"{name} {value:.2f}" for name, value in per_step.items()))
    for name in list(ways)[1:]:
        ratios = [a / b for a, b in zip(seconds["plain"], seconds[name], strict=True)]
        print(f"  plain / {name} {statistics.median(ratios):.2f} (min {min(ratios):.2f}, max {max(ratios):.2f})")
    steps = WARM + options.rounds * options.steps
    apart = max(
        float((one.weights()[0] - other).abs().max()) for one, other in zip(plain, stack.weights(), strict=True)
    )
    print(f"  weights after {steps} steps differ by at most {apart:.1e}", flush=True)
    if device.type == "cuda":
        print(f"  at most {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("settings", nargs="*", default=["experiment=glyphs_mucs"])
    parser.add_argument("--models", type=int, nargs="+", default=[2, 4, 8, 10, 32])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=0)
    options = parser.parse_args()
    quieten()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        ws = open_dataset(options, folder)
        print(f"{len(ws.ids)} items of {ws.x_shape}, batch {ws.train.batch_size}, {options.device}")
        for count in options.models:
            compare(ws, options, count, folder)


if __name__ == "__main__":
    main()
