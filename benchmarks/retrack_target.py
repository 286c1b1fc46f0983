"""How much faster is ReTrack's target for a whole batch at once than item by item and neighbour by neighbour?

Both compute the target of the same 3 x 32 x 32 images, with noise levels from all of DDPM's range, alternating in
rounds so that a busy machine slows both. Prints the milliseconds of each, the ratio and the largest difference.

    python benchmarks/retrack_target.py [--batch 128] [--neighbours 10] [--rounds 15] [--threads 1]
"""

import argparse
import math
import statistics
import time
from collections.abc import Callable

import torch
from omegaconf import OmegaConf
from torch import Tensor

from tdattr.configs import build
from tdattr.diffusion.ddpm import DDPM
from tdattr.search_path import CONF
from tdattr.unlearning.objectives.retrack import ReTrack


def looped(objective: ReTrack, diffusion: DDPM, x: Tensor, neighbours: Tensor, level: Tensor, noise: Tensor) -> Tensor:
    """The definition as it is written, one neighbour after the other."""
    assert objective.kl_cap is not None
    longest = math.sqrt(2 * objective.kl_cap)
    targets = []
    for item in range(len(x)):
        kept = float(diffusion.alpha_bar[int(level[item])])
        γ, s = math.sqrt(kept), math.sqrt(1 - kept)
        noised = γ * x[item] + s * noise[item]
        exponents, towards = [], []
        for neighbour in neighbours[item]:
            exponents.append(-((noised - γ * neighbour) ** 2).sum() / (2 * s**2))
            correction = γ / s * (x[item] - neighbour)
            length = float(correction.norm())
            if length > longest:
                correction = correction * (longest / length)
            towards.append(noise[item] + correction)
        weights = torch.softmax(torch.stack(exponents), dim=0)
        target = torch.zeros_like(x[item])
        for weight, each in zip(weights, towards, strict=True):
            target += weight * each
        targets.append(target)
    return torch.stack(targets)


def given(batch: int, neighbours: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images, neighbours some way off, levels and noise."""
    rng = torch.Generator().manual_seed(0)
    x = torch.rand(batch, 3, 32, 32, generator=rng) * 2 - 1
    near = x[:, None] + 0.3 * torch.randn(batch, neighbours, 3, 32, 32, generator=rng)
    level = torch.randint(1000, (batch,), generator=rng).float()
    return x, near.clamp(-1, 1), level, torch.randn(x.shape, generator=rng)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--neighbours", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    objective = build(OmegaConf.load(CONF / "objective" / "retrack.yaml"), "objective")  # type: ignore[arg-type]
    node = OmegaConf.merge(OmegaConf.load(CONF / "diffusion" / "ddpm.yaml"), {"c_noise": "log_sigma"})
    diffusion = build(node, "diffusion")  # type: ignore[arg-type]
    inputs = given(options.batch, options.neighbours)
    ways: dict[str, Callable[[], Tensor]] = {
        "loop": lambda: looped(objective, diffusion, *inputs),
        "batch": lambda: objective.target(diffusion, *inputs),
    }
    found: dict[str, Tensor] = {}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(options.rounds + 1):  # the first round warms up
        for name, way in ways.items():
            started = time.perf_counter()
            found[name] = way()
            if number:
                seconds[name].append(time.perf_counter() - started)
    for name, values in seconds.items():
        print(f"{name:<10} {1000 * statistics.median(values):8.2f} ms per batch (median of {options.rounds})")
    ratios = [a / b for a, b in zip(seconds["loop"], seconds["batch"], strict=True)]
    print(f"ratio      {statistics.median(ratios):8.2f} (min {min(ratios):.2f}, max {max(ratios):.2f})")
    print(f"difference {float((found['loop'] - found['batch']).abs().max()):8.1e} at most")


if __name__ == "__main__":
    main()
