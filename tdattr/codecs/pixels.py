"""No codec: the diffusion process runs on the image itself."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float
from torch import Tensor

from tdattr.codecs import Codec


@dataclass(frozen=True)
class Pixels(Codec):
    """The ``codec=pixels`` node."""

    latent: ClassVar = False

    name: str

    def shape(self, image: tuple[int, int, int]) -> tuple[int, ...]:
        """That of the image."""
        return image

    def encode(self, images: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch *moments"]:
        """The images themselves."""
        return images

    def x(
        self, moments: Float[Tensor, "batch *moments"], rng: np.random.Generator | None
    ) -> Float[Tensor, "batch *shape"]:
        """The images themselves, whatever ``rng``."""
        return moments

    def decode(
        self, x: Float[Tensor, "batch *shape"], channels: int | None = None
    ) -> Float[Tensor, "batch channel height width"]:
        """``x`` clamped to [-1, 1], the range of images."""
        return x.clamp(-1, 1)
