"""How a diffusion model is trained: the ``train`` and ``trainer`` config nodes."""

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from tdattr.configs import Settings
from tdattr.errors import UserError
from tdattr.networks.lora import LoraConfig
from tdattr.ranges import Count, CountOrZero, PartOrZero, Positive, PositiveOrZero, Probability
from tdattr.schedules import RateSchedule, rate
from tdattr.training.recipe import Auto

WEIGHTS = ("raw", "ema")  # the trained weights themselves and their moving average, each in its .safetensors
REPLACED = "replaced"
ALL = "all"  # of a network: the part of that name


@dataclass(frozen=True)
class AugmentationConfig(Settings):
    """EDM's non-leaking augmentation (Karras et al. 2022, F.2) as the MUCS code uses it: see ``conf/train``."""

    enabled: bool
    probability: Probability
    scale: PositiveOrZero
    anisotropy: PositiveOrZero
    slanted_stretch: Probability  # the share of the stretched items whose axes of stretching are rotated
    translation: PositiveOrZero

    def unread(self) -> dict[str, str]:
        """Everything else, unless it is enabled."""
        names = () if self.enabled else ("probability", "scale", "anisotropy", "slanted_stretch", "translation")
        return dict.fromkeys(names, "enabled=false")


@dataclass(frozen=True)
class TrainConfig(Settings):
    """The ``train`` node; everything in it but ``accumulate`` matters to what is stored, so that it is part of its
    address."""

    added: ClassVar = {"epsilon": 1e-8, "removal": REPLACED, "trainable": ALL}

    steps: Count | None  # or
    epochs: Count | None  # times through the items that are left
    drop_last: bool  # of ``epochs``: whether a last batch that would not be full is no step
    batch_size: Count  # items of a step
    accumulate: Count  # parts that they are computed in, one after another; less memory, the same step up to rounding
    learning_rate: Positive
    weight_decay: PositiveOrZero
    betas: list[PartOrZero]  # of Adam's moments
    epsilon: Positive  # added to the root of the second one
    warmup_steps: CountOrZero | None  # or
    warmup_share: PartOrZero | None  # of the planned steps
    schedule: RateSchedule  # of the rate after the warm-up: constant, or cosine down to zero at the last planned step
    schedule_steps: Count | None  # planned; None: those of ``schedule_epochs``
    schedule_epochs: Count | None  # planned; None: those that are run
    clip: Positive | None  # the largest length of a step's gradient
    ema: PartOrZero
    ema_ramp: bool  # whether the average's decay is at most (1 + k) / (10 + k) after k of its updates
    keep: Literal["raw", "ema", "both"]  # which weights are stored
    condition_dropout: PartOrZero
    mirror: bool
    coupled: bool
    removal: Literal["replaced", "empty"]  # what coupled trainings have in the slots of removed items
    epoch_steps: Count  # a checkpoint and a validation after every so many steps
    validation_draws: Count
    selection: Literal["last", "best"]  # last: the weights after `steps`; best: those with the lowest validation loss
    patience: Count | None  # epochs without a better validation loss before training stops; needs selection=best
    trainable: str  # the part of the network that is trained, of base weights that otherwise stay as they are
    lora: LoraConfig  # whether an adapter is trained in place of all weights
    augmentation: AugmentationConfig

    def __post_init__(self) -> None:
        check_one("steps", self.steps, "epochs", self.epochs)
        check_one("warmup_steps", self.warmup_steps, "warmup_share", self.warmup_share)
        if self.schedule_steps is not None or self.schedule_epochs is not None:
            check_one("schedule_steps", self.schedule_steps, "schedule_epochs", self.schedule_epochs)
            if self.schedule == "constant":
                raise UserError("train.schedule_steps and schedule_epochs have no effect with train.schedule=constant.")
        if self.coupled and (self.steps is None or self.schedule_epochs is not None):
            raise UserError(
                "train.coupled=true compares trainings step by step, so it needs lengths in steps instead of "
                "train.epochs and schedule_epochs, whose steps depend on the items that are left: set those, or "
                "train.coupled=false."
            )
        if self.removal != REPLACED and not self.coupled:
            raise UserError(f"train.removal={self.removal} is for coupled trainings: set train.coupled=true.")
        if len(self.betas) != 2:
            raise UserError(f"train.betas={self.betas} must be two numbers.")
        if self.trainable != ALL and self.lora.rank is not None:
            raise UserError(
                f"train.lora.rank={self.lora.rank} trains an adapter and nothing else: set train.trainable=all."
            )
        if self.patience is not None and self.selection != "best":
            raise UserError("train.patience needs train.selection=best.")

    def unread(self) -> dict[str, str]:
        """What lengths in epochs alone read."""
        in_epochs = self.epochs is not None or self.schedule_epochs is not None
        return {} if in_epochs else {"drop_last": f"steps={self.steps}"}

    @property
    def keeps_base(self) -> bool:
        """Whether base weights stay as they are, and only an adapter or a part of the network is trained and stored."""
        return self.lora.rank is not None or self.trainable != ALL

    @property
    def stored(self) -> tuple[str, ...]:
        """Those of ``WEIGHTS`` that are stored."""
        return WEIGHTS if self.keep == "both" else (self.keep,)

    def in_steps(self, items: int) -> "TrainConfig":
        """The same, every length in steps: of a training on so many items.

        A batch always is full, so that an epoch of n items in batches of b is n / b steps: rounded down where the
        authors drop what is left over (``drop_last``), up where they keep it; at least 1.
        """
        epoch = max(1, items // self.batch_size if self.drop_last else -(-items // self.batch_size))

        def length(steps: int | None, epochs: int | None) -> int | None:
            return steps if steps is not None or epochs is None else epochs * epoch

        steps = length(self.steps, self.epochs)
        planned = length(self.schedule_steps, self.schedule_epochs) or steps
        assert steps is not None and planned is not None
        if planned < steps:
            raise UserError(
                f"The rate would be zero after {planned} of {steps} steps: raise train.schedule_steps or "
                "train.schedule_epochs, or set them to null."
            )
        warmup = self.warmup_steps if self.warmup_share is None else math.ceil(self.warmup_share * planned)
        return replace(
            self,
            steps=steps,
            epochs=None,
            warmup_steps=warmup,
            warmup_share=None,
            schedule_steps=None if self.schedule == "constant" else planned,
            schedule_epochs=None,
        )

    def count_steps(self, items: int) -> int:
        """How many steps a training on so many items takes."""
        return self.in_steps(items).total_steps

    @property
    def total_steps(self) -> int:
        """How many steps a training takes; of a config ``in_steps``."""
        assert self.steps is not None
        return self.steps

    def rate(self, step: int) -> float:
        """The learning rate's factor; of a config ``in_steps``."""
        assert self.warmup_steps is not None
        return rate(step, self.warmup_steps, self.schedule, self.schedule_steps or self.total_steps)


def check_one(first: str, one: float | None, second: str, other: float | None) -> None:
    """Raise UserError unless exactly one of two settings is given."""
    if one is None and other is None:
        raise UserError(f"train.{first} and train.{second} are both null: give one of them.")
    if one is not None and other is not None:
        raise UserError(f"train.{first}={one} and train.{second}={other}: give one of them, and set the other to null.")


ScoringPrecision = Literal["float32", "tf32", "bfloat16"]


@dataclass(frozen=True)
class TrainerConfig:
    """The ``trainer`` node: where and how fast, never what. ``precision`` alone also enters the weights' address, and
    ``scoring_precision`` that of scores."""

    accelerator: str
    devices: Count
    strategy: str
    precision: Literal["32-true", "bf16-mixed", "16-mixed"]  # weights stay in float32, so that scoring can
    workers: CountOrZero
    threads: Count | None
    stack: Count | Auto  # retrainings at once
    scoring_batch: Count  # (item, noise) evaluations per forward pass while scoring
    scoring_precision: ScoringPrecision
    gradient_batch: Count  # (item, noise) gradients at a time
    metagradient_batch: Count  # (query, item) pairs at a time on the way back through a training
    feature_batch: Count  # images per forward pass of feature extractors and measures

    def __post_init__(self) -> None:
        if self.strategy != "ddp_spawn":
            raise UserError(
                "trainer.strategy must be ddp_spawn: the others would run the whole command once per device."
            )

    def lightning(self) -> dict[str, Any]:
        """Arguments for Lightning's Trainer, but for the number of devices and what trains on several."""
        from lightning.pytorch.plugins.environments import LightningEnvironment

        from tdattr.training.checkpoints import CheckpointBeside

        return {
            "accelerator": self.accelerator,
            # the environment also inside a SLURM job: one command, one job, its own processes
            "plugins": [LightningEnvironment(), CheckpointBeside()],
            "precision": self.precision,
            "enable_model_summary": False,
            "enable_progress_bar": False,
            "enable_checkpointing": False,
            "use_distributed_sampler": False,
            "num_sanity_val_steps": 0,
        }
