"""What a long unlearning leaves for the case that it is interrupted: it ends at the same weights all the same."""

from pathlib import Path
from typing import Any

from torch import nn

from tdattr.checkpoints import Checkpoint
from tdattr.training.framework import L
from tdattr.unlearning.objectives import Stateful


class Checkpoints:
    """The checkpoint of an unlearning in a folder, and what it restores where an earlier attempt left one."""

    def __init__(self, folder: Path, loss: Stateful) -> None:
        self.checkpoint, self.loss = Checkpoint(folder), loss

    @property
    def steps(self) -> int:
        """The steps that are in it."""
        content = self.checkpoint.content
        return 0 if content is None else int(content["steps"])

    def restore_weights(self, network: nn.Module) -> None:
        """The network, and what the loss knew."""
        if (content := self.checkpoint.content) is not None:
            network.load_state_dict(content["network"])
            self.loss.restore(content["loss"])

    def restore_optimizer(self, trainer: L.Trainer) -> None:
        """The rest, once Lightning has made what it belongs to; then it is forgotten."""
        if (content := self.checkpoint.content) is not None:
            for part, state in zip(parts(trainer), content["trainer"], strict=True):
                part.load_state_dict(state)
            self.checkpoint.content = None

    def write(self, steps: int, network: nn.Module, trainer: L.Trainer) -> None:
        """Another one, if the last is old."""
        if self.checkpoint.due:
            states = [part.state_dict() for part in parts(trainer)]
            state = {"steps": steps, "network": network.state_dict(), "trainer": states, "loss": self.loss.state()}
            self.checkpoint.write(state)


def parts(trainer: L.Trainer) -> list[Any]:
    """What changes from step to step besides the network."""
    schedulers = [config.scheduler for config in trainer.lr_scheduler_configs]
    return [*trainer.optimizers, *schedulers, trainer.precision_plugin]
