"""Drawn images whose true attribution is known: every group owns a stamp, and an image shows stamps in its four cells.

What an image owes to whom follows from the compositions of the items (``tdattr.data.truth``).
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from jaxtyping import Bool, Int, UInt8

from tdattr.data.prepared import Example, Source
from tdattr.errors import UserError
from tdattr.ranges import Count, CountOrZero, Probability, Range
from tdattr.seeding import generator

DRAWING = "1"  # raised whenever this file draws other images
CELLS = 4  # two by two
SIDE = 6  # a stamp has 6 x 6 squares, the left half mirrored on the right
MARGIN = 1  # pixels around a stamp in its cell
BRIGHTNESS = (0.8, 1.0)  # of the ink of an image
NOISE = 3.0  # standard deviation, of 255
INK = (14, 22)  # squares of a stamp that are white
MOST_GROUPS = 128
APART = 10  # squares, of 36: the smallest difference of two of MOST_GROUPS stamps under any jitter
EMPTY = -1
# cells of a test composition's groups, by their number: four cells, the main group ahead of every other
PARTS = {1: (4,), 2: (3, 1), 3: (2, 1, 1)}


@dataclass(frozen=True)
class Mixtures(Source):
    """``groups`` groups, each with its stamp; gray, ``resolution`` pixels square.

    A training item belongs to one group, whose stamp stands in one to four of its cells; every other cell shows, with
    probability ``overlap``, the stamp of another random group, and nothing otherwise. The largest group, the first, has
    ``imbalance`` times as many items as the smallest. A test item is a composition of 1 … ``parts`` groups in four
    cells: 1, or 0.75 and 0.25, or 0.5 and twice 0.25; each group is the main one, its owner, equally often. Every
    image is moved by at most ``jitter`` pixels in each direction.

    ``condition``: ``none``, or ``composition``: each group's share of the cells that are not empty. The fields of an
    item are ``group``, its owner, and ``composition``, those shares as a JSON object.
    """

    resolution: int
    groups: Annotated[int, Range(least=2, most=MOST_GROUPS)]
    items: Count
    test_items: CountOrZero
    jitter: Annotated[int, Range(least=0, most=MARGIN)]
    overlap: Probability
    imbalance: Annotated[float, Range(least=1)]  # 1: groups of equal sizes
    parts: Count
    condition: Literal["none", "composition"]
    seed: CountOrZero

    def __post_init__(self) -> None:
        if self.resolution < 16 or self.resolution % 4:
            raise UserError(f"dataset.source.resolution={self.resolution} must be a multiple of 4, 16 or larger.")
        if self.parts > min(max(PARTS), self.groups):
            raise UserError(
                f"dataset.source.parts={self.parts} must be at most {min(max(PARTS), self.groups)}: no more "
                "groups fit into four cells with the main one ahead."
            )
        if not self.sizes().min():
            raise UserError(
                f"dataset.source.items={self.items} leaves the smallest of {self.groups} groups empty: give more "
                "items, fewer groups or a lower imbalance."
            )

    @property
    def names(self) -> list[str]:
        """What the groups are called; their order is that of the condition."""
        width = max(2, len(str(self.groups - 1)))
        return [f"group {number:0{width}d}" for number in range(self.groups)]

    def sizes(self) -> Int[np.ndarray, " group"]:
        """How many training items each group has: they fall geometrically, rounded so that none is lost."""
        exact = self.imbalance ** -np.linspace(0, 1, self.groups)
        exact *= self.items / exact.sum()
        sizes = np.floor(exact).astype(np.int64)
        sizes[np.argsort(sizes - exact, kind="stable")[: self.items - sizes.sum()]] += 1
        return sizes

    def fingerprint(self) -> dict[str, str]:
        """All else that the images depend on is in the config."""
        return {"drawing": DRAWING}

    def count(self, split: str) -> int:
        """``test_items`` or ``items``."""
        return self.test_items if split == "test" else self.items

    def examples(self, split: str) -> Iterator[Example]:
        """Training items group by group; test items in rounds in which every group is the main one once."""
        drawn = stamps(self.seed, self.groups)
        for index, owner in enumerate(self.owners(split)):
            rng = generator(self.seed, f"mixtures.{split}", index)
            cells = self.cells(split, index, int(owner), rng)
            shares = np.bincount(cells[cells != EMPTY], minlength=self.groups) / np.sum(cells != EMPTY)
            composition = {self.names[group]: float(shares[group]) for group in np.flatnonzero(shares)}
            yield Example(
                image=draw(drawn, cells, self.resolution, self.jitter, rng),
                condition=shares.astype(np.float32)[None] if self.condition == "composition" else None,
                fields={"group": self.names[owner], "composition": json.dumps(composition, sort_keys=True)},
            )

    def owners(self, split: str) -> Int[np.ndarray, " item"]:
        """The group that each item belongs to."""
        if split == "test":
            return np.arange(self.test_items) % self.groups
        return np.repeat(np.arange(self.groups), self.sizes())

    def cells(self, split: str, index: int, owner: int, rng: np.random.Generator) -> Int[np.ndarray, " cell"]:
        """Whose stamp each cell of an item shows, or EMPTY."""
        if split == "test":
            turn = index // self.groups
            # one set of steps from the main group for a whole round, so that each is a lesser part equally often
            steps = generator(self.seed, "mixtures.round", turn).permutation(self.groups - 1) + 1
            numbers = PARTS[1 + turn % self.parts]
            members = (owner + np.concatenate([[0], steps[: len(numbers) - 1]])) % self.groups
            return rng.permutation(np.repeat(members, numbers))
        number = index - int(self.sizes()[:owner].sum())
        others = (owner + rng.integers(1, self.groups, CELLS)) % self.groups
        cells = np.where(rng.random(CELLS) < self.overlap, others, EMPTY)
        cells[: 1 + number % CELLS] = owner
        return rng.permutation(cells)


def stamps(seed: int, count: int) -> Bool[np.ndarray, "stamp side side"]:
    """Patterns of white squares: mirrored, a third to two thirds white, without isolated squares of either colour.

    Each is as far as possible from those before it, so that a larger ``count`` only adds some. The distance of two is
    the number of squares that differ, at the shift within the jitter that makes them most alike.
    """
    half = (np.arange(2 ** (SIDE * SIDE // 2))[:, None] >> np.arange(SIDE * SIDE // 2) & 1).astype(bool)
    half = half[(half.sum(1) * 2 >= INK[0]) & (half.sum(1) * 2 <= INK[1])].reshape(-1, SIDE, SIDE // 2)
    pool = np.concatenate([half, half[..., ::-1]], axis=2)
    pool = generator(seed, "mixtures.stamps").permutation(pool[has_neighbour(pool) & has_neighbour(~pool)])
    reach = 2 * MARGIN
    wide = np.pad(pool, ((0, 0), (reach, reach), (reach, reach))).astype(np.float32)
    ink = wide.sum(axis=(1, 2))
    selected = [0]
    nearest = np.full(len(pool), np.inf)
    while len(selected) < count:
        steps = range(-reach, reach + 1)
        shifted = np.stack([np.roll(wide[selected[-1]], (y, x), (0, 1)).ravel() for y in steps for x in steps])
        common = (wide.reshape(len(wide), -1) @ shifted.T).max(axis=1)
        nearest = np.minimum(nearest, ink + ink[selected[-1]] - 2 * common)
        selected.append(int(nearest.argmax()))
    return pool[selected]


def has_neighbour(pool: Bool[np.ndarray, "stamp side side"]) -> Bool[np.ndarray, " stamp"]:
    """Whether every marked square of a pattern has a marked neighbour above, below, left or right."""
    wide = np.pad(pool, ((0, 0), (1, 1), (1, 1)))
    beside = wide[:, :-2, 1:-1] | wide[:, 2:, 1:-1] | wide[:, 1:-1, :-2] | wide[:, 1:-1, 2:]
    return (beside | ~pool).all(axis=(1, 2))


def enlarge(pattern: Bool[np.ndarray, "side side"], resolution: int) -> Bool[np.ndarray, "cell cell"]:
    """A stamp in a cell of an image of that resolution, with its margin."""
    size = resolution // 2 - 2 * MARGIN
    source = (2 * np.arange(size) + 1) * SIDE // (2 * size)  # the square at the middle of each pixel
    return np.pad(pattern[np.ix_(source, source)], MARGIN)


def draw(
    patterns: Bool[np.ndarray, "stamp side side"],
    cells: Int[np.ndarray, " cell"],
    resolution: int,
    jitter: int,
    rng: np.random.Generator,
) -> UInt8[np.ndarray, "resolution resolution 1"]:
    """The stamps in their cells, white on black, moved a little, with a brightness and faint noise."""
    blank = np.zeros((resolution // 2, resolution // 2), bool)
    filled = [blank if cell == EMPTY else enlarge(patterns[cell], resolution) for cell in cells]
    shift = rng.integers(-jitter, jitter + 1, 2)
    ink = np.roll(
        np.block([filled[:2], filled[2:]]), shift, (0, 1)
    )  # at most by the margin, so that nothing wraps around
    values = 255 * ink * rng.uniform(*BRIGHTNESS) + NOISE * rng.standard_normal(ink.shape)
    return np.rint(values).clip(0, 255).astype(np.uint8)[..., None]
