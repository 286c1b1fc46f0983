"""The U-Net of DDPM (Ho et al. 2020), diffusers' ``UNet2DModel``, told the level and the condition as the DiT is."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from tdattr.networks import NOTHING, Given
from tdattr.networks.embedding import FREQUENCIES, EmbeddingNetwork, Fourier, two_layers
from tdattr.networks.unet_sizes import PARTS, UNetSizes
from tdattr.ranges import Count, PartOrZero


@dataclass(frozen=True)
class UNetConfig(UNetSizes):
    """The ``model`` node of a U-Net; the embeddings of level and condition are ``embedding_width`` wide."""

    embedding_width: Count
    sigma_dropout: PartOrZero

    def build(self, channels: int, resolution: int, condition: int) -> "UNet":
        """A U-Net for ``resolution`` x ``resolution`` images. Raises UserError where the sizes do not fit."""
        self.check_sizes(resolution)
        return UNet(self, channels, resolution, condition)


class UNet(EmbeddingNetwork):
    """Image, c_noise and what is given in; an image of the same shape out.

    The embeddings are the DiT's: Fourier features of c_noise and the condition each through a two-layer SiLU MLP, a
    learned null condition, and the sum shifts the features of every residual block. Like the DiT it answers zero
    before it is trained.
    """

    parts: ClassVar = PARTS

    def __init__(self, config: UNetConfig, channels: int, resolution: int, condition: int) -> None:
        from diffusers.models.unets.unet_2d import UNet2DModel  # takes seconds to import

        super().__init__()
        width = config.embedding_width
        self.width = width
        self.unet = UNet2DModel(
            **config.arguments(channels, resolution),
            time_embedding_dim=width,
            class_embed_type="identity",  # what comes with a call is added to the embedding of the level
        )
        self.unet.time_proj = Fourier()
        self.unet.time_embedding = two_layers(2 * FREQUENCIES, width, config.sigma_dropout)
        nn.init.zeros_(self.unet.conv_out.weight)
        nn.init.zeros_(self.unet.conv_out.bias)  # type: ignore[arg-type]
        self.add_condition(condition, width, config.dropout)
        self.add_augmentation(width, config.augmentation_label)

    def forward(
        self,
        x: Float[Tensor, "batch channel height width"],
        c_noise: Float[Tensor, " batch"],
        given: Given = NOTHING,
    ) -> Float[Tensor, "batch channel height width"]:
        added = self.embed_given(x.new_zeros(len(x), self.width), given)
        return self.unet(x, c_noise, added, return_dict=False)[0]
