"""How a diffusion model is trained: the ``train`` and ``trainer`` config nodes."""

from dataclasses import dataclass
from typing import Any, Literal

from tdattr.errors import UserError
from tdattr.schedules import RateSchedule, rate

WEIGHTS = ("raw", "ema")  # the trained weights themselves and their moving average, each in its .safetensors


@dataclass(frozen=True)
class AugmentationConfig:
    """EDM's non-leaking augmentation (Karras et al. 2022, F.2) as the MUCS code uses it: see ``conf/train``."""

    enabled: bool
    probability: float
    scale: float
    anisotropy: float
    translation: float


@dataclass(frozen=True)
class TrainConfig:
    """The ``train`` node; everything in it matters to the weights, so all of it is part of their address."""

    steps: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    warmup_steps: int
    schedule: RateSchedule  # of the rate after the warm-up: constant, or cosine down to zero at the last step
    clip: float | None  # the largest length of a step's gradient
    ema: float
    condition_dropout: float
    mirror: bool
    coupled: bool
    epoch_steps: int  # a checkpoint and a validation after every so many steps
    validation_draws: int
    selection: Literal["last", "best"]  # last: the weights after `steps`; best: those with the lowest validation loss
    patience: int | None  # epochs without a better validation loss before training stops; needs selection=best
    augmentation: AugmentationConfig

    def __post_init__(self) -> None:
        if min(self.steps, self.batch_size, self.epoch_steps, self.validation_draws) < 1:
            raise UserError("train.steps, batch_size, epoch_steps and validation_draws must be at least 1.")
        if self.learning_rate <= 0 or not 0 <= self.ema < 1 or not 0 <= self.condition_dropout < 1:
            raise UserError("train needs learning_rate above 0, and ema and condition_dropout in [0, 1).")
        if self.clip is not None and self.clip <= 0:
            raise UserError(f"train.clip={self.clip} must be above 0, or null.")
        if self.patience is not None and self.selection != "best":
            raise UserError("train.patience needs train.selection=best.")

    def rate(self, step: int) -> float:
        """The learning rate's factor."""
        return rate(step, self.warmup_steps, self.schedule, self.steps)


@dataclass(frozen=True)
class TrainerConfig:
    """The ``trainer`` node: where and how fast, never what. ``precision`` alone also enters the weights' address."""

    accelerator: str
    devices: int
    strategy: str
    precision: Literal["32-true", "bf16-mixed", "16-mixed"]  # weights stay in float32, so that scoring can
    workers: int
    threads: int | None
    scoring_batch: int  # (item, noise) evaluations per forward pass while scoring
    gradient_batch: int  # (item, noise) gradients at a time
    feature_batch: int  # images per forward pass of feature extractors and measures

    def __post_init__(self) -> None:
        sizes = (self.devices, self.scoring_batch, self.gradient_batch, self.feature_batch)
        if min(sizes) < 1 or self.workers < 0 or (self.threads is not None and self.threads < 1):
            raise UserError(
                "trainer.devices, scoring_batch, gradient_batch, feature_batch and threads must be at least 1, and "
                "workers at least 0."
            )
        if self.strategy != "ddp_spawn":
            raise UserError(
                "trainer.strategy must be ddp_spawn: the others would run the whole command once per device."
            )

    def lightning(self) -> dict[str, Any]:
        """Arguments for Lightning's Trainer."""
        from lightning.pytorch.plugins.environments import LightningEnvironment

        return {
            "accelerator": self.accelerator,
            "devices": self.devices,
            "strategy": self.strategy if self.devices > 1 else "auto",
            "plugins": [LightningEnvironment()],  # also inside a SLURM job: one command, one job, its own processes
            "precision": self.precision,
            "enable_model_summary": False,
            "enable_progress_bar": False,
            "enable_checkpointing": False,
            "use_distributed_sampler": False,
            "num_sanity_val_steps": 0,
        }
