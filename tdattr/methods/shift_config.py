"""How losses before and after unlearning are compared: the ``score`` node of an unlearning method."""

from dataclasses import dataclass, replace
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from tdattr.configs import Settings
from tdattr.errors import UserError
from tdattr.methods import Context, Method
from tdattr.methods.schedule_share import Share, check_share
from tdattr.ranges import Count, Positive
from tdattr.scoring.cells import TrainingItems
from tdattr.scoring.describe import READ_BY

DOUBT, PAIRS_EACH = 4.0, 16  # of `conf/method`: what the address of scores has in place of one that is not read
RACED_ITEMS, RACED_PAIRS = 1000, 50  # from which on a race pays: fewer leave it little to save beside its complete rows


@dataclass(frozen=True)
class ShiftConfig(Settings):
    """The ``score`` node of an unlearning method.

    ``levels``: the first ``schedule_share`` of the ``generation`` schedule (a number, or ``auto``: see
    ``schedule_share.py``); those of a ``discrete`` process (AbU's t = 0, T / pairs, …) or the ``training``
    distribution, of which there is no share. ``form``: ``skew`` (MUCS eq. 3), which alone has an ``epsilon``, the plain
    ``difference``, or its ``absolute`` value. ``consistent``: the same pairs for all items and both models; otherwise
    every item has noise of its own under every model, and losses are averaged before they are compared. ``kept``: all
    pairs, or those at which the query's own loss ``moved`` at least as far as on average. ``mirror``: the larger score
    of an image and its mirror image. ``captions``: the ``first`` one of an item, or the mean over ``all``.
    ``allocation``: ``all`` losses are evaluated; by ``racing`` (`tdattr.scoring.racing`) those that decide which items
    have the highest scores, as many as the protocol asks for, up to ``doubt`` standard deviations; by ``importance``
    (`tdattr.scoring.importance`) those at ``pairs_each`` pairs, from which every score is estimated; ``auto``: see
    `settle`.
    """

    pairs: Count
    levels: Literal["generation", "discrete", "training"]
    schedule_share: Share | None
    form: Literal["skew", "difference", "absolute"]
    consistent: bool
    kept: Literal["all", "moved"]
    epsilon: Positive | None
    mirror: bool
    captions: Literal["first", "all"]
    allocation: Literal["auto", "all", "racing", "importance"]
    doubt: Positive
    pairs_each: Count

    @property
    def decides_top(self) -> bool:
        """Whether only the highest scores are decided."""
        return self.allocation == "racing"

    def unread(self) -> dict[str, str]:
        """What other allocations read."""
        kind = "racing" if self.allocation == "auto" else self.allocation  # which it may become
        return {name: f"allocation={self.allocation}" for name, reader in READ_BY.items() if reader != kind}

    def __post_init__(self) -> None:
        check_share("method.score", self.levels, self.schedule_share)
        if self.form == "skew" and self.epsilon is None:  # two losses of 0 are no shift
            raise UserError("method.score.epsilon must be a number above 0 with method.score.form=skew.")
        if self.form != "skew" and self.epsilon is not None:
            raise UserError(
                f"method.score.epsilon={self.epsilon} has no effect with method.score.form={self.form}: set it to null."
            )
        if self.kept != "all" and not self.consistent:
            raise UserError(f"method.score.kept={self.kept} needs method.score.consistent=true.")
        chosen = self.allocation in ("racing", "importance")
        if chosen and not self.consistent:
            raise UserError(f"method.score.allocation={self.allocation} needs method.score.consistent=true.")
        if chosen and not self.adds_up:
            raise UserError(
                f"method.score.allocation={self.allocation} with method.score.form=absolute takes one caption of an "
                "item: set method.score.captions=first."
            )
        if self.allocation == "importance" and self.pairs_each > self.pairs:
            raise UserError(
                f"method.score.pairs_each={self.pairs_each} must be at most method.score.pairs={self.pairs}."
            )

    @property
    def adds_up(self) -> bool:
        """Whether a score is a mean of its cells: not of the absolute values of the means of several captions."""
        return self.form != "absolute" or self.captions == "first"

    def settle(self, top: int | None, items: int) -> "ShiftConfig":
        """With ``auto`` decided for a protocol that asks for the ``top`` highest of the scores of so many items, None
        for all of them: a race where it can decide them and pays, all losses otherwise. What the allocation does not
        read is the same whatever was given."""
        allocation = self.allocation
        if allocation == "auto":
            pays = items >= RACED_ITEMS and self.pairs >= RACED_PAIRS
            races = top is not None and pays and self.consistent and self.adds_up
            allocation = "racing" if races else "all"
        doubt = self.doubt if allocation == "racing" else DOUBT
        pairs_each = self.pairs_each if allocation == "importance" else PAIRS_EACH
        return replace(self, allocation=allocation, doubt=doubt, pairs_each=pairs_each)

    def compare(self, before: Float[Tensor, "*cell"], after: Float[Tensor, "*cell"]) -> Float[Tensor, "*cell"]:
        """How far each loss moved, upwards or downwards."""
        if self.form != "skew":
            return after - before
        assert self.epsilon is not None
        return skew(before, after, self.epsilon)


class ShiftMethod(Method):
    """The base of methods that compare losses before and after unlearning, as their ``score`` says."""

    score: ShiftConfig

    @property
    def decides_top(self) -> bool:
        """Where a race decides who is among the highest."""
        return self.score.decides_top

    def settle(self, top: int | None, items: int) -> "ShiftMethod":
        """With its allocation decided."""
        settled: ShiftMethod = replace(self, score=self.score.settle(top, items))  # type: ignore[type-var]
        return settled


def list_items(context: Context, config: ShiftConfig) -> list[list[TrainingItems]]:
    """The items as they are seen: on one side or both, and there under each caption."""
    split = context.data.train
    captions = split.captions if config.captions == "all" else 1
    return [
        [TrainingItems(split, context.ids, mirrored, caption) for caption in range(captions)]
        for mirrored in ([False, True] if config.mirror else [False])
    ]


def skew(before: Float[Tensor, "*cell"], after: Float[Tensor, "*cell"], epsilon: float) -> Float[Tensor, "*cell"]:
    """(L2 - L1) / (|L2| + |L1| + epsilon), whose mean over the pairs is MUCS eq. 3."""
    return (after - before) / (after.abs() + before.abs() + epsilon)
