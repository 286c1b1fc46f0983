"""Loss shifts as a loop over items, orientations, captions and pairs, and the world in which they are computed."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tdattr.methods import Context
from tdattr.methods.shift_config import ShiftConfig
from tdattr.seeding import generator, normal
from tdattr.store import Store
from tests.methods.plain import loss_of, schedule, training_levels

SEED, PAIRS, POINTS = 11, 5, 7  # the schedule has 7 points, of which the first 5 are used
ITEMS = 48  # in the training split
IDS = np.array([40, 3, 17, 8, 0, 47, 21])  # neither sorted nor without gaps


@dataclass(frozen=True)
class World:
    """A context with a store, the network that it hands out copies of, and those copies."""

    context: Context
    f1: nn.Module
    store: Store
    handed: list[nn.Module]


def noise(wanted: ShiftConfig, model: int, item: int) -> tuple[Tensor, Tensor]:
    """Levels and noise images: the same for all, or of an item under F1 (0) or after a query (1 + its number)."""
    rng = generator(SEED, "mucs.score") if wanted.consistent else generator(SEED, "score.own", model, item)
    if wanted.levels == "training":
        sigma = training_levels(rng, PAIRS)
    elif wanted.levels == "discrete":
        sigma = schedule(PAIRS, PAIRS).flip(0)
    elif wanted.consistent:
        sigma = schedule({0.7: POINTS, 1.0: PAIRS}[wanted.schedule_share], PAIRS)
    else:  # the item's turn in every round of dealing
        turn = generator(SEED, "score.dealt").permutation(ITEMS)[item]
        sigma = schedule({0.7: 342, 1.0: PAIRS * ITEMS}[wanted.schedule_share], PAIRS * ITEMS)[turn::ITEMS]
    return sigma, normal(rng, PAIRS, 1, 8, 8)


def dense(world: World, network: nn.Module, query: int, wanted: ShiftConfig, kept: Any = slice(None)) -> Tensor:
    """The scores, one item at a time; ``kept``: the pairs that count."""
    split, scores = world.context.data.train, []
    for item in world.context.ids.tolist():
        sides = []
        for pixels in [split.pixels[item], split.pixels[item][:, ::-1]][: 1 + wanted.mirror]:
            x = torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1).expand(PAIRS, -1, -1, -1) / 127.5 - 1
            moved = []
            for caption in (0, 1) if wanted.captions == "all" else (0,):
                given = torch.from_numpy(np.array(split.conditions[item, caption])).expand(PAIRS, -1)
                before = loss_of(world.f1, x, *noise(wanted, 0, item), given)[kept].double()
                after = loss_of(network, x, *noise(wanted, 1 + query, item), given)[kept].double()
                if not wanted.consistent:
                    before, after = before.mean(0), after.mean(0)
                shift = ((after - before) / (after + before + 1e-3 if wanted.form == "skew" else 1)).mean().item()
                moved.append(abs(shift) if wanted.form == "absolute" else shift)
            sides.append(sum(moved) / len(moved))
        scores.append(max(sides))
    return torch.tensor(scores)
