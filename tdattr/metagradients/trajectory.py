"""Forward and back through a whole training in the memory of two roots of its steps.

The states at the beginning of every stretch of about sqrt(T) steps are kept on the disk; those within a stretch are
computed once more when the way back gets there (Griewank 1992, with one level of checkpoints).
"""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tdattr.files import writing
from tdattr.interim import ROWS
from tdattr.metagradients.backward import Cotangents, step_back
from tdattr.metagradients.forward import Training
from tdattr.metagradients.note import read_note, write_note
from tdattr.metagradients.room import find_stretch
from tdattr.metagradients.state import Layout
from tdattr.metagradients.step import Step
from tdattr.progress import Bar

BEGIN = "begin"  # of the stretch that was gone back through last
FIRST = "first"  # of the queries that were going back


@dataclass(frozen=True)
class Trajectory:
    """The states of a training of ``steps`` steps, in ``folder``, which may hold what an interrupted run left."""

    training: Training
    layout: Layout
    folder: Path

    @property
    def steps(self) -> int:
        """Of the training."""
        return self.training.batches.config.total_steps

    @property
    def stretch(self) -> int:
        """The steps between two states that are kept."""
        return find_stretch(self.steps)

    @property
    def begins(self) -> range:
        """The steps before which states are kept."""
        return range(0, self.steps, self.stretch)

    @cached_property
    def kept_steps(self) -> list[int]:
        """Those and the end."""
        return [*self.begins, self.steps]

    def train(self, label: str) -> Float[Tensor, " state"]:
        """Keep the states, from the last that is there on, and return the one after the last step."""
        kept = next((index for index, place in enumerate(self.kept_steps) if not self.path(place).exists()), None)
        if kept is None:
            return self.load(self.steps)
        begin = self.kept_steps[max(kept - 1, 0)]
        state = self.load(begin) if kept else None
        bar, done = Bar(label, self.steps, begin), begin
        states = self.training.states(self.layout, begin, self.steps, state, self.stretch)
        for place, reached in zip(self.kept_steps[max(kept - 1, 0) :], states, strict=True):
            self.save(place, reached)
            bar.advance(place - done)
            done = place
        bar.close()
        return self.load(self.steps)

    def go_back(self, step: Step, end: Cotangents, pairs: int, first: int = 0) -> Cotangents:
        """The cotangents before the first step, of those after the last; from where an interrupted run stood.
        ``pairs``: of query and item at once; ``first``: the number of the first of these queries among all."""
        found = self.resume(end, first)
        after, reached = (end, self.steps) if found is None else found
        bar = Bar("Back through the training of F1", self.steps, self.steps - reached)
        for begin in reversed(self.begins):
            if begin < reached:
                last = min(begin + self.stretch, self.steps) - 1
                states = list(self.training.states(self.layout, begin, last, self.load(begin)))
                for offset in reversed(range(len(states))):
                    after = step_back(step, self.training, states[offset], begin + offset, after, pairs)
                    bar.advance()
                write_note(self.folder, after._asdict(), **{BEGIN: begin, FIRST: first})
        bar.close()
        return after

    def path(self, place: int) -> Path:
        """The file of a state."""
        return self.folder / f"{ROWS}_state_{place:08d}.npy"

    def save(self, place: int, state: Tensor) -> None:
        """Keep a state, in one step. Raises UserError where the disk is full."""
        aside = self.folder / f"{ROWS}_aside.npy"
        with writing(self.folder):
            np.save(aside, state.cpu().numpy())
            os.replace(aside, self.path(place))

    def load(self, place: int) -> Float[Tensor, " state"]:
        """A state that is kept, on the training's device."""
        return torch.from_numpy(np.load(self.path(place))).to(self.training.device)

    def resume(self, like: Cotangents, first: int = 0) -> tuple[Cotangents, int] | None:
        """Where an interrupted way back of these queries stood; None where there was none. On the device of
        ``like``."""
        if (found := read_note(self.folder, like.state.device)) is None:
            return None
        tensors, numbers = found
        stood = Cotangents(**tensors)
        same = numbers[FIRST] == first and len(stood.items) == len(like.items)
        return (stood, numbers[BEGIN]) if same else None
