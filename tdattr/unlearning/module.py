"""The LightningModule that unlearns: it takes optimiser steps on a copy of the trained network."""

import logging
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torch.utils.hooks import RemovableHandle

from tdattr.errors import UserError
from tdattr.progress import Bar
from tdattr.recorder import Curve, has_two_digits, keep_nothing
from tdattr.seeding import torch_seed
from tdattr.training.config import TrainerConfig
from tdattr.training.framework import L
from tdattr.training.processes import fit
from tdattr.unlearning.resume import Checkpoints
from tdattr.unlearning.saliency import Masks, restrict

log = logging.getLogger(__name__)


class StepLoss(Protocol):
    """What an unlearning step minimises, and the goal at which unlearning ends."""

    def __call__(self, network: nn.Module, batch: Any) -> tuple[Tensor, Tensor, Mapping[str, Tensor]]:
        """The loss, how far the forgetting has come, a scalar that is compared with ``goal``, and by name what there is
        to see of the step."""
        ...

    @property
    def goal(self) -> float:
        """Unlearning ends once the second value reaches this."""
        ...


@dataclass(frozen=True)
class Outcome:
    """What an unlearning came to. ``reached`` is False where the step cap ended it."""

    steps: int
    progress: float
    reached: bool


class Unlearning(L.LightningModule):
    """Takes optimiser steps until the goal of ``step_loss`` is reached.

    There is no moving average of the weights and no condition dropout. ``after_step`` is called after each step, with
    the number of steps so far. ``masks``: which values of the weights are updated; None: all. ``checkpoints``: what it
    resumes from, and leaves to resume from.
    """

    def __init__(
        self,
        network: nn.Module,
        step_loss: StepLoss,
        optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer],
        trainable: list[str],
        check_first: bool,
        schedule: Callable[[int], float] | None = None,
        dropout: int | None = None,
        after_step: Callable[[int], None] | None = None,
        masks: Masks | None = None,
        checkpoints: Checkpoints | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.step_loss = step_loss
        self.optimizer = optimizer
        self.check_first = check_first
        self.schedule = schedule
        self.dropout = dropout
        self.after_step = after_step
        self.masks = masks
        self.handles: list[RemovableHandle] = []
        self.checkpoints = checkpoints
        self.steps = 0 if checkpoints is None else checkpoints.steps
        self.progress = float("-inf")
        self.bar: Bar | None = None
        self.label = "Unlearning"
        self.last: int | None = None  # the step that ends it, where the goal does not
        self.curve: Curve = keep_nothing
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(name in trainable)

    @property
    def reached(self) -> bool:
        """Whether the goal has been reached."""
        return self.progress >= self.step_loss.goal

    def configure_optimizers(self) -> Any:
        """A fresh optimiser over the trainable parameters alone, its rate scaled by ``schedule`` of the step."""
        optimizer = self.optimizer(parameter for parameter in self.network.parameters() if parameter.requires_grad)
        if self.masks is not None:
            self.handles = restrict(self.network, optimizer, self.masks)
        if self.schedule is None:
            return optimizer
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, self.schedule)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_train_start(self) -> None:
        """Evaluation mode, unless ``dropout``, a seed, is given."""
        self.network.train(self.dropout is not None)
        if self.checkpoints is not None:
            self.checkpoints.restore_optimizer(self.trainer)

    def training_step(self, batch: Any, index: int) -> Tensor | None:
        """One step; with ``check_first`` the step that finds the goal reached is not taken."""
        if self.dropout is not None:  # masks that are a function of the step, as in training
            torch.manual_seed(torch_seed(self.dropout, "unlearn.dropout", self.steps))
        loss, progress, parts = self.step_loss(self.network, batch)
        if not torch.isfinite(loss):
            raise UserError(
                f"{self.label}: the loss is not finite at step {self.steps}; lower the learning rate or the weight of "
                "forgetting in method.unlearn or method.objective."
            )
        self.progress = float(progress)
        self.trainer.should_stop = self.reached
        self.record(parts)
        if self.reached and self.check_first:
            return None
        self.steps += 1
        return loss

    def record(self, parts: Mapping[str, Tensor]) -> None:
        """Let others see the step that is being taken, the first being 1, or the one that is not taken any more."""
        step = self.steps + 1
        if not (has_two_digits(step) or self.reached or step == self.last):
            return
        values = {name: float(part.detach()) for name, part in parts.items()}
        group = self.trainer.optimizers[0].param_groups[0]
        if "lr" in group:
            values["learning_rate"] = group["lr"]
        self.curve(step, values)

    def on_train_end(self) -> None:
        """The weights are free again."""
        for handle in self.handles:
            handle.remove()

    def on_train_batch_end(self, *_: Any) -> None:
        """The optimiser has taken the step."""
        if self.bar is not None:
            if 0 < self.step_loss.goal < math.inf:
                self.bar.show(f"{self.progress / self.step_loss.goal:.0%} of the goal")
            self.bar.advance()
        if self.after_step is not None:
            self.after_step(self.steps)
        if self.checkpoints is not None:
            self.checkpoints.write(self.steps, self.network, self.trainer)


def unlearn(
    module: Unlearning,
    batches: Dataset[Any],
    max_steps: int,
    trainer: TrainerConfig,
    accumulate: int = 1,
    clip: float | None = None,
    label: str = "Unlearning",
    curve: Curve = keep_nothing,
) -> Outcome:
    """Run ``module`` on ``batches[0]``, ``batches[1]``, … until its goal or ``max_steps``, in place.

    A step takes the mean gradient of ``accumulate`` batches, at most ``clip`` long. ``label`` stands at the progress
    bar, which counts batches. ``curve`` takes the losses of the steps.
    """
    done = module.steps
    if done:
        log.info("%s resumes after %d of %d steps.", label, done, max_steps)
    settings = {
        "max_steps": max_steps - done,
        "max_epochs": 1,
        "accumulate_grad_batches": accumulate,
        "gradient_clip_val": clip,
        "logger": False,
    }
    loader = DataLoader(batches, batch_size=None, sampler=range(done * accumulate, max_steps * accumulate))
    module.label, module.curve, module.last = label, curve, max_steps * accumulate
    module.bar = Bar(label, max_steps * accumulate, done * accumulate, nested=True)
    try:
        fit(module, trainer, 1, settings, train_dataloaders=loader)
    finally:
        module.bar.close()
    module.network.eval().requires_grad_(False)
    return Outcome(module.steps // accumulate, module.progress, module.reached)
