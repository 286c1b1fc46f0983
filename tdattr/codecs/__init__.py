"""Codecs: between images, which people look at, and x, which the diffusion process runs on."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tdattr.configs import Node


class Codec(Node, ABC):
    """The base class of ``codec`` config nodes, which are frozen dataclasses.

    ``latent``: whether x is another thing than the image, so that moments are stored. ``training``: the fields that
    trainings alone read, and moments do not depend on. ``numbers``: how many are stored for each number of x.
    """

    latent: ClassVar[bool] = True
    training: ClassVar[tuple[str, ...]] = ()
    numbers: ClassVar[int] = 1

    @property
    def draws(self) -> bool:
        """Whether trainings draw x from the moments; everything else sees its mode."""
        return False

    @abstractmethod
    def encode(self, images: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch *moments"]:
        """What is stored of images in [-1, 1]: the parameters of the distribution of their x."""

    @abstractmethod
    def x(
        self, moments: Float[Tensor, "batch *moments"], rng: np.random.Generator | None
    ) -> Float[Tensor, "batch *shape"]:
        """An x drawn for each item, or its mode where ``rng`` is None."""

    @abstractmethod
    def decode(
        self, x: Float[Tensor, "batch *shape"], channels: int | None = None
    ) -> Float[Tensor, "batch channel height width"]:
        """The images, in [-1, 1]. ``channels``: how many those have that were encoded; None: as the codec has them."""

    @abstractmethod
    def shape(self, image: tuple[int, int, int]) -> tuple[int, ...]:
        """The shape of the x of an image of that many channels, rows and columns. Raises UserError where there is
        none."""

    def identity(self) -> Mapping[str, str]:
        """What the codec depends on besides the node's own values, such as the digests of files."""
        return {}

    def check(self) -> None:
        """Raise UserError where files are missing or of another kind, without loading weights."""
        return None

    def load(self, device: torch.device) -> None:
        """Load what encoding and decoding need, which is kept. Raises UserError where it is damaged."""
        return None
