"""The U-Net of DDPM (Ho et al. 2020), diffusers' ``UNet2DModel``, told the level and the condition as the DiT is."""

import fnmatch
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from tdattr.errors import UserError
from tdattr.networks.embedding import FREQUENCIES, Fourier, two_layers


@dataclass(frozen=True)
class UNetConfig:
    """The ``model`` node of a U-Net: a level per entry of ``channels``, each at half the resolution of the last.

    ``layers``: residual blocks per level on the way down, one more on the way up. ``attention``: whether a level has
    self-attention, with heads of ``head_width`` channels; the middle always has. ``groups``: of the group norms.
    """

    name: str
    channels: list[int]
    layers: int
    attention: list[bool]
    head_width: int
    groups: int
    dropout: float
    embedding_width: int
    sigma_dropout: float
    augmentation_label: bool

    def build(self, channels: int, resolution: int, condition: int) -> "UNet":
        """A U-Net for ``resolution`` x ``resolution`` images. Raises UserError where the sizes do not fit."""
        if not self.channels or len(self.channels) != len(self.attention):
            raise UserError("model.channels and model.attention must have the same length, one entry per level.")
        if min(self.layers, self.head_width, self.groups, *self.channels) < 1:
            raise UserError("model.layers, model.head_width, model.groups and model.channels must be at least 1.")
        down = 2 ** (len(self.channels) - 1)
        if resolution % down:
            raise UserError(
                f"The images are {resolution} pixels wide but a U-Net of {len(self.channels)} levels needs a multiple "
                f"of {down}: shorten model.channels and model.attention."
            )
        if any(width % self.groups for width in self.channels):
            raise UserError(
                f"model.channels={self.channels} must be multiples of model.groups={self.groups}, the groups of their "
                "norms."
            )
        attended = [*(c for c, used in zip(self.channels, self.attention, strict=True) if used), self.channels[-1]]
        if any(width % self.head_width for width in attended):
            raise UserError(
                f"model.head_width={self.head_width} must divide the channels of every level with attention, which are "
                f"{attended} (the last is the middle's)."
            )
        return UNet(self, channels, resolution, condition)


class UNet(nn.Module):
    """Image, noise code and condition in; an image of the same shape out (see ``tdattr.networks.Network``).

    The embeddings are the DiT's: Fourier features of the noise code and the condition each through a two-layer SiLU
    MLP, a learned null condition, and the sum shifts the features of every residual block. Like the DiT it answers
    zero before it is trained.
    """

    def __init__(self, config: UNetConfig, channels: int, resolution: int, condition: int) -> None:
        from diffusers.models.unets.unet_2d import UNet2DModel  # takes seconds to import

        super().__init__()
        width = config.embedding_width
        self.width = width
        self.unet = UNet2DModel(
            sample_size=resolution,
            in_channels=channels,
            out_channels=channels,
            block_out_channels=tuple(config.channels),
            layers_per_block=config.layers,
            down_block_types=tuple("AttnDownBlock2D" if used else "DownBlock2D" for used in config.attention),
            up_block_types=tuple("AttnUpBlock2D" if used else "UpBlock2D" for used in reversed(config.attention)),
            attention_head_dim=config.head_width,
            norm_num_groups=config.groups,
            dropout=config.dropout,
            time_embedding_dim=width,
            class_embed_type="identity",  # what comes with a call is added to the embedding of the level
        )
        self.unet.time_proj = Fourier()
        self.unet.time_embedding = two_layers(2 * FREQUENCIES, width, config.sigma_dropout)
        nn.init.zeros_(self.unet.conv_out.weight)
        nn.init.zeros_(self.unet.conv_out.bias)  # type: ignore[arg-type]
        if condition:
            self.condition = two_layers(condition, width, config.dropout)
            self.null = nn.Parameter(torch.zeros(condition))
        if config.augmentation_label:
            self.augmentation = nn.Linear(2, width, bias=False)

    def forward(
        self,
        x: Float[Tensor, "batch channel height width"],
        code: Float[Tensor, " batch"],
        condition: Float[Tensor, "batch condition"] | None = None,
        drop: Bool[Tensor, " batch"] | None = None,
        augmentation: Float[Tensor, "batch label"] | None = None,
    ) -> Float[Tensor, "batch channel height width"]:
        added = x.new_zeros(len(x), self.width)
        if condition is not None:
            if drop is not None:
                condition = torch.where(drop[:, None], self.null, condition)
            added = added + self.condition(condition)
        if augmentation is not None:
            added = added + self.augmentation(augmentation)
        return self.unet(x, code, added, return_dict=False)[0]

    def parameter_names(self, part: str) -> list[str]:
        """Names of the parameters of a part that unlearning may train: ``mlp``, ``block`` or ``all``.

        A U-Net has no MLPs. What stands in a DiT block as fc1, SiLU, fc2 stands in a residual block as conv1, SiLU,
        conv2: the two weight tensors that transform the features inside a residual branch. So ``mlp`` (MUCS §2.3, C4)
        is those two of every residual block and the weight matrices of the condition embedding, no biases. As in the
        DiT, it leaves out the attention, the norms, the projections of the embedding (adaLN there), the embedding of
        the level, and what only changes shapes: the first and last convolution, the shortcuts, the steps between
        resolutions. ``block``: everything inside the down, middle and up blocks, and the condition embedding.
        Raises UserError for an unknown part.
        """
        patterns = {
            "mlp": ["unet.*.resnets.*.conv[12].weight", "condition.*.weight"],
            "block": ["unet.down_blocks.*", "unet.mid_block.*", "unet.up_blocks.*", "condition.*"],
            "all": ["*"],
        }
        if part not in patterns:
            raise UserError(f"The network has no part {part!r}: choose one of {', '.join(patterns)}.")
        names = [name for name, _ in self.named_parameters()]
        return [name for name in names if any(fnmatch.fnmatch(name, pattern) for pattern in patterns[part])]
