"""Train a diffusion model on the items that are left: F1, and every counterfactual model."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from lightning.pytorch.callbacks import Callback
from safetensors.torch import save_file
from torch import Tensor

from tdattr.checkpoints import find_checkpoint
from tdattr.data.prepared import Prepared
from tdattr.diffusion import Diffusion
from tdattr.errors import UserError
from tdattr.files import move_into_place, name_aside, writing
from tdattr.interim import RESUME
from tdattr.networks import Network
from tdattr.progress import Bar
from tdattr.stopwatch import find_beginning, note_spent
from tdattr.training.batches import TrainingData
from tdattr.training.config import WEIGHTS, TrainConfig, TrainerConfig
from tdattr.training.framework import L
from tdattr.training.module import Pretraining
from tdattr.training.processes import fit
from tdattr.training.recording import Recording
from tdattr.training.weights import check_trained, make_metadata

log = logging.getLogger(__name__)


def pretrain(
    network: Network,
    data: Prepared,
    ids: Int[np.ndarray, " kept"],
    diffusion: Diffusion,
    config: TrainConfig,
    trainer: TrainerConfig,
    seed: int,
    folder: Path,
    label: str,
    recording: Recording | None = None,
) -> dict[str, float]:
    """Train ``network`` from its present weights and write ``raw.safetensors`` and ``ema.safetensors``, or the one of
    them that is kept, to ``folder``.

    Resumes from the checkpoint that an interrupted training left in ``folder``, and ends at the same weights.
    ``recording``: what lets others see how it goes. Returns the last measured losses by name. Raises UserError where
    the loss or the weights are not finite.
    """
    config = config.in_steps(len(ids))
    module = Pretraining(network, diffusion, config, seed, mixed=trainer.precision != "32-true")
    keeper = Keeper(folder, config, label)
    settings = {
        "max_steps": config.total_steps,
        "max_epochs": -1,
        "gradient_clip_val": config.clip,
        "accumulate_grad_batches": config.accumulate,
        "logger": False,
        "callbacks": [keeper] if recording is None else [keeper, recording],
        "default_root_dir": folder,
    }
    fitter = fit(
        module,
        trainer,
        trainer.devices,
        settings,
        datamodule=TrainingData(data, ids, diffusion, config, seed, trainer.workers),
        ckpt_path=find_checkpoint(folder),
        weights_only=True,
    )
    return {name: float(value) for name, value in fitter.callback_metrics.items()}


class WithBar(Callback):
    """A callback with a progress bar, which an error leaves tidy."""

    bar: Bar | None = None

    def on_exception(self, trainer: L.Trainer, module: L.LightningModule, exception: BaseException) -> None:
        """Leave the terminal tidy."""
        self.close()

    def close(self) -> None:
        """End the progress bar, which cannot be sent back from another process."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None


class Keeper(WithBar):
    """Shows progress, leaves a resumable checkpoint after every epoch, and keeps the weights that were asked for.

    It also stops a training whose patience is at an end: what it has seen of the epochs is one state, which every
    checkpoint holds whole. Lightning asks its own callback for that only after the checkpoint has been written.
    """

    def __init__(self, folder: Path, config: TrainConfig, label: str) -> None:
        self.folder, self.config, self.label = folder, config, label
        self.beginning = find_beginning(folder)  # here, as the first rank may be another process
        self.best = float("inf")
        self.waited = 0  # epochs without a better validation loss
        self.losses: dict[str, float] = {}  # the last measured ones by name
        self.loss: Tensor | None = None  # of the last step

    def state_dict(self) -> dict[str, Any]:
        """What has been seen of the epochs survives an interruption."""
        return {"best": self.best, "waited": self.waited, "losses": self.losses}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what had been seen of the epochs; a checkpoint of an older version holds less."""
        self.best = state_dict["best"]
        self.waited, self.losses = state_dict.get("waited", 0), state_dict.get("losses", {})

    @property
    def exhausted(self) -> bool:
        """Whether the patience is at an end."""
        return self.config.patience is not None and self.waited >= self.config.patience

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Open the progress bar where the training stands, which may be at its end."""
        if trainer.global_step and trainer.is_global_zero:
            log.info("%s resumes after %d of %d steps.", self.label, trainer.global_step, self.config.total_steps)
        self.bar = Bar(self.label, self.config.total_steps, trainer.global_step, hidden=not trainer.is_global_zero)
        trainer.should_stop = self.exhausted

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        """Count; look at the loss now and then (asking for its value makes a GPU wait)."""
        assert self.bar is not None and isinstance(module, Pretraining)
        if not module.ends_step(index):
            return
        self.bar.advance()
        self.loss = module.step_loss
        step = trainer.global_step
        if step % 100 == 0 or step == self.config.total_steps:
            self.bar.show(f"loss {self.read_loss(step):.3f}")

    def read_loss(self, step: int) -> float:
        """The loss of the last step. Raises UserError where it is not finite."""
        assert self.loss is not None
        loss = float(self.loss)
        self.check_finite("loss", loss, step)
        return loss

    def check_finite(self, name: str, loss: float, step: int) -> None:
        """Raise UserError for a training that has diverged."""
        if not np.isfinite(loss):
            raise describe_divergence(self.label, name, loss, step)

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Save what a resumed training needs, and the best weights; each file is replaced in one step."""
        if self.loss is None:  # Lightning ends the last epoch of a checkpoint once more, before the first step
            return
        step = trainer.global_step
        self.read_loss(step)
        self.losses |= {name: float(value) for name, value in trainer.callback_metrics.items()}
        if "validation_loss" in self.losses:
            self.select(trainer, module, self.losses["validation_loss"])
        trainer.should_stop = self.exhausted
        if step < self.config.total_steps:
            trainer.save_checkpoint(self.folder / RESUME)
            if trainer.is_global_zero:
                note_spent(self.folder, self.beginning)

    def select(self, trainer: L.Trainer, module: L.LightningModule, value: float) -> None:
        """Keep the weights of an epoch with that validation loss if it is the best so far and the best are wanted."""
        self.check_finite("validation loss", value, trainer.global_step)
        self.waited += 1
        if value < self.best:
            self.best, self.waited = value, 0
            if self.config.selection == "best":
                self.save_weights(trainer, module)

    def on_train_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Write the weights unless a better epoch already has."""
        self.close()
        trainer.callback_metrics.update({name: torch.tensor(value) for name, value in self.losses.items()})
        if self.config.selection == "last":
            self.save_weights(trainer, module)

    def save_weights(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """The sets of weights that are kept as safetensors, float32 on the CPU."""
        assert isinstance(module, Pretraining)
        if trainer.is_global_zero:
            metadata = make_metadata(module.diffusion, self.config.lora)
            for name, source in zip(WEIGHTS, (module.network, module.averaged), strict=True):
                check_trained(source.state_dict(), self.label)
                if name in self.config.stored:
                    write_weights(self.folder, name, source.weights(), metadata)


def describe_divergence(label: str, name: str, loss: float, step: int) -> UserError:
    """What is said of a training whose loss of that name is not finite."""
    return UserError(f"{label}: the {name} is {loss} at step {step}; lower train.learning_rate.")


def write_weights(folder: Path, name: str, weights: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """One of the two sets of weights, moved into place in one step. Raises UserError where the disk is full."""
    path = folder / f"{name}.safetensors"
    with writing(folder):
        save_file(weights, name_aside(path), metadata=metadata)
        move_into_place(name_aside(path), path)
