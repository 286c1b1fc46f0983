"""What building an artifact takes, counted before it is built: in steps and evaluations, not in seconds."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tdattr.store import Plan

BACKWARD = 3  # a forward and a backward pass cost as much as so many forward passes, the backward one taking two
NUMBER_BYTES = 4  # of a float32
DOUBLE_BYTES = 8  # of a float64


@dataclass(frozen=True)
class Work:
    """What one artifact takes. All passes are counted item by item, so that a step on a batch of 32 has 32.

    ``at_most``: the numbers are a bound, because something that is computed on the way ends the work earlier.
    ``unsized``: how much disk it takes is not known beforehand.
    """

    trainings: int = 0
    steps: int = 0  # of an optimiser
    trained: int = 0  # forward and backward passes whose gradients an optimiser, or a mask, takes together
    gradients: int = 0  # forward and backward passes of single items, whose gradients are kept apart
    evaluations: int = 0  # forward passes alone
    projected: int = 0  # random numbers drawn to project gradients
    images: int = 0  # generated
    products: int = 0  # multiplications of large matrices in double precision
    looks: int = 0  # images that are read, or seen by another network than the one that is attributed
    bytes: int = 0  # that are left on the disk
    at_most: bool = False
    unsized: bool = False

    def __add__(self, other: "Work") -> "Work":
        sums = {entry.name: getattr(self, entry.name) + getattr(other, entry.name) for entry in COUNTS}
        return Work(**sums, at_most=self.at_most or other.at_most, unsized=self.unsized or other.unsized)

    def __mul__(self, times: int) -> "Work":
        return replace(self, **{entry.name: times * getattr(self, entry.name) for entry in COUNTS})

    def bound(self, at_most: bool) -> "Work":
        """The same numbers, as a bound or not."""
        return replace(self, at_most=at_most)

    @property
    def passes(self) -> int:
        """All passes through the network, in forward passes."""
        return self.evaluations + BACKWARD * (self.trained + self.gradients)

    @property
    def idle(self) -> bool:
        """Whether nothing is computed: files are read and written."""
        return not any(getattr(self, entry.name) for entry in COUNTS if entry.name != "bytes")

    @property
    def units(self) -> int:
        """What seconds of like work are in proportion to: passes, or where there are none products, or images that are
        looked at, or the artifact itself."""
        return self.passes or self.products or self.looks or 1


NO_WORK = Work()
COUNTS = [entry for entry in fields(Work) if entry.name not in ("at_most", "unsized")]


def total(works: Sequence[Work]) -> Work:
    """The sum; no work where there is none."""
    return sum(works, NO_WORK)


@dataclass(frozen=True)
class Cost:
    """What an artifact that is missing costs: its own ``work``, and the artifacts that it is made of, which are built
    first where they are missing too. ``what``: which of its stage it is, for people: F1, a method's name. ``usual``:
    what it comes to as a rule, where the work is a bound; None: not known to be less."""

    work: Work | None  # None: nobody has declared it
    needs: "Sequence[Plan]" = ()
    what: str = ""
    usual: Work | None = None

    @property
    def expected(self) -> Work | None:
        """The work by which time is reckoned."""
        return self.work if self.usual is None else self.usual


def record(cost: Cost | None, like: str) -> dict[str, Any]:
    """What a provenance says of the work, by which that of like artifacts is estimated; nothing where it is unknown."""
    work = None if cost is None else cost.expected
    return {} if work is None else {"work": {"like": like, "units": work.units}}
