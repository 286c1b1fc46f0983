"""The base model of ``model=sd_tiny``: Stable Diffusion's parts, so small that they are trained here, on glyphs.

Three parts are trained one after the other, as Stable Diffusion's are: a VAE on the images, CLIP on images and prompts,
whose text encoder is the second part, and a U-Net on the latents, told the prompts. They end in one folder in the form
of ``diffusers``.
"""

from dataclasses import dataclass

from tdattr.configs import Node
from tdattr.errors import UserError
from tdattr.ranges import Count, CountOrZero, PartOrZero, Positive
from tdattr.schedules import rate


@dataclass(frozen=True)
class Training:
    """AdamW; the rate rises over ``warmup_steps`` and falls to zero as a cosine."""

    steps: Count
    batch_size: Count
    learning_rate: Positive
    warmup_steps: CountOrZero

    def factor(self, step: int) -> float:
        """Of the learning rate at a step."""
        return rate(step, self.warmup_steps, "cosine", self.steps)


@dataclass(frozen=True)
class VAEConfig:
    """``AutoencoderKL``. ``channels``: of each level, of which every one but the last halves the sides. The loss is the
    mean squared error of pixels in [-1, 1] + ``kl_weight`` · the mean KL divergence of a latent number, in nats."""

    channels: list[Count]
    latent_channels: Count
    kl_weight: Positive
    train: Training


@dataclass(frozen=True)
class TextConfig:
    """CLIP, whose text tower is the text encoder; both towers have ``layers`` of ``width``. ``tokens``: the length of
    every prompt, start and end included. Images are cut into patches of ``patch`` pixels, and moved by up to
    ``shift``."""

    tokens: Count
    width: Count
    layers: Count
    heads: Count
    projection: Count
    patch: Count
    shift: CountOrZero
    train: Training


@dataclass(frozen=True)
class UNetConfig:
    """``UNet2DConditionModel``. ``channels``: of each level; those from the second on look at the prompt. ``drop``: how
    often that is the empty one instead, for guidance."""

    channels: list[Count]
    layers: Count
    heads: Count
    drop: PartOrZero
    train: Training


@dataclass(frozen=True)
class BaseConfig(Node):
    """The ``base`` node of ``tdattr-base``. ``wordings``: prompts of every item, in other words."""

    wordings: Count
    vae: VAEConfig
    text: TextConfig
    unet: UNetConfig

    def check(self, height: int) -> None:
        """Raise UserError where the sizes do not fit images of that height."""
        halved = 2 ** (len(self.vae.channels) - 1)
        deepest = halved * 2 ** (len(self.unet.channels) - 1)
        if height % deepest:
            raise UserError(
                f"dataset.source.resolution={height} must be a multiple of {deepest}: base.vae.channels and "
                "base.unet.channels halve the sides that often."
            )
        if height % self.text.patch:
            raise UserError(f"base.text.patch={self.text.patch} must divide dataset.source.resolution={height}.")
        if self.text.width % self.text.heads:
            raise UserError(f"base.text.width={self.text.width} must be a multiple of the {self.text.heads} heads.")
        if any(count % self.unet.heads for count in self.unet.channels):
            raise UserError(
                f"base.unet.channels={self.unet.channels} must be multiples of the {self.unet.heads} heads."
            )
        for name, channels in [("vae", self.vae.channels), ("unet", self.unet.channels)]:
            if any(count % NORM_GROUPS for count in channels):
                raise UserError(f"base.{name}.channels={channels} must be multiples of {NORM_GROUPS}.")


NORM_GROUPS = 8  # of GroupNorm: Stable Diffusion's 32 need more channels
