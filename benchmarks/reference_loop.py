"""How much faster are the losses of MUCS than by its plain loop, with the same scores?

The plain loop takes the items one after the other: all pairs of an item are a batch, whose noise is drawn again from
the seed, and the network runs in float32. Ours is `LossModel.table`, in each precision and batch size, and with
`torch.compile` where it is asked for. Both compute the tables of F1, which is trained for some steps on scikit-learn's
digits, and of a copy that unlearns one of them. Prints evaluations a second, how many times as fast as the plain loop,
by how much losses and scores differ from its, the share of the top 2 % that is the same, and memory; then the same for
more and more items at a few pairs.

    python benchmarks/reference_loop.py [--model dit_tiny] [--accelerator auto] [--items 200] [--pairs 100] [--rounds 3]
        [--precisions float32 bfloat16] [--batches 100 400] [--compile default] [--growth 1000 4000 16000] [--threads 1]
"""

import argparse
import copy
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from small_models import (
    Measured,
    alternate,
    choose_device,
    make_edm,
    make_items,
    make_network,
    name_device,
    share_of_top,
)
from torch import Tensor, nn

from tdattr.diffusion import Diffusion
from tdattr.diffusion.batch import Batch
from tdattr.methods.shift_config import skew
from tdattr.scoring.cells import BatchItems, LossModel
from tdattr.scoring.pairs import NoiseSet
from tdattr.scoring.precision import network_precision
from tdattr.seeding import generator, normal
from tdattr.training.config import ScoringPrecision

BATCH = 64
RATE = 1e-3
SCHEDULE_SHARE = 0.7  # of the generation schedule that the pairs cover (MUCS §4)
EPSILON = 1e-3  # of the skew (MUCS eq. 3)
FORGET = 0.2  # weight of the query's loss (MUCS §2.3)
UNLEARN_STEPS = 30
TOP_SHARE = 0.02
GROWTH_PAIRS = 4

Tables = list[Float[Tensor, "item pair"]]  # F1's and the unlearned copy's


@dataclass(frozen=True)
class Setting:
    """What all ways compute."""

    diffusion: Diffusion
    networks: list[nn.Module]  # F1 and the unlearned copy
    x: Float[Tensor, "item channel height width"]
    levels: Float[Tensor, " pair"]
    device: torch.device

    def noise(self) -> Float[Tensor, "pair channel height width"]:
        """That of the pairs, drawn now."""
        return normal(generator(0, "benchmark.noise"), len(self.levels), *self.x.shape[1:])

    def loop(self) -> Tables:
        """The plain loop."""
        levels = self.levels.to(self.device)
        tables = []
        for network in self.networks:
            rows = []
            for item in self.x:
                x = item.to(self.device).expand(len(levels), *item.shape)
                with torch.inference_mode(), network_precision("float32", self.device):
                    rows.append(self.diffusion.loss(network, x, levels, self.noise().to(self.device)).cpu())
            tables.append(torch.stack(rows))
        return tables

    def table(self, networks: list[nn.Module], precision: ScoringPrecision, batch: int) -> Tables:
        """Ours."""
        items = BatchItems(Batch(self.x, torch.ones(len(self.x)), torch.zeros(len(self.x))))
        pairs = NoiseSet(self.levels, self.noise())
        models = [LossModel(self.diffusion, each, self.device, batch, precision=precision) for each in networks]
        return [model.table(items, pairs) for model in models]


def train(network: nn.Module, diffusion: Diffusion, x: Tensor, steps: int, device: torch.device) -> None:
    """Some steps of plain training."""
    run(network, x, steps, RATE, device, lambda batch: diffusion.loss(network, *batch.inputs).mean())


def unlearn(network: nn.Module, diffusion: Diffusion, x: Tensor, query: Tensor, device: torch.device) -> None:
    """Some steps that keep the items and forget the query, at a tenth of the rate."""

    def loss(batch: Batch) -> Tensor:
        forget = Batch(query.to(device).expand_as(batch.x), batch.level, batch.noise)
        kept, forgotten = (diffusion.loss(network, *each.inputs).mean() for each in (batch, forget))
        return kept - FORGET * forgotten.clamp(max=1.0)  # about the loss of an untrained network

    run(network, x, UNLEARN_STEPS, RATE / 10, device, loss)


def run(
    network: nn.Module, x: Tensor, steps: int, rate: float, device: torch.device, loss: Callable[[Batch], Tensor]
) -> None:
    """Steps of AdamW on random items."""
    rng, diffusion = generator(0, "benchmark.train"), make_edm()
    network.requires_grad_(True)
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate)
    for _ in range(steps):
        chosen = x[torch.from_numpy(rng.integers(len(x), size=BATCH))]
        batch = Batch(chosen, diffusion.training_levels(rng, BATCH), normal(rng, *chosen.shape)).to(device)
        optimiser.zero_grad()
        loss(batch).backward()
        optimiser.step()
    network.requires_grad_(False)


def make_setting(options: argparse.Namespace, device: torch.device) -> Setting:
    """Train F1, unlearn its copy."""
    diffusion, network = make_edm(), make_network(options.model, device)
    x = make_items(options.model, options.items)
    train(network, diffusion, x, options.steps, device)
    after = copy.deepcopy(network)
    unlearn(after, diffusion, x, x[0], device)
    points = round(options.pairs / SCHEDULE_SHARE)
    return Setting(diffusion, [network, after], x, diffusion.generation_levels(points)[: options.pairs], device)


def name_ways(setting: Setting, options: argparse.Namespace) -> dict[str, Callable[[], Tables]]:
    """What is compared, the plain loop first."""
    ways: dict[str, Callable[[], Tables]] = {"plain loop": setting.loop}
    for precision in options.precisions:
        for batch in options.batches:
            ways[f"{precision}, {batch} in a pass"] = partial(setting.table, setting.networks, precision, batch)
            if options.compile is not None:
                mode = None if options.compile == "default" else options.compile
                compiled: list[nn.Module] = [
                    torch.compile(network, dynamic=False, mode=mode)  # type: ignore[misc]
                    for network in setting.networks
                ]
                ways[f"{precision}, {batch}, compiled"] = partial(setting.table, compiled, precision, batch)
    return ways


def describe(name: str, found: Measured, plain: Measured) -> str:
    """A line of the result."""
    tables, exact = found.result, plain.result
    cells = sum(table.numel() for table in exact)
    off = torch.cat([((a - b).abs() / b).flatten() for a, b in zip(tables, exact, strict=True)])
    scores, expected = (skew(before, after, EPSILON).mean(1).double().numpy() for before, after in (tables, exact))
    top = share_of_top(scores, expected, max(1, round(TOP_SHARE * len(scores))))
    return (
        f"{name:30} {cells / statistics.median(found.seconds):8.0f} a second, {plain.ratio(found)} times as fast; "
        f"losses differ by {off.mean():.0e}, at most {off.max():.0e}, scores by {abs(scores - expected).mean():.0e}, "
        f"at most {abs(scores - expected).max():.0e}; top {top:.3f} the same; {found.memory:.0f} MiB, first "
        f"{found.warm_up:.1f} s"
    )


def grow(setting: Setting, options: argparse.Namespace) -> None:
    """The same for more items, at a few pairs."""
    step = max(1, len(setting.levels) // GROWTH_PAIRS)
    for items in options.growth:
        x, levels = make_items(options.model, items), setting.levels[::step][:GROWTH_PAIRS]
        larger = Setting(setting.diffusion, setting.networks, x, levels, setting.device)
        best = partial(larger.table, setting.networks, options.precisions[-1], options.batches[-1])
        found = alternate({"loop": larger.loop, "ours": best}, 1, setting.device)
        rates = {name: 2 * items * GROWTH_PAIRS / each.seconds[0] for name, each in found.items()}
        print(
            f"{items:6} items at {GROWTH_PAIRS} pairs: plain loop {rates['loop']:.0f} a second, "
            f"{found['loop'].memory:.0f} MiB; ours {rates['ours']:.0f} a second, {found['ours'].memory:.0f} MiB"
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="dit_tiny")
    parser.add_argument("--accelerator", default="auto", choices=["auto", "cpu", "gpu"])
    parser.add_argument("--items", type=int, default=200)
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precisions", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--batches", nargs="+", type=int, default=[100, 400])
    parser.add_argument("--compile", choices=["default", "reduce-overhead", "max-autotune"])
    parser.add_argument("--growth", nargs="*", type=int, default=[])
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = choose_device(options.accelerator)
    print(f"{options.model} on {name_device(device)}: {options.items} items, {options.pairs} pairs, two networks")
    setting = make_setting(options, device)
    found = alternate(name_ways(setting, options), options.rounds, device)
    for name, each in found.items():
        print(describe(name, each, found["plain loop"]))
    grow(setting, options)


if __name__ == "__main__":
    main()
