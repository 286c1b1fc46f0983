"""Which trainings are smooth enough in their data that a derivative tells what removing items does?

Each argument is a training: overrides in one string. It is differentiated for the losses of some held-out items and run
again with other weights of its items: twice and once more for the smoothness of `method=metagradient` (arXiv
2503.13751), then without random halves and without random twentieths, in an unchanged order. Printed are the loss of
the held-out items, how many times derivatives grow on the way back, smoothness, and the correlation of what the
derivatives predict with what happens, after each item's means over the removals are taken off.

    python benchmarks/smoothness.py "experiment=metagradient" "experiment=metagradient train.epsilon=1e-8"
"""

import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

import tdattr
from tdattr.metagradients.backward import begin_at_end
from tdattr.metagradients.state import find_weights
from tdattr.metagradients.step import Step
from tdattr.metagradients.trajectory import Trajectory
from tdattr.methods import Context
from tdattr.methods.smoothness import agree
from tdattr.methods.weighted_training import load_weights, open_training, train_weighted
from tdattr.pipeline.attribute import outline_context
from tdattr.scoring.cells import LossModel, TrainingItems
from tdattr.scoring.gradients import GradientConfig, Gradients, features
from tdattr.scoring.pairs import NoiseSet
from tdattr.scoring.projection import ProjectionConfig
from tdattr.seeding import generator, normal

ITEMS, DRAWS = 3, 100
STEP = 0.1  # of a weight, for smoothness
REMOVED = {"halves": (0.5, 4), "twentieths": (0.05, 4)}  # the share, and how often
CONFIG = GradientConfig("loss", DRAWS, "training", False, "all", ProjectionConfig("none", 8, 1))


@dataclass(eq=False)
class Recipe:
    """A training that can be run with other weights of its items."""

    context: Context
    folder: Path

    @cached_property
    def items(self) -> TrainingItems:
        """Held-out items, spread over the split."""
        split = self.context.data.test
        return TrainingItems(split, np.linspace(0, len(split) - 1, ITEMS).astype(int))

    @cached_property
    def noise(self) -> NoiseSet:
        """What their losses are means over."""
        rng, levels = generator(1, "benchmark.smoothness"), self.context.diffusion.training_levels
        return NoiseSet(levels(rng, DRAWS), normal(rng, DRAWS, *self.items.take(np.arange(1))[0].shape[1:]))

    def train(self, counts: Float[Tensor, " item"]) -> Float[Tensor, " item"]:
        """The losses of the held-out items where the training items count so much."""
        with tempfile.TemporaryDirectory() as folder:
            network = train_weighted(self.context, counts, Path(folder))
        model = LossModel(self.context.diffusion, network, self.context.device, 1024)
        return model.table(self.items, self.noise).double().mean(1)

    def differentiate(self) -> tuple[Float[Tensor, "item weight"], float]:
        """The derivatives of the losses by the weights of the training items, and their growth."""
        context = self.context
        training, layout = open_training(context)
        trajectory = Trajectory(training, layout, self.folder)
        network = load_weights(context.initial(), layout, find_weights(trajectory.train("Training"), context.weights))
        noise = self.noise.to(context.device)
        gradients = Gradients(network, context.diffusion, CONFIG, list(layout.names), noise, 64)
        outputs = torch.from_numpy(features(gradients, self.items, slice(0, ITEMS), 0))
        step = Step(training.network, layout, context.diffusion, training.batches.config, context.seed)
        end = begin_at_end(outputs, len(context.data.train), context.weights)
        begin = trajectory.go_back(step, end, ITEMS)
        return begin.items.double(), float((begin.longest / outputs.norm(dim=1)).max())


def correlate(
    predict: Callable[[Tensor], Tensor], happens: Callable[[Tensor], Tensor], share: float, times: int, items: int
) -> float:
    """That of what is predicted of removals with what happens."""
    rng, predicted, found = generator(2, "benchmark.smoothness"), [], []
    for _ in range(times):
        counts = torch.ones(items)
        counts[rng.choice(items, round(share * items), replace=False)] = 0
        predicted.append(predict(counts))
        found.append(happens(counts))
    pair = [each - each.mean(0) for each in (torch.stack(predicted), torch.stack(found))]
    return float((pair[0] * pair[1]).sum() / (pair[0].norm() * pair[1].norm()))


def judge(recipe: Recipe) -> str:
    """The line of a training."""
    items = len(recipe.context.data.train)
    half = generator(1, "benchmark.smoothness").permutation(items)[: items // 2]
    first, second, third = (
        recipe.train(torch.ones(items).index_fill(0, torch.from_numpy(half), 1 - times * STEP)) for times in range(3)
    )
    derivatives, growth = recipe.differentiate()

    def predict(counts: Tensor) -> Tensor:
        return derivatives @ (counts.double() - 1)

    said = [
        f"loss {first.mean():.3f}",
        f"growth {growth:.2g}",
        f"smoothness {agree(second - first, third - second):.2f}",
    ]
    for name, (share, times) in REMOVED.items():
        said.append(f"{name} {correlate(predict, recipe.train, share, times, items):.2f}")
    return ", ".join(said)


def main() -> None:
    """Print a line per training."""
    if len(sys.argv) == 1:
        sys.exit(__doc__)
    torch.set_num_threads(1)
    for overrides in sys.argv[1:]:
        with tempfile.TemporaryDirectory() as folder:
            fixed = ["dataset=glyph_digits", "protocol=none", "method=metagradient", "trainer.accelerator=cpu"]
            ws = tdattr.compose([*fixed, *overrides.split(), f"paths.outputs={folder}"])
            context = replace(outline_context(ws, ws.method), weights=ws.weights)
            os.mkdir(states := os.path.join(folder, "states"))
            print(f"{overrides}: {judge(Recipe(context, Path(states)))}", flush=True)


if __name__ == "__main__":
    main()
