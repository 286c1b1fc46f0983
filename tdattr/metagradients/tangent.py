"""Forward through a training with the derivative of its state along one direction of what items count.

Where the way back costs as much for every query, this costs as much for every direction, whatever is asked at the end
(forward mode; Griewank & Walther 2008, section 3.1). Nothing is kept but where it stands.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from tdattr.metagradients.forward import Training
from tdattr.metagradients.note import read_note, write_note
from tdattr.metagradients.room import find_stretch
from tdattr.metagradients.state import Layout
from tdattr.metagradients.step import Step, read_counts
from tdattr.progress import Bar

STATES = "states"
DONE = "done"  # steps


@dataclass(frozen=True)
class Tangent:
    """A training and the derivative of its states along ``direction``, of what the items of the split count. In
    ``folder`` is what an interrupted run left, if any."""

    training: Training
    step: Step
    layout: Layout
    direction: Float[Tensor, " item"]
    folder: Path

    def train(self, label: str) -> Float[Tensor, "2 state"]:
        """The state after the last step, and its derivative. Raises UserError where the disk is full."""
        steps = self.training.batches.config.total_steps
        done, states = self.resume()
        bar = Bar(label, steps, done)
        for number in range(done, steps):
            if number > done and number % find_stretch(steps) == 0:
                write_note(self.folder, {STATES: states}, **{DONE: number})
            states = self.push(number, states)
            bar.advance()
        bar.close()
        return states

    def push(self, number: int, states: Float[Tensor, "2 state"]) -> Float[Tensor, "2 state"]:
        """Those after the step of that number."""
        batches = self.training.batches
        batch = batches[number].to(states.device)
        counts = read_counts(batch, states)
        direction = self.direction[torch.from_numpy(batches.slots(number))].to(states)
        return torch.stack(self.step.push(states[0], states[1], counts, direction, batch, number))

    def resume(self) -> tuple[int, Float[Tensor, "2 state"]]:
        """Where an interrupted run stood, in steps; else the beginning, which no count changes."""
        if (found := read_note(self.folder, self.training.device)) is not None:
            tensors, numbers = found
            return numbers[DONE], tensors[STATES]
        first = self.training.read(self.layout, self.training.start(self.layout, 0, None))
        return 0, torch.stack([first, torch.zeros_like(first)])
