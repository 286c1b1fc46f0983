"""What a long unlearning leaves for the case that it is interrupted: it ends at the same weights all the same."""

import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tdattr.interim import RESUME
from tdattr.training.checkpoints import CheckpointBeside, find_checkpoint
from tdattr.training.framework import L
from tdattr.unlearning.objectives import Stateful

CHECKPOINT_INTERVAL_SECONDS = 60.0  # what an interruption costs at most; writing one takes about a second


class Checkpoints:
    """The checkpoint in a folder, written now and then, and what it holds where an earlier attempt left one."""

    def __init__(self, folder: Path, loss: Stateful) -> None:
        self.path, self.loss = folder / RESUME, loss
        left = find_checkpoint(folder)
        self.content: dict[str, Any] | None = None if left is None else torch.load(left, "cpu", weights_only=True)
        self.written = time.monotonic()

    @property
    def steps(self) -> int:
        """The steps that are in it."""
        return 0 if self.content is None else int(self.content["steps"])

    def restore_weights(self, network: nn.Module) -> None:
        """The network, and what the loss knew."""
        if self.content is not None:
            network.load_state_dict(self.content["network"])
            self.loss.restore(self.content["loss"])

    def restore_optimizer(self, trainer: L.Trainer) -> None:
        """The rest, once Lightning has made what it belongs to; then it is forgotten."""
        if self.content is not None:
            for part, state in zip(parts(trainer), self.content["trainer"], strict=True):
                part.load_state_dict(state)
            self.content = None

    def write(self, steps: int, network: nn.Module, trainer: L.Trainer) -> None:
        """Another one, if the last is old."""
        if time.monotonic() - self.written >= CHECKPOINT_INTERVAL_SECONDS:
            states = [part.state_dict() for part in parts(trainer)]
            content = {"steps": steps, "network": network.state_dict(), "trainer": states, "loss": self.loss.state()}
            CheckpointBeside().save_checkpoint(content, self.path)
            self.written = time.monotonic()


def parts(trainer: L.Trainer) -> list[Any]:
    """What changes from step to step besides the network."""
    schedulers = [config.scheduler for config in trainer.lr_scheduler_configs]
    return [*trainer.optimizers, *schedulers, trainer.precision_plugin]
