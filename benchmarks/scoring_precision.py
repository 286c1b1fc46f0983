"""How many evaluations a second does this device make in float32, tf32 and bfloat16, and how far are the losses?

The network is that of MUCS on CIFAR-10 (DiT-B), or of another experiment, with random weights; the items are noise, and
no data are needed. Prints evaluations a second, and by how much the losses differ from those of float32 relative to
these, and the share of pairs of items whose order stays. tf32 is a mode of NVIDIA's GPUs; elsewhere it is float32.

    python benchmarks/scoring_precision.py [--experiment mucs_cifar10] [--accelerator auto] [--items 2000] [--seconds 2]
"""

import argparse
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from torch import Tensor

from tdattr.planning.measure import Measured
from tdattr.planning.workspace import open_planned
from tdattr.scoring.precision import network_precision
from tdattr.search_path import CONF
from tdattr.seeding import torch_seed
from tdattr.training.config import ScoringPrecision

KINDS: tuple[ScoringPrecision, ...] = ("float32", "tf32", "bfloat16")
SCALE = 0.02  # of what is added to the weights, so that no part of the network stays at zero


def evaluate(
    experiment: str, accelerator: str, count: int
) -> tuple[Callable[[ScoringPrecision], Tensor], torch.device]:
    """The losses of the items in one of the kinds, and where they are computed."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        settings = [f"experiment={experiment}", f"trainer.accelerator={accelerator}", "trainer.workers=0", "plan=true"]
        ws = open_planned(compose("config", settings))
    measured = Measured(ws)
    network = measured.network.eval().requires_grad_(False)
    rng = torch.Generator(ws.device).manual_seed(torch_seed(0, "benchmark"))
    for value in network.parameters():
        value.data += SCALE * torch.randn(value.shape, generator=rng, device=ws.device)
    inputs = measured.inputs(count)

    def run(kind: ScoringPrecision) -> Tensor:
        with torch.inference_mode(), network_precision(kind, ws.device):
            return ws.diffusion.loss(network, *inputs).float().cpu()

    return run, ws.device


def clock(run: Callable[[], Tensor], least: float) -> tuple[float, Tensor]:
    """Seconds of one pass, and its losses; the first pass warms up."""
    losses, passes = run(), 0
    started = time.perf_counter()
    while (spent := time.perf_counter() - started) < least or not passes:
        losses, passes = run(), passes + 1
    return spent / passes, losses


def share_of_kept_order(losses: Tensor, exact: Tensor) -> float:
    """Of all pairs of items, those in the same order under both."""
    signs = [np.sign(np.subtract.outer(values.numpy(), values.numpy())) for values in (losses, exact)]
    return float(np.mean(signs[0] == signs[1]))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", default="mucs_cifar10")
    parser.add_argument("--accelerator", default="auto", choices=["auto", "cpu", "gpu"])
    parser.add_argument("--items", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    run, device = evaluate(options.experiment, options.accelerator, options.items)
    gpu = device.type == "cuda"
    print(torch.cuda.get_device_name() if gpu else f"{device.type}, {torch.get_num_threads()} threads")
    exact = None
    for kind in KINDS:
        seconds, losses = clock(partial(run, kind), options.seconds)
        exact = losses if exact is None else exact
        off, order = (losses - exact).abs() / exact, share_of_kept_order(losses, exact)
        rate = f"{options.items / seconds:.0f} evaluations a second"
        print(f"{kind:8} {rate}; losses differ by {off.mean():.1e}, at most {off.max():.1e}; order kept {order:.4f}")
    if gpu:
        print(f"at most {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB")


if __name__ == "__main__":
    main()
