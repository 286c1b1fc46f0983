"""Train a diffusion model on the items that are left: F1, and every counterfactual model."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int
from lightning.pytorch.callbacks import Callback, EarlyStopping
from safetensors.torch import save_file
from torch import nn

from tdattr.data.prepared import Prepared
from tdattr.diffusion import Diffusion
from tdattr.errors import UserError
from tdattr.files import writing
from tdattr.progress import Bar
from tdattr.training.batches import TrainingData
from tdattr.training.checkpoints import RESUME, CheckpointBeside, find_checkpoint, remove_checkpoints
from tdattr.training.config import WEIGHTS, TrainConfig, TrainerConfig
from tdattr.training.framework import L
from tdattr.training.module import Pretraining
from tdattr.training.weights import check_trained, make_metadata


def pretrain(
    network: nn.Module,
    data: Prepared,
    ids: Int[np.ndarray, " kept"],
    diffusion: Diffusion,
    config: TrainConfig,
    trainer: TrainerConfig,
    seed: int,
    folder: Path,
    label: str,
    logger: Any = None,
) -> dict[str, float]:
    """Train ``network`` from its present weights and write ``raw.safetensors`` and ``ema.safetensors`` to ``folder``.

    Resumes from the checkpoint that an interrupted training left in ``folder``, and ends at the same weights. Returns
    the last measured losses by name. Raises UserError where the loss or the weights are not finite.
    """
    config = config.in_steps(len(ids))
    module = Pretraining(network, diffusion, config, seed, mixed=trainer.precision != "32-true")
    keeper = Keeper(folder, config, label)
    stopper = EarlyStopping("validation_loss", patience=config.patience) if config.patience is not None else None
    settings = trainer.lightning()
    settings["plugins"] = [*settings["plugins"], CheckpointBeside()]
    fitter = L.Trainer(
        **settings,
        max_steps=config.total_steps,
        max_epochs=-1,
        gradient_clip_val=config.clip,
        logger=logger or False,
        callbacks=[keeper] if stopper is None else [keeper, stopper],
        default_root_dir=folder,
    )
    fitter.fit(
        module,
        datamodule=TrainingData(data, ids, diffusion, config, seed, trainer.workers),
        ckpt_path=find_checkpoint(folder),
        weights_only=True,
    )
    if fitter.interrupted:
        raise KeyboardInterrupt
    remove_checkpoints(folder)
    return {name: float(value) for name, value in fitter.callback_metrics.items()}


class Keeper(Callback):
    """Shows progress, leaves a resumable checkpoint after every epoch, and keeps the weights that were asked for."""

    def __init__(self, folder: Path, config: TrainConfig, label: str) -> None:
        self.folder, self.config, self.label = folder, config, label
        self.best = float("inf")
        self.bar: Bar | None = None

    def state_dict(self) -> dict[str, Any]:
        """The best validation loss so far survives an interruption."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best validation loss."""
        self.best = state_dict["best"]

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Open the progress bar where the training stands."""
        self.bar = Bar(self.label, self.config.total_steps, trainer.global_step, hidden=not trainer.is_global_zero)

    def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, *_: Any) -> None:
        """Count; look at the loss now and then (asking for its value makes a GPU wait)."""
        assert self.bar is not None
        self.bar.advance()
        step = trainer.global_step
        if step % 100 == 0 or step == self.config.total_steps:
            loss = outputs["loss"].item()
            self.bar.show(f"loss {loss:.3f}")
            if not np.isfinite(loss):
                raise UserError(f"{self.label}: the loss is {loss} at step {step}; lower train.learning_rate.")

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Save what a resumed training needs, and the best weights; each file is replaced in one step."""
        value = float(trainer.callback_metrics.get("validation_loss", float("inf")))
        if self.config.selection == "best" and value < self.best:
            self.best = value
            self.save_weights(trainer, module)
        if trainer.global_step < self.config.total_steps:
            trainer.save_checkpoint(self.folder / RESUME)

    def on_train_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Write the weights unless a better epoch already has."""
        self.close()
        if not trainer.interrupted and (self.config.selection == "last" or self.best == float("inf")):
            self.save_weights(trainer, module)

    def on_exception(self, trainer: L.Trainer, module: L.LightningModule, exception: BaseException) -> None:
        """Leave the terminal tidy."""
        self.close()

    def close(self) -> None:
        """End the progress bar, which cannot be sent back from another process."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    def save_weights(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Both sets of weights as safetensors, float32 on the CPU."""
        assert isinstance(module, Pretraining)
        if trainer.is_global_zero:
            metadata = make_metadata(module.diffusion)
            for name, source in zip(WEIGHTS, (module.network, module.average.module), strict=True):
                check_trained(source, self.label)
                state = {key: value.detach().float().cpu().contiguous() for key, value in source.state_dict().items()}
                with writing(self.folder):
                    save_file(state, self.folder / f"{name}.safetensors.new", metadata=metadata)
                    os.replace(self.folder / f"{name}.safetensors.new", self.folder / f"{name}.safetensors")
