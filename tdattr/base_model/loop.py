"""Train a part so that it can be interrupted: what a step draws depends on its number alone."""

import logging
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tdattr.base_model import Training
from tdattr.checkpoints import Checkpoint
from tdattr.errors import UserError
from tdattr.progress import Bar

log = logging.getLogger(__name__)
CLIP_NORM = 1.0  # of gradients, as GUDA-C's trainings have it
REPORT_INTERVAL_STEPS = 50  # between two losses beside the progress bar


def fit(
    module: nn.Module, loss: Callable[[int], Float[Tensor, ""]], training: Training, folder: Path, label: str, node: str
) -> float:
    """Train ``module`` from its present weights by ``loss``, a function of the step; gives the last loss.

    Resumes from the checkpoint that an interrupted call has left in ``folder``. ``node``: where the training stands in
    the config. Raises UserError where the loss is not finite.
    """
    optimiser = torch.optim.AdamW(module.parameters(), training.learning_rate)
    factor = partial(Training.factor, training)  # of which checkpoints hold nothing, unlike of a bound method
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, factor)
    parts: dict[str, Any] = {"module": module, "optimiser": optimiser, "schedule": schedule}
    checkpoint, done, value = Checkpoint(folder), 0, math.nan
    if checkpoint.content is not None:
        checkpoint.restore(parts)
        done, value = checkpoint.content["steps"], checkpoint.content["loss"]
        log.info("%s resumes after %d of %d steps.", label, done, training.steps)
    module.train()
    bar = Bar(label, training.steps, done)
    for step in range(done, training.steps):
        current = loss(step)
        optimiser.zero_grad()
        current.backward()
        nn.utils.clip_grad_norm_(module.parameters(), CLIP_NORM)
        optimiser.step()
        schedule.step()
        bar.advance()
        last = step + 1 == training.steps
        if step % REPORT_INTERVAL_STEPS == 0 or checkpoint.due or last:
            value = float(current.detach())
            if not math.isfinite(value):
                raise UserError(f"{label}: the loss is {value} at step {step}; lower {node}.learning_rate.")
            bar.show(f"loss {value:.4f}")
        if checkpoint.due and not last:
            checkpoint.write({"steps": step + 1, "loss": value}, parts)
    bar.close()
    module.eval()
    return value
