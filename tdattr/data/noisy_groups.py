"""Groups with noise: every group gives the same number of items away and gets as many of others, as in GUDA's code."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int

from tdattr.configs import Node
from tdattr.errors import UserError
from tdattr.ids import Ids
from tdattr.ranges import Count, CountOrZero
from tdattr.tables import write_table
from tdattr.wording import counted


@dataclass(frozen=True)
class Noise(Node):
    """The ``noise`` node of ``tdattr-groups``: ``moved`` items of every group go to others, in blocks of ``block``."""

    moved: Count
    block: Count
    seed: CountOrZero

    def __post_init__(self) -> None:
        if self.moved % self.block:
            raise UserError(f"noise.moved={self.moved} must be a multiple of noise.block={self.block}.")

    def exchange(self, groups: Mapping[str, Ids]) -> dict[str, Ids]:
        """The groups after the exchange; no item that moves ends where it was.

        In the order of the groups each draws its items. Then, block by block, all groups pass their next block on at
        once, to where a permutation without a fixed point sends it. Raises UserError for groups that are too few or too
        small.
        """
        if len(groups) < 2:
            raise UserError(f"Groups exchange items, but dataset.groups gives {len(groups)}: choose at least two.")
        for name, ids in groups.items():
            if len(ids) < self.moved:
                raise UserError(f"Group {name!r} has {counted(len(ids), 'item')}: lower noise.moved={self.moved}.")
        rng = np.random.default_rng(self.seed)  # as the authors draw, in this order
        given = []
        for ids in groups.values():
            drawn = rng.choice(ids, self.moved, replace=False)
            rng.shuffle(drawn)
            given.append(drawn.reshape(-1, self.block))
        got: list[list[Ids]] = [[] for _ in groups]
        for block in range(self.moved // self.block):
            for giver, taker in enumerate(derangement(len(groups), rng)):
                got[taker].append(given[giver][block])
        return {
            name: np.sort(np.concatenate([np.setdiff1d(ids, gone), *come]))
            for (name, ids), gone, come in zip(groups.items(), given, got, strict=True)
        }


def derangement(count: int, rng: np.random.Generator) -> Int[np.ndarray, " count"]:
    """A permutation that leaves nothing where it was, each with the same probability: others are drawn again."""
    while True:
        permutation = rng.permutation(count)
        if (permutation != np.arange(count)).all():
            return permutation


def write_manifest(
    path: Path, groups: Mapping[str, Ids], before: Mapping[str, Ids], names: Sequence[str] | None = None
) -> None:
    """A CSV with the columns id, group and original and, where items have ``names``, name; a line for every id in
    ascending order."""
    import pandas as pd

    original = {index: name for name, ids in before.items() for index in ids.tolist()}
    rows = sorted((index, name, original[index]) for name, ids in groups.items() for index in ids.tolist())
    table = pd.DataFrame(rows, columns=["id", "group", "original"])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_table(path, table if names is None else table.assign(name=[names[index] for index in table["id"]]))


def count_moves(groups: Mapping[str, Ids], before: Mapping[str, Ids]) -> dict[str, dict[str, int]]:
    """How many items of each group are now in which others."""
    counts = {
        giver: {taker: len(np.intersect1d(old, new)) for taker, new in groups.items() if taker != giver}
        for giver, old in before.items()
    }
    return {giver: {taker: count for taker, count in takers.items() if count} for giver, takers in counts.items()}
