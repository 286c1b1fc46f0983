"""diffusers' own U-Nets, embeddings and all, behind the signature that the variants call."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from tdattr.diffusion.ddpm import DDPM
from tdattr.errors import UserError
from tdattr.networks.unet import UNet

if TYPE_CHECKING:
    from diffusers.models.unets.unet_2d import UNet2DModel
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

SCHEDULES = ("cosine", "linear")


@dataclass(frozen=True)
class TimestepsConfig:
    """The ``model.timesteps`` node: which noise level each timestep stands for, named as in ``diffusion=ddpm``."""

    count: int
    schedule: str
    beta_start: float
    beta_end: float

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise UserError(f"model.timesteps.schedule={self.schedule} is unknown: choose {' or '.join(SCHEDULES)}.")
        if self.count < 1 or not 0 < self.beta_start <= self.beta_end < 1:
            raise UserError("model.timesteps needs a count of at least 1 and 0 < beta_start <= beta_end < 1.")

    def codes(self) -> Float[Tensor, " timestep"]:
        """What a variant calls the level of each timestep: ln(sigma) / 4, where sigma is noise over signal."""
        alpha_bar = DDPM("", self.count, self.schedule, self.beta_start, self.beta_end, "ddim", 1).alpha_bar
        return (((1 - alpha_bar) / alpha_bar).log() / 8).float()


@dataclass(frozen=True)
class DiffusersUNetConfig:
    """The ``model`` node of a U-Net of diffusers: a level per entry of ``channels``, as in ``UNetConfig``.

    ``conditional``: ``UNet2DConditionModel`` with a projection of the class, otherwise ``UNet2DModel``, which sees no
    condition even where the dataset has some. ``head_width``: channels of a head; in the middle of the conditional
    one, where diffusers reads it otherwise, the number of heads.
    """

    name: str
    conditional: bool
    channels: list[int]
    layers: int
    attention: list[bool]
    head_width: int
    groups: int
    dropout: float
    timesteps: TimestepsConfig
    augmentation_label: bool

    def build(self, channels: int, resolution: int, condition: int) -> "DiffusersUNet":
        """A U-Net for ``resolution`` x ``resolution`` images. Raises UserError where the sizes do not fit."""
        from diffusers.models.unets.unet_2d import UNet2DModel  # takes seconds to import
        from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

        self.check(resolution, condition)
        shared: dict[str, Any] = {
            "sample_size": resolution,
            "in_channels": channels,
            "out_channels": channels,
            "block_out_channels": tuple(self.channels),
            "layers_per_block": self.layers,
            "down_block_types": tuple("AttnDownBlock2D" if used else "DownBlock2D" for used in self.attention),
            "up_block_types": tuple("AttnUpBlock2D" if used else "UpBlock2D" for used in reversed(self.attention)),
            "attention_head_dim": self.head_width,
            "norm_num_groups": self.groups,
            "dropout": self.dropout,
        }
        if not self.conditional:
            return DiffusersUNet(UNet2DModel(**shared), self.timesteps, self.augmentation_label)
        unet = UNet2DConditionModel(
            **shared,
            class_embed_type="simple_projection",
            projection_class_embeddings_input_dim=condition + 1,
            cross_attention_dim=self.channels[-1],  # there is no text, so the middle attends to itself
        )
        return DiffusersUNet(unet, self.timesteps, self.augmentation_label)

    def check(self, resolution: int, condition: int) -> None:
        """Raises UserError where the sizes do not fit together or to the images."""
        if self.conditional and not condition:
            raise UserError(
                "This U-Net is conditional but the dataset has no conditions: choose another dataset.source.condition "
                "or an unconditional model."
            )
        if not self.channels or len(self.channels) != len(self.attention):
            raise UserError("model.channels and model.attention must have the same length, one entry per level.")
        if min(self.layers, self.head_width, self.groups, *self.channels) < 1:
            raise UserError("model.layers, model.head_width, model.groups and model.channels must be at least 1.")
        down = 2 ** (len(self.channels) - 1)
        if resolution % down:
            raise UserError(
                f"A U-Net of {len(self.channels)} levels needs images whose width is a multiple of {down}, not "
                f"{resolution}: shorten model.channels and model.attention."
            )
        if any(width % self.groups for width in self.channels):
            raise UserError(f"model.channels={self.channels} must be multiples of model.groups={self.groups}.")
        attended = [*(c for c, used in zip(self.channels, self.attention, strict=True) if used), self.channels[-1]]
        if any(width % self.head_width for width in attended):
            raise UserError(
                f"model.head_width={self.head_width} must divide the channels of every level with attention and of "
                f"the middle, which are {attended}."
            )


class DiffusersUNet(nn.Module):
    """A U-Net of diffusers as a ``Network``: it is told the timestep whose noise level is nearest to the code.

    Under ``diffusion=ddpm`` with the same timesteps that is the very timestep. Conditions are vectors, in practice one
    for each class; one more label, the last, stands for no condition (``drop``, or a call without one). An
    unconditional network takes conditions and ``drop`` and ignores them.

    The embedding of the class, where there is one, is moved from ``unet`` to ``condition``, so that the augmentation
    label can be added to it. Predictions are those of ``unet`` as it came.
    """

    codes: Tensor
    null: Tensor

    def __init__(
        self, unet: "UNet2DModel | UNet2DConditionModel", timesteps: TimestepsConfig, augmentation_label: bool
    ) -> None:
        super().__init__()
        self.width = int(unet.time_embedding.linear_2.out_features)
        self.text = {"encoder_hidden_states": None} if hasattr(unet, "encoder_hid_proj") else {}
        embedding: nn.Module | None = unet.class_embedding
        self.conditional = embedding is not None
        self.table = isinstance(embedding, nn.Embedding)  # which takes the number of a class, not a vector
        if embedding is not None:
            self.condition = nn.Sequential(embedding)
            labels = next(embedding.parameters()).shape[0 if self.table else 1]
            self.register_buffer("null", torch.eye(labels)[-1], persistent=False)
        unet.class_embedding = nn.Identity()  # type: ignore[assignment]  # adds what comes with a call
        self.unet = unet
        if augmentation_label:
            self.augmentation = nn.Linear(2, self.width, bias=False)
        self.register_buffer("codes", timesteps.codes(), persistent=False)

    def forward(
        self,
        x: Float[Tensor, "batch channel height width"],
        code: Float[Tensor, " batch"],
        condition: Float[Tensor, "batch condition"] | None = None,
        drop: Bool[Tensor, " batch"] | None = None,
        augmentation: Float[Tensor, "batch label"] | None = None,
    ) -> Float[Tensor, "batch channel height width"]:
        added = x.new_zeros(len(x), self.width)
        if self.conditional:
            labels = self.labels(len(x), condition, drop)
            added = added + self.condition(labels.argmax(1) if self.table else labels)
        if augmentation is not None:
            added = added + self.augmentation(augmentation)
        return self.unet(x, self.timestep(code), class_labels=added, return_dict=False, **self.text)[0]

    def timestep(self, code: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        """The timestep whose level is nearest."""
        return (code.float()[:, None] - self.codes).abs().argmin(1).float()

    def labels(
        self, count: int, condition: Float[Tensor, "batch condition"] | None, drop: Bool[Tensor, " batch"] | None
    ) -> Float[Tensor, "batch label"]:
        """The conditions with one more entry, which is 1 where there is none."""
        if condition is None:
            return self.null.expand(count, -1)
        labels = nn.functional.pad(condition, (0, 1))
        return labels if drop is None else torch.where(drop[:, None], self.null, labels)

    parameter_names = UNet.parameter_names
