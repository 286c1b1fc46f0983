"""What the U-Nets of diffusers have in common, whatever embeds level and condition: sizes, blocks and parts."""

from dataclasses import dataclass
from typing import Any, Literal

from tdattr.errors import UserError
from tdattr.networks import NetworkConfig
from tdattr.ranges import Count, PartOrZero

# A U-Net has no MLPs. What stands in a DiT block as fc1, SiLU, fc2 stands in a residual block as conv1, SiLU, conv2:
# the two weight tensors that transform the features inside a residual branch. So ``mlp`` (MUCS §2.3, C4) is those two
# of every residual block and the weight matrices of the condition embedding, no biases. As in the DiT, it leaves out
# the attention, the norms, the projections of the embedding (adaLN there), the embedding of the level, and what only
# changes shapes: the first and last convolution, the shortcuts, the steps between resolutions. ``block``: everything
# inside the down, middle and up blocks, and the condition embedding.
PARTS = {
    "mlp": ("unet.*.resnets.*.conv[12].weight", "condition.*.weight"),
    "block": ("unet.down_blocks.*", "unet.mid_block.*", "unet.up_blocks.*", "condition.*"),
    "all": ("*",),
}


@dataclass(frozen=True)
class UNetSizes(NetworkConfig):
    """The sizes of a U-Net: a level per entry of ``channels``, each at half the resolution of the last.

    ``layers``: residual blocks per level on the way down, one more on the way up. ``attention``: whether a level has
    self-attention, with heads of ``head_width`` channels, or with one head (None); the middle always has.
    ``norm_groups``: groups of a group norm.
    """

    name: str
    channels: list[Count]
    layers: Count
    attention: list[bool]
    head_width: Count | None
    norm_groups: Count
    dropout: PartOrZero
    augmentation_label: bool
    c_noise: Literal["log_sigma", "timestep"]

    def arguments(self, channels: int, resolution: int) -> dict[str, Any]:
        """The arguments of diffusers' classes for ``resolution`` x ``resolution`` images of so many ``channels``."""
        return {
            "sample_size": resolution,
            "in_channels": channels,
            "out_channels": channels,
            "block_out_channels": tuple(self.channels),
            "layers_per_block": self.layers,
            "down_block_types": tuple("AttnDownBlock2D" if used else "DownBlock2D" for used in self.attention),
            "up_block_types": tuple("AttnUpBlock2D" if used else "UpBlock2D" for used in reversed(self.attention)),
            "attention_head_dim": self.head_width,
            "norm_num_groups": self.norm_groups,
            "dropout": self.dropout,
        }

    def check_sizes(self, resolution: int) -> None:
        """Raise UserError where the sizes do not fit together or to the images."""
        if not self.channels or len(self.channels) != len(self.attention):
            raise UserError("model.channels and model.attention must have the same length, one entry per level.")
        head_width = 1 if self.head_width is None else self.head_width
        down = 2 ** (len(self.channels) - 1)
        if resolution % down:
            raise UserError(
                f"The images are {resolution} pixels wide but a U-Net of {len(self.channels)} levels needs a multiple "
                f"of {down}: shorten model.channels and model.attention."
            )
        if any(width % self.norm_groups for width in self.channels):
            raise UserError(
                f"model.channels={self.channels} must be multiples of model.norm_groups={self.norm_groups}, the "
                "number of groups of their group norms."
            )
        attended = [*(c for c, used in zip(self.channels, self.attention, strict=True) if used), self.channels[-1]]
        if any(width % head_width for width in attended):
            raise UserError(
                f"model.head_width={self.head_width} must divide the channels of every level with attention, which are "
                f"{attended} (the last is the middle's)."
            )
