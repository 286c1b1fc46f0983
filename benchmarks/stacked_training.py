"""How much faster are coupled trainings of one small network that are stacked, compared with one after the other?

K copies of `dit_tiny` are trained on `glyphs`, each without another tenth of the items: one after the other as a
bare loop, the same in two processes that share the threads (`--processes 2`, on a CPU), and stacked
(`torch.func.functional_call` under `vmap`, one optimiser and one moving average for all). They alternate in short
rounds, so that a busy machine slows all of them. All have the loss, optimiser and moving average of a run, and its
batches, which are drawn beforehand, as by a loader's workers; the weights that come out are compared.

    python benchmarks/stacked_training.py [--models 2 4 8 10 32] [--device cpu] [--threads 2] [--batch 64]
        [--steps 20] [--rounds 3] [--processes 2] [--bf16] [--compile] [-- experiment=glyphs_mucs]
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.optim.swa_utils import AveragedModel

from tdattr.diffusion.batch import Batch
from tdattr.networks import Given, Network
from tdattr.pipeline.open import open_workspace
from tdattr.pipeline.train import build_network
from tdattr.pipeline.workspace import Workspace
from tdattr.search_path import CONF
from tdattr.seeding import generator
from tdattr.training.batches import Batches
from tdattr.training.module import approach
from tdattr.training.quiet import quieten

WARM = 3  # steps before the first round


class Stack(nn.Module):
    """Networks of one architecture as one, whose batch is those of all of them after each other."""

    def __init__(self, networks: list[Network]) -> None:
        super().__init__()
        self.count = len(networks)
        parameters, self.buffers_of = stack_module_state(networks)  # type: ignore[arg-type]
        self.names = list(parameters)
        self.stacked = nn.ParameterList(nn.Parameter(value.detach()) for value in parameters.values())
        self.outline = [networks[0]]  # in a list, so that it is no part of the module

    def forward(self, x: Tensor, c_noise: Tensor, given: Given) -> Tensor:
        values = [x, c_noise, given.condition, given.drop, given.augmentation]
        there = [value is not None for value in values]

        def one(parameters: dict[str, Tensor], buffers: dict[str, Tensor], *inputs: Tensor) -> Tensor:
            found = iter(inputs)
            x, c_noise, *told = [next(found) if is_there else None for is_there in there]
            return functional_call(self.outline[0], (parameters, buffers), (x, c_noise, Given(*told)))

        inputs = [value.unflatten(0, (self.count, -1)) for value in values if value is not None]
        parameters = dict(zip(self.names, self.stacked, strict=True))
        with sdpa_kernel(SDPBackend.MATH):
            return vmap(one)(parameters, self.buffers_of, *inputs).flatten(0, 1)


def draw(ws: Workspace, folds: list[np.ndarray], steps: range) -> list[list[Batch]]:
    """The batches of every model at every step."""
    config = ws.train.in_steps(len(ws.ids))
    return [[Batches(ws.data.train, ids, ws.diffusion, config, ws.seed)[step] for step in steps] for ids in folds]


class Training:
    """A network, or a stack of them, with what trains it."""

    def __init__(
        self,
        ws: Workspace,
        networks: list[Network],
        device: torch.device,
        options: argparse.Namespace,
        compiled: bool = False,
    ) -> None:
        self.ws, self.count, self.options = ws, len(networks), options
        self.network = (networks[0] if self.count == 1 else Stack(networks)).to(device)
        if isinstance(self.network, Stack):
            self.network.buffers_of = {name: value.to(device) for name, value in self.network.buffers_of.items()}
        config = self.config = ws.train.in_steps(len(ws.ids))
        self.average = AveragedModel(self.network, multi_avg_fn=partial(approach, decay=config.ema))
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
        )
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, config.rate)
        self.loss: Callable[[Batch], Tensor] = self.losses
        if compiled:
            self.loss = torch.compile(self.losses)

    def losses(self, batch: Batch) -> Tensor:
        """The sum over the models of the mean over the batch."""
        with torch.autocast(self.options.device, torch.bfloat16) if self.options.bf16 else nullcontext():
            losses = self.ws.diffusion.loss(self.network, *batch.inputs)
        return losses.unflatten(0, (self.count, -1)).mean(1).sum()

    def step(self, batch: Batch) -> None:
        """One step."""
        self.optimizer.zero_grad()
        self.loss(batch).backward()
        self.optimizer.step()
        self.schedule.step()
        self.average.update_parameters(self.network)

    def weights(self) -> list[Tensor]:
        """Of every model, flat."""
        parts = [value.detach().reshape(self.count, -1) for value in self.network.parameters()]
        return list(torch.cat(parts, 1).cpu())


def join(batches: Sequence[Batch]) -> Batch:
    """Batches after each other."""
    given = [batch.given for batch in batches]

    def cat(values: list[Tensor | None]) -> Tensor | None:
        return None if values[0] is None else torch.cat([value for value in values if value is not None])

    told = Given(*(cat([getattr(g, name) for g in given]) for name in ("condition", "drop", "augmentation")))
    x, level, noise = (torch.cat([getattr(b, name) for b in batches]) for name in ("x", "level", "noise"))
    return Batch(x, level, noise, told)


def wait(device: torch.device) -> float:
    """The time, once the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def open_dataset(options: argparse.Namespace, folder: str) -> Workspace:
    """The workspace of the experiment."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        accelerator = "gpu" if options.device == "cuda" else "cpu"
        batch = [f"train.batch_size={options.batch}"] if options.batch else []
        cfg = compose("config", [*options.settings, f"trainer.accelerator={accelerator}", "logger=csv", *batch])
    OmegaConf.update(cfg, "paths.artifacts", folder)
    return open_workspace(cfg)


def one_after_the_other(trainings: list[Training], drawn: list[list[Batch]], device: torch.device) -> float:
    """Seconds."""
    started = wait(device)
    for training, batches in zip(trainings, drawn, strict=True):
        for batch in batches:
            training.step(batch.to(device))
    return wait(device) - started


def stacked(training: Training, drawn: list[list[Batch]], device: torch.device) -> float:
    """Seconds."""
    started = wait(device)
    for batches in zip(*drawn, strict=True):
        training.step(join(batches).to(device))
    return wait(device) - started


def work(options: argparse.Namespace, folder: str, folds: list[np.ndarray], ready, go, done) -> None:  # type: ignore[no-untyped-def]
    """In a process of its own: the plain way, whenever it is told to."""
    quieten()
    torch.set_num_threads(max(1, options.threads // options.processes))
    ws, device = open_dataset(options, folder), torch.device(options.device)
    trainings = [Training(ws, [build_network(ws)], device, options) for _ in folds]
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

    def round(self) -> float:
        """Seconds until all are through one."""
        started = time.perf_counter()
        for go in self.go:
            go.release()
        for _ in self.go:
            self.done.acquire()
        return time.perf_counter() - started


def steps_of(number: int, options: argparse.Namespace) -> range:
    """The steps of a round."""
    first = WARM + number * options.steps
    return range(first, first + options.steps)


def compare(ws: Workspace, options: argparse.Namespace, count: int, folder: str) -> None:
    """Measure and print for so many models."""
    device = torch.device(options.device)
    rng = generator(0, "folds")
    folds = [np.setdiff1d(ws.ids, rng.choice(ws.ids, len(ws.ids) // 10, replace=False)) for _ in range(count)]
    plain = [Training(ws, [build_network(ws)], device, options) for _ in folds]
    stack = Training(ws, [build_network(ws) for _ in folds], device, options)
    ways: dict[str, Callable[[list[list[Batch]]], float]] = {
        "plain": lambda drawn: one_after_the_other(plain, drawn, device),
        "stacked": lambda drawn: stacked(stack, drawn, device),
    }
    if options.compile:
        fused = Training(ws, [build_network(ws) for _ in folds], device, options, compiled=True)
        ways["compiled"] = lambda drawn: stacked(fused, drawn, device)
    for name, way in ways.items():
        took = way(draw(ws, folds, range(WARM)))
        if name == "compiled":
            print(f"{count} models: compiled in {took:.0f} s")
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
            seconds[name].append(way(drawn))
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
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--compile", action="store_true")
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
