"""Classifier-free guidance (Ho & Salimans 2021), as a network around a network."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from tdattr.networks import Network


@dataclass(frozen=True)
class Guided:
    """Calls ``network`` with and without its condition and returns w * conditional + (1 - w) * unconditional.

    A weight of None, or a call without a condition, leaves the network as it is.
    """

    network: Network
    weight: float | None

    def __call__(
        self,
        x: Float[Tensor, "batch channel height width"],
        code: Float[Tensor, " batch"],
        condition: Float[Tensor, "batch condition"] | None,
    ) -> Float[Tensor, "batch channel height width"]:
        if condition is None or self.weight is None or self.weight == 1.0:
            return self.network(x, code, condition)
        drop = torch.ones(len(x), dtype=torch.bool, device=x.device)
        return torch.lerp(self.network(x, code, condition, drop), self.network(x, code, condition), weight=self.weight)
