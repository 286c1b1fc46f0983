"""Networks and items without a dataset, and ways of one computation in turn: what benchmarks of scoring share."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from omegaconf import OmegaConf
from torch import Tensor

from tdattr.configs import build
from tdattr.diffusion.edm import EDM
from tdattr.networks import Network
from tdattr.search_path import CONF
from tdattr.seeding import torch_seed

# by name: the model, what is changed of it, and the channels and the resolution of its items
MODELS: dict[str, tuple[str, dict[str, Any], int, int]] = {
    "dit_tiny": ("dit_tiny", {}, 1, 16),
    "dit_192": ("dit_tiny", {"blocks": 4, "width": 192, "heads": 6, "patch": 2, "embedding_width": 192}, 1, 16),
    "unet_tiny": ("unet_tiny", {}, 1, 16),
    "unet_dtrak": ("unet_dtrak", {}, 3, 32),
    "dit_b": ("dit_b", {}, 3, 32),
}
SCALE = 0.02  # of what is added to the weights, so that no part of a network stays at zero
MIB = 2**20


def make_edm() -> EDM:
    """EDM as it is configured."""
    return build(OmegaConf.load(CONF / "diffusion" / "edm.yaml"), "diffusion")  # type: ignore[arg-type, no-any-return]


def make_network(name: str, device: torch.device) -> Network:
    """One of ``MODELS`` with random weights, unconditional, in evaluation mode and without gradients."""
    model, changes, channels, resolution = MODELS[name]
    fixed: dict[str, Any] = {"augmentation_label": False, "c_noise": "log_sigma"}
    node = OmegaConf.merge(OmegaConf.load(CONF / "model" / f"{model}.yaml"), fixed | changes)
    torch.manual_seed(torch_seed(0, "benchmark.weights"))
    network: Network = build(node, "model").build(channels, resolution, 0)  # type: ignore[arg-type]
    with torch.no_grad():
        for value in network.parameters():
            value.add_(torch.randn_like(value), alpha=SCALE)
    return network.to(device).eval().requires_grad_(False)


def make_items(name: str, count: int) -> Float[Tensor, "item channel height width"]:
    """So many of scikit-learn's digits, enlarged to what the model takes; where they run out, they come again, shifted
    by a pixel more."""
    from sklearn.datasets import load_digits

    _, _, channels, resolution = MODELS[name]
    digits = torch.from_numpy(load_digits().images).float()[:, None] / 8 - 1
    factor = resolution // digits.shape[-1]
    rounds = [digits.roll(shift, -1) for shift in range(-(-count // len(digits)))]
    enlarged = torch.cat(rounds)[:count].repeat_interleave(factor, -1).repeat_interleave(factor, -2)
    return enlarged.expand(-1, channels, -1, -1).contiguous()


@dataclass(frozen=True)
class Measured:
    """A way's seconds in every round but the first, which warms up; what it gave, and the most memory it held in MiB,
    on a CPU beyond what the process held before."""

    seconds: list[float]
    result: Any
    warm_up: float
    memory: float

    def ratio(self, faster: "Measured") -> str:
        """How many times as fast another way was: the median over the rounds and the range."""
        ratios = [a / b for a, b in zip(self.seconds, faster.seconds, strict=True)]
        return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def alternate(ways: Mapping[str, Callable[[], Any]], rounds: int, device: torch.device) -> dict[str, Measured]:
    """Run the ways in turn, so many rounds after one that warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    results: dict[str, Any] = {}
    memory: dict[str, float] = {}
    for _ in range(rounds + 1):
        for name, way in ways.items():
            before = start_memory(device)
            started = clock(device)
            results[name] = way()
            seconds[name].append(clock(device) - started)
            memory[name] = read_memory(device) - before
    return {name: Measured(seconds[name][1:], results[name], seconds[name][0], memory[name]) for name in ways}


def clock(device: torch.device) -> float:
    """Seconds: of the clock once a GPU is done; of a processor without one, which other programs disturb less."""
    if device.type == "cuda":
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def start_memory(device: torch.device) -> float:
    """Begin to watch for the most memory held; what is to be subtracted from that. On a CPU this is Linux's."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return 0.0
    Path("/proc/self/clear_refs").write_text("5")
    return read_memory(device)


def read_memory(device: torch.device) -> float:
    """The most memory held since ``start_memory``, in MiB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / MIB
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def choose_device(accelerator: str) -> torch.device:
    """``cpu`` or ``gpu``; ``auto``: a GPU where there is one."""
    gpu = accelerator == "gpu" or (accelerator == "auto" and torch.cuda.is_available())
    return torch.device("cuda" if gpu else "cpu")


def name_device(device: torch.device) -> str:
    """What is computed on, for the first line of a result."""
    return torch.cuda.get_device_name() if device.type == "cuda" else f"cpu, {torch.get_num_threads()} threads"


def share_of_top(first: np.ndarray, second: np.ndarray, count: int) -> float:
    """Of the ``count`` highest under one, the share that is among those under the other."""
    tops = [set(np.argsort(-values, kind="stable")[:count].tolist()) for values in (first, second)]
    return len(tops[0] & tops[1]) / count
