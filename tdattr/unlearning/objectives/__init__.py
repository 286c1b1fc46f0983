"""Objectives that unlearn a group, one file each: a loss of a retained and a forgotten batch."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tdattr.configs import Node
from tdattr.costs import Work
from tdattr.data.preparation import Encode
from tdattr.data.prepared import Split
from tdattr.diffusion import Diffusion
from tdattr.diffusion.batch import Batch
from tdattr.features.text import TextEncoder
from tdattr.ids import Ids
from tdattr.training.teacher import Teacher
from tdattr.unlearning.draws import UnlearnBatch


@dataclass(frozen=True)
class Losses:
    """What a step of unlearning computes."""

    total: Tensor  # what is minimised
    retain: Tensor  # of the retained batch, for the log
    forget: Tensor | None = None  # of the forgotten batch
    more: Mapping[str, Tensor] = field(default_factory=dict)  # further values for the log, by name

    @property
    def parts(self) -> dict[str, Tensor]:
        """The parts by name."""
        parts = {"retain": self.retain, "forget": self.forget, **self.more}
        return {name: part for name, part in parts.items() if part is not None}

    def log(self) -> dict[str, float]:
        """Their values."""
        return {name: float(part.detach()) for name, part in self.parts.items()}


Step = Callable[[nn.Module, UnlearnBatch], Losses]


class Stateful(ABC):
    """What a loss is that depends on more than the network and the batch, so that an unlearning can be resumed."""

    @abstractmethod
    def state(self) -> Any:
        """On what, as tensors and plain values."""

    @abstractmethod
    def restore(self, state: Any) -> None:
        """Go on from what ``state`` gave."""


@dataclass(frozen=True)
class UnlearnContext:
    """What an objective may use; ``teacher`` where it asks for one."""

    diffusion: Diffusion
    split: Split
    retained: Int[np.ndarray, " retained"]
    forgotten: Int[np.ndarray, " forgotten"]
    f1: Callable[[], nn.Module]  # a new frozen copy of the trained network
    device: torch.device
    seed: int
    retain: Literal["loss", "distill"]  # loss: the usual one; distill: stay near F1's predictions
    groups: Mapping[str, Ids] = field(default_factory=dict)  # of the items that F1 has seen
    teacher: Callable[[], nn.Module] | None = None  # a new frozen copy of it
    encode: Callable[[], Encode] | None = None  # loads what makes conditions of prompts, where it declares that it does


@dataclass(frozen=True)
class ObjectiveSetup:
    """What an objective may check before anything is trained."""

    diffusion: Diffusion
    conditional: bool  # whether the model is told conditions of the items, and also works without them
    split: Split
    groups: Mapping[str, Ids] = field(default_factory=dict)  # of the items that F1 sees
    text: TextEncoder | None = None  # makes conditions of the items' prompts; None: nothing does


class Objective(Node, ABC):
    """An ``objective`` config node: a frozen dataclass whose fields are its constants."""

    retains: ClassVar[tuple[str, ...]] = ("loss", "distill")  # the values of unlearn.retain that it supports
    weighted: ClassVar[bool] = False  # whether ``scale_weight`` changes it
    reads_groups: ClassVar[bool] = False  # whether its loss depends on which groups there are
    encodes_prompts: ClassVar[bool] = False  # whether it makes conditions of prompts that are no item's

    name: str

    def check_text(self, text: TextEncoder | None) -> None:
        """Raise UserError where it does not suit what makes conditions of prompts, None for nothing; before the dataset
        is prepared."""
        return None

    def check(self, setup: ObjectiveSetup) -> None:
        """Raise UserError where it does not suit the variant, the model or the items; called before any training."""
        return None

    def compared(self) -> Mapping[str, float]:
        """Those of its settings that runs are compared by: ``lambda``, its weight, if it has one."""
        return {}

    def teacher_config(self) -> Teacher | None:
        """The teacher that it learns from besides F1; None: none."""
        return None

    def level_window(self) -> tuple[float, float] | None:
        """The lowest and the highest noise level that the batches of both roles are drawn at; None: all of training."""
        return None

    def scale_weight(self, share: float) -> "Objective":
        """The objective with its weight of forgetting, if it has one, multiplied by ``share``."""
        return self

    def work(self, retained: int, forgotten: int, retain: Literal["loss", "distill"]) -> Work | None:
        """What a step on batches of so many items takes; ``retain`` as in ``UnlearnContext``. None: unknown."""
        return None

    @abstractmethod
    def begin(self, context: UnlearnContext) -> Step:
        """Compute what all steps share, and return the function that gives the loss of a step; one whose result depends
        on more than its arguments is ``Stateful``."""


def step_on_both(retained: int, forgotten: int, retain: Literal["loss", "distill"]) -> Work:
    """The usual step: both batches are trained on, and F1 is asked about the retained one where it is distilled."""
    return Work(trained=retained + forgotten, evaluations=retained if retain == "distill" else 0)


class Weighted(Objective):
    """An objective that adds the loss of what is forgotten with a weight."""

    weighted: ClassVar = True

    weight: float

    def compared(self) -> Mapping[str, float]:
        """The weight."""
        return {"lambda": self.weight}

    def scale_weight(self, share: float) -> "Weighted":
        """The same objective with a multiple of its weight."""
        return replace(self, weight=self.weight * share)  # type: ignore[type-var]


def retained_loss(
    context: UnlearnContext, f1: nn.Module | None = None
) -> Callable[[nn.Module, Batch], Float[Tensor, ""]]:
    """The mean loss of a retained batch: the usual one, or the distance from F1's predictions under the same weight.

    ``f1``: a frozen copy of F1 that is there already; None: another is loaded where it is needed.
    """
    if context.retain == "loss":
        return lambda network, batch: context.diffusion.loss(network, *batch.inputs).mean()
    f1 = context.f1() if f1 is None else f1

    def distance(network: nn.Module, batch: Batch) -> Tensor:
        with torch.no_grad():
            target = context.diffusion.predicted_noise(f1, *batch.inputs)
        return loss_towards(context.diffusion, network, batch, target).mean()

    return distance


def loss_towards(
    diffusion: Diffusion, network: nn.Module, batch: Batch, target: Float[Tensor, "batch *shape"]
) -> Float[Tensor, " batch"]:
    """The variant's loss of each item with ``target`` as the noise that is to be predicted."""
    return weighted_distance(diffusion, batch, diffusion.predicted_noise(network, *batch.inputs), target)


def weighted_distance(
    diffusion: Diffusion,
    batch: Batch,
    predicted: Float[Tensor, "batch *shape"],
    target: Float[Tensor, "batch *shape"],
) -> Float[Tensor, " batch"]:
    """The mean squared difference of two noises of each item, times the variant's weight of its level."""
    return diffusion.noise_weight(batch.level) * (predicted - target).square().flatten(1).mean(1)
