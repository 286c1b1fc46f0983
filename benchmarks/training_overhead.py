"""How much slower is a training step through Lightning than in a bare PyTorch loop?

Both train `dit_tiny` on `glyphs` from the same weights on the same batches, with the moving average, alternating in
short rounds so that a busy machine slows both. Prints the milliseconds per step of each and the ratio; the weights
that come out are compared, so that the two really do the same work. With `--compile` the plain loop is also run with
the network compiled.

    python benchmarks/training_overhead.py [--rounds 5] [--steps 200] [--threads 1] [--compile]
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from safetensors.torch import load_file
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from tdattr.pipeline.open import open_workspace
from tdattr.pipeline.train import build_network
from tdattr.pipeline.workspace import Workspace
from tdattr.search_path import CONF
from tdattr.training.batches import Batches
from tdattr.training.pretrain import pretrain
from tdattr.training.quiet import quieten


def bare(ws: Workspace, network: nn.Module, steps: int, evaluated: nn.Module | None = None) -> nn.Module:
    """The plain loop. ``evaluated``: the same network, compiled."""
    evaluated = network if evaluated is None else evaluated
    config = ws.train.in_steps(len(ws.ids))
    batches = Batches(ws.data.train, ws.ids, ws.diffusion, config, ws.seed)
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(config.ema))
    optimizer = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * config.rate(step)
        loss = ws.diffusion.loss(evaluated, *batches[step].inputs).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        average.update_parameters(network)
    return network


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args()
    quieten()
    torch.set_num_threads(options.threads)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        overrides = [f"train.steps={options.steps}", f"trainer.threads={options.threads}", "logger=csv"]
        cfg = compose("config", overrides)
    with tempfile.TemporaryDirectory() as folder:
        OmegaConf.update(cfg, "paths.artifacts", folder)
        ws = open_workspace(cfg)
        ids = np.arange(len(ws.data.train))
        names = ["bare", "lightning", *(["compiled"] if options.compile else [])]
        seconds: dict[str, list[float]] = {name: [] for name in names}
        compiled = build_network(ws)
        evaluated = torch.compile(compiled, dynamic=False) if options.compile else compiled
        for number in range(options.rounds + 1):  # the first round warms up
            target = Path(folder) / f"round{number}"
            target.mkdir()
            started = time.perf_counter()
            plain = bare(ws, build_network(ws), options.steps)
            middle = time.perf_counter()
            start = (build_network(ws), ws.data, ids, ws.diffusion)
            pretrain(*start, ws.train, ws.trainer, cfg.seed, target, "train")
            ended = time.perf_counter()
            compiled.load_state_dict(build_network(ws).state_dict())
            again = time.perf_counter()
            if options.compile:
                bare(ws, compiled, options.steps, evaluated)  # type: ignore[arg-type]
            spent = time.perf_counter() - again
            if number:
                for name, value in zip(names, (middle - started, ended - middle, spent), strict=False):
                    seconds[name].append(value)
            elif options.compile:
                print(f"compiled   {spent:7.1f} s for the first {options.steps} steps")
        trained = load_file(target / "raw.safetensors")
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(trained[name], value)
        if options.compile:
            torch.testing.assert_close(compiled.state_dict()[name], value, rtol=1e-3, atol=1e-4)
    for name, values in seconds.items():
        milliseconds = 1000 * statistics.median(values) / options.steps
        print(f"{name:<10} {milliseconds:7.2f} ms per step (median of {options.rounds})")
    for name in names[1:]:
        ratios = [b / a for a, b in zip(seconds["bare"], seconds[name], strict=True)]
        low, high = min(ratios), max(ratios)
        print(f"{name:<10} {statistics.median(ratios):7.3f} of bare (min {low:.3f}, max {high:.3f}); same weights")


if __name__ == "__main__":
    main()
