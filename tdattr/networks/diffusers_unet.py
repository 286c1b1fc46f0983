"""diffusers' own U-Nets, embeddings and all, behind the signature that the variants call."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tdattr.errors import UserError
from tdattr.networks import NOTHING, Given
from tdattr.networks.embedding import EmbeddingNetwork
from tdattr.networks.unet_sizes import PARTS, UNetSizes
from tdattr.ranges import CountOrZero, PartOrZero, Positive

if TYPE_CHECKING:
    from diffusers.models.unets.unet_2d import UNet2DModel
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    from tdattr.diffusion import Diffusion


@dataclass(frozen=True)
class DiffusersUNetConfig(UNetSizes):
    """The ``model`` node of a U-Net of diffusers, which is told timesteps.

    ``conditional``: ``UNet2DConditionModel`` with a projection of the class, otherwise ``UNet2DModel``, which sees no
    condition even where the dataset has some. ``head_width``: channels of a head; in the middle of the conditional
    one, where diffusers reads it otherwise, the number of heads. ``attention_dropout``: behind every attention.
    ``scale_shift``: the embedding of the timestep also scales features, and does not only shift them. The others have
    the names and meanings of diffusers' arguments.
    """

    conditional: bool
    attention_dropout: PartOrZero
    scale_shift: bool
    downsample_padding: CountOrZero
    norm_eps: Positive
    flip_sin_to_cos: bool
    freq_shift: CountOrZero

    def arguments(self, channels: int, resolution: int) -> dict[str, Any]:
        """The arguments of diffusers' classes for ``resolution`` x ``resolution`` images of so many ``channels``."""
        return super().arguments(channels, resolution) | {
            "resnet_time_scale_shift": "scale_shift" if self.scale_shift else "default",
            "downsample_padding": self.downsample_padding,
            "norm_eps": self.norm_eps,
            "flip_sin_to_cos": self.flip_sin_to_cos,
            "freq_shift": self.freq_shift,
        }

    def build(self, channels: int, resolution: int, condition: int) -> "DiffusersUNet":
        """A U-Net for ``resolution`` x ``resolution`` images. Raises UserError where the sizes do not fit."""
        from diffusers.models.unets.unet_2d import UNet2DModel  # takes seconds to import
        from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

        if self.conditional and self.head_width is None:
            raise UserError("model.head_width=null is for an unconditional U-Net of diffusers: give it a number.")
        if self.conditional and not condition:
            raise UserError(
                "This U-Net is conditional but the dataset has no conditions: choose another dataset.source.condition "
                "or an unconditional model."
            )
        self.check_sizes(resolution)
        arguments = self.arguments(channels, resolution)
        unet: UNet2DModel | UNet2DConditionModel
        if self.conditional:
            unet = UNet2DConditionModel(
                **arguments,
                class_embed_type="simple_projection",
                projection_class_embeddings_input_dim=condition + 1,
                cross_attention_dim=self.channels[-1],  # there is no text, so the middle attends to itself
            )
        else:
            unet = UNet2DModel(**arguments)
        for name, module in unet.named_modules():
            if isinstance(module, nn.Dropout) and ".attentions." in name:  # 0 wherever diffusers builds them
                module.p = self.attention_dropout
        return DiffusersUNet(unet, self.augmentation_label)

    def check_diffusion(self, diffusion: "Diffusion") -> None:
        """Raise UserError where the variant does not tell timesteps."""
        check_timesteps(self.name, diffusion)


def check_timesteps(model: str, diffusion: "Diffusion") -> None:
    """Raise UserError where a variant does not tell the network timesteps."""
    if not diffusion.tells_timesteps:
        raise UserError(
            f"model={model} is told timesteps: use diffusion=ddpm or diffusion=vp, with diffusion.c_noise=timestep."
        )


class DiffusersUNet(EmbeddingNetwork):
    """A U-Net of diffusers as a ``Network``; c_noise is the timestep.

    Conditions are vectors, in practice one for each class; one more label, the last, stands for no condition
    (``drop``, or a call without one). Without it (``has_null`` false) what is dropped becomes NaN. An unconditional
    network takes conditions and ``drop`` and ignores them.

    The embedding of the class, where there is one, is moved from ``unet`` to ``condition``, so that the augmentation
    label can be added to it. Predictions are those of ``unet`` as it came.
    """

    parts: ClassVar = PARTS
    inner: ClassVar = "unet."

    def __init__(
        self, unet: "UNet2DModel | UNet2DConditionModel", augmentation_label: bool, has_null: bool = True
    ) -> None:
        from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

        super().__init__()
        self.width = int(unet.time_embedding.linear_2.out_features)
        self.text = {"encoder_hidden_states": None} if isinstance(unet, UNet2DConditionModel) else {}
        embedding: nn.Module | None = unet.class_embedding
        self.conditional = embedding is not None
        self.has_null = has_null
        self.table = isinstance(embedding, nn.Embedding)  # which takes the number of a class, not a vector
        if embedding is not None:
            self.condition = nn.Sequential(embedding)
            labels = next(embedding.parameters()).shape[0 if self.table else 1]
            self.register_buffer("null", torch.eye(labels)[-1], persistent=False)
        unet.class_embedding = nn.Identity()  # type: ignore[assignment]  # adds what comes with a call
        self.unet = unet
        self.add_augmentation(self.width, augmentation_label)

    def forward(
        self,
        x: Float[Tensor, "batch channel height width"],
        c_noise: Float[Tensor, " batch"],
        given: Given = NOTHING,
    ) -> Float[Tensor, "batch channel height width"]:
        added = self.embed_given(x.new_zeros(len(x), self.width), given)
        if self.conditional and not self.has_null and given.drop is not None:
            added = added.masked_fill(given.drop[:, None], torch.nan)
        return self.unet(x, c_noise, class_labels=added, return_dict=False, **self.text)[0]

    def seen_condition(self, given: Given, count: int) -> Tensor | None:
        """The class of each item, the last one where there is no condition: vectors, or numbers for a table."""
        if not self.conditional:
            return None
        if not self.has_null:
            if given.condition is None:
                raise ValueError("a network without a label for none was given no condition")
            labels = given.condition
        elif given.condition is None:
            labels = self.null.expand(count, -1)
        else:
            padded = replace(given, condition=nn.functional.pad(given.condition, (0, 1))).with_null(self.null)
            assert padded is not None
            labels = padded
        return labels.argmax(1) if self.table else labels
