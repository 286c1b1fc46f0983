"""Objectives that unlearn a group: one file each, all of them a loss of a retained and a forgotten batch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tdattr.data.prepared import Split
from tdattr.diffusion import Diffusion
from tdattr.errors import UserError

Arguments = Mapping[str, Tensor]  # of Diffusion.loss, and "ids"
Batch = Mapping[str, Arguments]  # "retain" and "forget"
Parts = tuple[Tensor, dict[str, Tensor]]  # the loss, and its parts for the log


@dataclass(frozen=True)
class Situation:
    """What an objective may use."""

    diffusion: Diffusion
    split: Split
    retained: Int[np.ndarray, " retained"]
    forgotten: Int[np.ndarray, " forgotten"]
    f1: Callable[[], nn.Module]  # a new frozen copy of the trained network
    device: torch.device
    seed: int
    retain: str  # loss: the usual one; distill: stay near F1's predictions


class Objective(Protocol):
    """An ``objective`` config node."""

    name: str

    def check(self, conditional: bool) -> None:
        """Raise UserError where a model like this cannot be unlearned so; before any training."""
        ...

    def begin(self, situation: Situation) -> Callable[[nn.Module, Batch], Parts]:
        """Do what all steps share, and return the loss of a step."""
        ...


def check_above_zero(node: str, **values: float | None) -> None:
    """Raises UserError for a setting of an objective that is zero or less: forgetting would be nothing, or learning."""
    for name, value in values.items():
        if value is not None and not value > 0:
            raise UserError(f"objective={node} needs {name} above 0, not method.objective.{name}={value}.")


def plain(arguments: Arguments) -> dict[str, Tensor]:
    """The arguments of ``Diffusion.loss`` alone."""
    return {name: value for name, value in arguments.items() if name != "ids"}


def retained_loss(situation: Situation) -> Callable[[nn.Module, Arguments], Tensor]:
    """The mean loss of a retained batch: the usual one, or the distance from F1's predictions under the same weight."""
    if situation.retain == "loss":
        return lambda network, batch: situation.diffusion.loss(network, **plain(batch)).mean()  # type: ignore[arg-type]
    f1 = situation.f1()

    def distance(network: nn.Module, batch: Arguments) -> Tensor:
        with torch.no_grad():
            target = predicted(situation.diffusion, f1, batch)
        return towards(situation.diffusion, network, batch, target).mean()

    return distance


def towards(
    diffusion: Diffusion, network: nn.Module, batch: Arguments, target: Float[Tensor, "batch channel height width"]
) -> Float[Tensor, " batch"]:
    """The variant's loss of each item with ``target`` as the noise that is to be predicted."""
    return apart(diffusion, batch, predicted(diffusion, network, batch), target)


def predicted(
    diffusion: Diffusion, network: nn.Module, batch: Arguments
) -> Float[Tensor, "batch channel height width"]:
    """The noise that the network sees in each noised item."""
    return diffusion.predicted_noise(network, **plain(batch))  # type: ignore[arg-type]


def apart(
    diffusion: Diffusion,
    batch: Arguments,
    found: Float[Tensor, "batch channel height width"],
    target: Float[Tensor, "batch channel height width"],
) -> Float[Tensor, " batch"]:
    """The squared distance of two noise images of each item, with the variant's weight of its level."""
    return diffusion.noise_weight(batch["level"]) * (found - target).square().flatten(1).mean(1)
