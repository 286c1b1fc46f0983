"""What a training lets others see while it goes on: its loss, rate, speed and memory, and what it generates so far."""

import resource
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback
from torch import nn

from tdattr.recorder import Curve, Picture
from tdattr.training.framework import L
from tdattr.training.module import Pretraining

INTERVAL_STEPS = 50  # between two records
FEWEST_RECORDS = 100  # of a training that has so many steps
LOOKS = 10  # at samples, at most, on the way
MOST_SHARE = 0.02  # of the time of a training that looking at samples may take
LEAST_SECONDS = 20.0  # of a training that is looked at: the first look is longer than such a share of a shorter one
GIB = 1 << 30  # bytes

Sample = Callable[[nn.Module], Picture]  # a picture of what a network generates


class Recording(Callback):
    """Hands numbers to ``curves`` every now and then, and to ``show`` pictures of what the averaged weights generate.

    ``sample`` makes these; None: none. They are left out where they would take more than ``MOST_SHARE`` of the time.
    Nothing here changes what is trained.
    """

    def __init__(
        self,
        curves: Sequence[Curve],  # of a stack of trainings one for each
        sample: Sample | None = None,
        show: Callable[[Callable[[], Picture], int], None] | None = None,
    ) -> None:
        self.curves, self.sample, self.show = curves, sample, show
        self.start = self.step = 0  # where this process began, and of the last record
        self.began = self.recorded = 0.0  # the times of these two
        self.looks, self.looked = 0, 0.0  # at samples, and the seconds that they took

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Start the clock."""
        self.began = self.recorded = time.perf_counter()
        self.start = self.step = trainer.global_step

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        """Record, and look at samples, where it is time."""
        assert isinstance(module, Pretraining)
        step, total = trainer.global_step, module.config.total_steps
        if not trainer.is_global_zero or not module.ends_step(index):
            return
        if step % min(INTERVAL_STEPS, max(1, total // FEWEST_RECORDS)) == 0 or step == total:
            now = time.perf_counter()
            images = (step - self.step) * module.config.batch_size
            numbers = {
                "learning_rate": module.config.learning_rate * module.config.rate(step - 1),
                "images_per_second": images / (now - self.recorded),
                "peak_memory_gib": peak_memory(module.device),
            }
            for curve, loss in zip(self.curves, module.step_loss.reshape(-1).tolist(), strict=True):
                curve(step, {"loss": loss} | numbers)
            self.recorded, self.step = now, step
        if step % max(1, total // LOOKS) == 0 and step < total:
            self.look(module, step)

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """The loss of an epoch on the test split."""
        assert isinstance(module, Pretraining)
        if trainer.is_global_zero and (losses := module.validated(trainer.callback_metrics)):
            for curve, loss in zip(self.curves, losses, strict=True):
                curve(trainer.global_step, {"validation_loss": loss})

    def look(self, module: Pretraining, step: int) -> None:
        """Show samples, unless that would take too much of the time that the whole training takes."""
        if self.sample is None or self.show is None:
            return
        began = time.perf_counter()
        whole = (began - self.began - self.looked) / (step - self.start) * module.config.total_steps
        each = self.looked / max(1, self.looks)
        if whole < LEAST_SECONDS or self.looked + each > MOST_SHARE * whole:
            return
        self.show(partial(self.sample, module.average.module), step)
        took = time.perf_counter() - began
        self.looks, self.looked, self.recorded = self.looks + 1, self.looked + took, self.recorded + took


def peak_memory(device: torch.device) -> float:
    """The most that this process has held so far, in GiB: of the GPU's memory, or of its own where it runs on none."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / GIB
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return held / GIB if sys.platform == "darwin" else held * 1024 / GIB
