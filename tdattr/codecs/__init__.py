"""Codecs: between images, which people look at, and x, which the diffusion process runs on."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from torch import Tensor

from tdattr.configs import Node


class Codec(Node, ABC):
    """The base class of ``codec`` config nodes, which are frozen dataclasses."""

    @abstractmethod
    def encode(self, images: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch *moments"]:
        """What is stored of images in [-1, 1]: the parameters of the distribution of their x."""

    @abstractmethod
    def x(
        self, moments: Float[Tensor, "batch *moments"], rng: np.random.Generator | None
    ) -> Float[Tensor, "batch *shape"]:
        """An x drawn for each item, or its mode where ``rng`` is None."""

    @abstractmethod
    def decode(self, x: Float[Tensor, "batch *shape"]) -> Float[Tensor, "batch channel height width"]:
        """The images, in [-1, 1]."""

    @abstractmethod
    def shape(self, image: tuple[int, int, int]) -> tuple[int, ...]:
        """The shape of the x of an image of that many channels, rows and columns."""

    def identity(self) -> Mapping[str, str]:
        """What the codec depends on besides the node's own values, such as the digests of files."""
        return {}
