"""A training cut into segments, over which something is summed that is computed at a checkpoint in each."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from tdattr.metagradients.forward import Training
from tdattr.metagradients.note import read_note, write_note
from tdattr.metagradients.state import Layout
from tdattr.progress import Bar

SUM, STATE, DONE = "sum", "state", "segments"  # of what an interrupted run left


class Segment(NamedTuple):
    """The steps from ``begin`` up to ``end``."""

    begin: int
    end: int

    @property
    def checkpoint(self) -> int:
        """The step in the middle."""
        return (self.begin + self.end) // 2


def cut(steps: int, count: int) -> list[Segment]:
    """So many segments, at most one of each step, whose lengths differ by a step at most."""
    bounds = [number * steps // count for number in range(count + 1)]
    return [Segment(begin, end) for begin, end in itertools.pairwise(bounds)]


@dataclass(frozen=True)
class Segments:
    """Those of a training, of which an interrupted run may have left a part in ``folder``."""

    training: Training
    layout: Layout
    folder: Path
    count: int

    def sum(
        self, label: str, zero: Tensor, term: Callable[[Segment, Tensor], Tensor]
    ) -> tuple[Tensor, Float[Tensor, " state"]]:
        """The sum of the terms, from ``zero`` on, and the state after the last step. ``term``: of a segment and the
        state before the step in its middle."""
        steps = self.training.batches.config.total_steps
        segments = cut(steps, self.count)
        total, state, done = self.resume(zero)
        reached = segments[done - 1].checkpoint if done else 0
        bar = Bar(label, steps, reached)
        for number, segment in enumerate(segments[done:], done + 1):
            *_, state = self.training.states(self.layout, reached, segment.checkpoint, state, steps)
            total = total + term(segment, state)
            bar.advance(segment.checkpoint - reached)
            reached = segment.checkpoint
            write_note(self.folder, {SUM: total, STATE: state}, **{DONE: number})
        *_, last = self.training.states(self.layout, reached, steps, state, steps)
        bar.advance(steps - reached)
        bar.close()
        return total, last

    def visit(self, label: str, look: Callable[[Segment, Tensor], None]) -> Float[Tensor, " state"]:
        """Look at every segment and the state before the step in its middle; the state after the last step."""
        nothing = torch.zeros((), device=self.training.device)

        def term(segment: Segment, state: Tensor) -> Tensor:
            look(segment, state)
            return nothing

        return self.sum(label, nothing, term)[1]

    def resume(self, zero: Tensor) -> tuple[Tensor, Tensor | None, int]:
        """What an interrupted run noted; ``zero``, no state and no segment where there was none."""
        if (found := read_note(self.folder, zero.device)) is None:
            return zero, None, 0
        tensors, numbers = found
        return tensors[SUM], tensors[STATE], numbers[DONE]
