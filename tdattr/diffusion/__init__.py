"""Diffusion variants: what a noise level is, how to train on it, which levels generation visits, how to sample."""

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from tdattr.configs import Node
from tdattr.diffusion.samplers import Watch
from tdattr.networks import NOTHING, Forward, Given
from tdattr.schedules import leading

# Where an item is noise alone, an error of its velocity is no error of its noise, and the weight that makes up for it
# is infinite: a few draws would then be all of a loss towards another noise. Ours: with uniform levels of flow matching
# half of the weight lies on the tenth of the draws that has most noise.
MAX_NOISE_WEIGHT = 100.0


class Diffusion(Node, ABC):
    """A diffusion variant around any network: the base class of ``diffusion`` config nodes, frozen dataclasses.

    Levels are float tensors whose meaning only the variant knows. Noise is always unit normal; the variant scales it.
    ``x``, the noise and what the network puts out have the same shape, whatever it is beyond the first axis.
    """

    sampling: ClassVar[tuple[str, ...]]  # the settings that only generation reads; a change of them retrains nothing

    name: str

    @property
    def tells_timesteps(self) -> bool:
        """Whether c_noise, what the network is told of a level, is a timestep, as diffusers' networks embed it."""
        return False

    @property
    def clips(self) -> bool:
        """Whether generation keeps x in the range of images."""
        return False

    @abstractmethod
    def training_levels(self, rng: np.random.Generator, count: int) -> Float[Tensor, " count"]:
        """Levels drawn from the training distribution."""

    @abstractmethod
    def generation_levels(self, count: int) -> Float[Tensor, " count"]:
        """The ``count`` levels that a generation with that many steps visits, most noise first."""

    @abstractmethod
    def discrete_levels(self, count: int) -> Float[Tensor, " level"]:
        """The levels of a discrete process, least noise first: ``count`` of them, or a discrete variant's own."""

    def leading_levels(self, count: int) -> Float[Tensor, " count"]:
        """``count`` of the levels of a discrete process, least noise first: t = 0, T / count, … of a variant with T
        timesteps of its own, at which D-TRAK takes gradients and AbU losses."""
        levels = self.discrete_levels(count)
        return levels[leading(len(levels), count)]

    @abstractmethod
    def log_snr(self, level: Float[Tensor, " level"]) -> Float[Tensor, " level"]:
        """ln of the ratio of signal to noise variance in a noised item; float64 on the CPU."""

    @abstractmethod
    def noised(
        self, x: Float[Tensor, "batch *shape"], level: Float[Tensor, " batch"], noise: Float[Tensor, "batch *shape"]
    ) -> Float[Tensor, "batch *shape"]:
        """The items with so much of the noise in them."""

    @abstractmethod
    def error(
        self,
        network: Forward,
        x: Float[Tensor, "batch *shape"],
        level: Float[Tensor, " batch"],
        noise: Float[Tensor, "batch *shape"],
        given: Given,
    ) -> Float[Tensor, "batch *shape"]:
        """Predicted minus true, of what the network is trained to predict of the noised items; float32."""

    def loss_weight(self, level: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        """The loss is this times the mean of ``error`` squared. 1, unless a variant says otherwise."""
        return torch.ones_like(level)

    def in_noise(
        self, error: Float[Tensor, "batch *shape"], level: Float[Tensor, " batch"]
    ) -> Float[Tensor, "batch *shape"]:
        """An ``error`` as predicted minus true noise. The same, unless a variant predicts something else."""
        return error

    def noise_weight(self, level: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        """The loss is this times the mean of ``residual`` squared. 1, unless a variant says otherwise.

        Where it would exceed ``MAX_NOISE_WEIGHT`` without a limit, it is that.
        """
        return torch.ones_like(level)

    def loss(
        self,
        network: Forward,
        x: Float[Tensor, "batch *shape"],
        level: Float[Tensor, " batch"],
        noise: Float[Tensor, "batch *shape"],
        given: Given = NOTHING,
    ) -> Float[Tensor, " batch"]:
        """The training loss of each item: a mean over its values, no mean over the batch.

        From ``error`` and not from ``residual``, whose weight may be infinite (``Flow``, t = 1).
        """
        return self.loss_weight(level) * self.error(network, x, level, noise, given).square().flatten(1).mean(1)

    def residual(
        self,
        network: Forward,
        x: Float[Tensor, "batch *shape"],
        level: Float[Tensor, " batch"],
        noise: Float[Tensor, "batch *shape"],
        given: Given = NOTHING,
    ) -> Float[Tensor, "batch *shape"]:
        """Predicted minus true noise, to all its digits where the two are close."""
        return self.in_noise(self.error(network, x, level, noise, given), level)

    def predicted_noise(
        self,
        network: Forward,
        x: Float[Tensor, "batch *shape"],
        level: Float[Tensor, " batch"],
        noise: Float[Tensor, "batch *shape"],
        given: Given = NOTHING,
    ) -> Float[Tensor, "batch *shape"]:
        """The noise that the network sees in the items noised by ``noise``: equal to it where it is perfect."""
        return noise + self.residual(network, x, level, noise, given)

    def count_evaluations(self) -> int | None:
        """How often the network is evaluated for one sample, without guidance; None: not declared."""
        return None

    def count_steps(self) -> int:
        """How many steps a sample takes, of which ``watch`` is told; as many as evaluations, unless a variant says
        otherwise."""
        return self.count_evaluations() or 0

    @abstractmethod
    def sample(
        self,
        network: nn.Module,
        rngs: list[np.random.Generator],
        shape: tuple[int, ...],
        given: Given = NOTHING,
        guidance: float | None = None,
        watch: Watch | None = None,
    ) -> Float[Tensor, "batch *shape"]:
        """One x per generator, each a function of its own generator alone, never of the batch; on the network's device.

        ``given``: what the network is told of each. ``guidance``: the weight of classifier-free guidance; None: none.
        ``watch`` is told of each step its level and the clean items that the network predicts there.
        """


def at_least_float32(values: Tensor) -> Tensor:
    """What a network gives in half precision in float32, anything else as it is: losses are sums of many."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
