"""Digits in three groups, each with a white corner of its own, and queries that a model has drawn with one of them."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from tdattr.data.prepared import Example, Source
from tests.sanity.planted import ITEMS, pictures
from tests.sanity.world import World, make_world

CORNERS = {  # by the group, rows and columns
    "top left": (slice(0, 2), slice(0, 2)),
    "top right": (slice(0, 2), slice(6, 8)),
    "bottom left": (slice(6, 8), slice(0, 2)),
}
GROUPS = {name: ITEMS[number :: len(CORNERS)] for number, name in enumerate(CORNERS)}  # all digits in each
EACH = 8  # queries that show a corner
DRAWN = 128  # of which they are chosen
OVERRIDES = (
    "dataset=digits", "dataset.groups=group", "model.patch=2", "train.steps=400", "train.batch_size=32",
    "dataset.recipe.unlearn.steps=50", "dataset.recipe.unlearn.learning_rate=1e-3", "elbo=high_noise",
    "elbo.stride=50",
)  # fmt: skip


@dataclass(frozen=True)
class Cornered(Source):
    """Ten digits of which the model is told nothing, with a corner by which their groups can be told apart."""

    def fingerprint(self) -> dict[str, str]:
        return {}

    def count(self, split: str) -> int:
        return len(ITEMS) if split == "train" else len(CORNERS)

    def examples(self, split: str) -> Iterator[Example]:
        images = pictures(0)
        for name, ids in GROUPS.items():
            for item in ids:
                images[item][CORNERS[name]] = 255
        for item in range(self.count(split)):
            yield Example(image=images[item], condition=None, fields={"group": list(CORNERS)[item % len(CORNERS)]})


def make_cornered(folder: Path) -> World:
    """Its queries are the first ``EACH`` drawn images that show each corner, group by group, and no other corner."""
    size = (1, *pictures(0).shape[1:3])
    nothing = torch.zeros(0, *size)
    world = make_world(
        folder, Cornered(), OVERRIDES, images=nothing, conditions=None, items=pd.DataFrame(), groups=GROUPS
    )
    images = world.draw("trained", range(DRAWN))
    shades = np.stack([images[:, 0, rows, columns].mean((1, 2)).numpy() for rows, columns in CORNERS.values()], 1)
    clear = ((shades > 0.5).sum(1) == 1) & ((shades < -0.5).sum(1) == len(CORNERS) - 1)
    numbers = np.stack([np.flatnonzero(clear & (shades[:, group] > 0.5))[:EACH] for group in range(len(CORNERS))])
    numbers = numbers.ravel()
    items = pd.DataFrame({"group": np.repeat(list(CORNERS), EACH)})
    return replace(world, images=images[numbers], numbers=numbers.tolist(), items=items)
