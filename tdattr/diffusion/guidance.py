"""Classifier-free guidance (Ho & Salimans 2021), as a network around a network."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from tdattr.networks import Forward, Given


@dataclass(frozen=True)
class Guided:
    """Calls ``network`` with and without its condition and returns w * conditional + (1 - w) * unconditional.

    A weight of None or 1, or a call without a condition, leaves the network as it is.
    """

    network: Forward
    weight: float | None

    def __call__(
        self, x: Float[Tensor, "batch *shape"], c_noise: Float[Tensor, " batch"], given: Given
    ) -> Float[Tensor, "batch *shape"]:
        if given.condition is None or self.weight is None or self.weight == 1.0:
            return self.network(x, c_noise, given)
        without = replace(given, drop=torch.ones(len(x), dtype=torch.bool, device=x.device))
        return torch.lerp(self.network(x, c_noise, without), self.network(x, c_noise, given), weight=self.weight)
