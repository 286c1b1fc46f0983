"""The diffusion transformer of the MUCS paper (A.3): DiT blocks with registers inside a convolutional frame."""

import math
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tdattr.errors import UserError
from tdattr.networks import NOTHING, Given, NetworkConfig, frame
from tdattr.networks.embedding import FREQUENCIES, EmbeddingNetwork, Fourier, two_layers
from tdattr.ranges import Count, CountOrZero, PartOrZero, Positive


@dataclass(frozen=True)
class DiTConfig(NetworkConfig):
    """The ``model`` node of a DiT. Published sizes: MUCS A.3 and Table 4; see ``conf/model``."""

    code_version: ClassVar = 2

    name: str
    blocks: Count
    width: Count
    heads: Count
    mlp_ratio: Positive
    patch: Count
    registers: CountOrZero
    dropout: PartOrZero
    embedding_width: Count
    sigma_dropout: PartOrZero
    frame_channels: list[Count]
    frame_strides: list[Count]
    frame_kernel: Count
    augmentation_label: bool
    c_noise: Literal["log_sigma", "timestep"]

    def build(self, channels: int, resolution: int, condition: int) -> "DiT":
        """A DiT for ``resolution`` x ``resolution`` images. Raises UserError where the sizes do not fit."""
        down = math.prod(self.frame_strides) * self.patch
        if resolution % down:
            raise UserError(
                f"The images are {resolution} pixels wide but the model needs a multiple of {down} "
                f"(frame strides x patch): change model.patch or model.frame_strides."
            )
        if len(self.frame_channels) != len(self.frame_strides):
            raise UserError("model.frame_channels and model.frame_strides must have the same length.")
        if self.width % (4 * self.heads):
            raise UserError(f"model.width={self.width} must be a multiple of 4 x model.heads={4 * self.heads}.")
        return DiT(self, channels, resolution, condition)


class DiTBlock(nn.Module):
    """Attention and MLP, each modulated by the embedding through adaLN-Zero (Peebles & Xie 2023).

    Dropout as in the MUCS code: on the attention weights, before the projection, and after the MLP's activation.
    """

    def __init__(self, config: DiTConfig) -> None:
        from timm.layers import Attention, Mlp  # takes seconds to import

        super().__init__()
        width = config.width
        self.norm1 = layer_norm(width)
        self.attn = Attention(width, config.heads, qkv_bias=False, attn_drop=config.dropout)
        self.attn.norm = nn.Dropout(config.dropout)  # timm's place right before the projection
        self.norm2 = layer_norm(width)
        gelu = partial(nn.GELU, approximate="tanh")
        self.mlp = Mlp(width, int(width * config.mlp_ratio), act_layer=gelu, drop=(config.dropout, 0.0))
        self.modulation = zero_linear(config.embedding_width, 6 * width)

    def forward(
        self, x: Float[Tensor, "batch token width"], embedding: Float[Tensor, "batch embedding"]
    ) -> Float[Tensor, "batch token width"]:
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(embedding)[:, None].chunk(6, dim=-1)
        x = x + gate1 * self.attn(torch.addcmul(shift1, self.norm1(x), 1 + scale1))
        return x + gate2 * self.mlp(torch.addcmul(shift2, self.norm2(x), 1 + scale2))


class DiT(EmbeddingNetwork):
    """Image, c_noise and what is given in; an image of the same shape out.

    ``mlp`` is MUCS's choice of what unlearning trains (§2.3, C4): the MLP weight matrices of the blocks and of
    the condition embedding, no biases. ``block`` is its ablation: everything inside the blocks and the condition
    embedding.
    """

    parts: ClassVar = {
        "mlp": ("blocks.*.mlp.fc?.weight", "condition.*.weight"),
        "block": ("blocks.*", "condition.*"),
        "all": ("*",),
    }
    batched: ClassVar = ("registers",)

    positions: Tensor

    def __init__(self, config: DiTConfig, channels: int, resolution: int, condition: int) -> None:
        super().__init__()
        self.framed = bool(config.frame_channels)
        inner = config.frame_channels[-1] if self.framed else channels
        self.patch = config.patch
        self.grid = resolution // math.prod(config.frame_strides) // config.patch
        if self.framed:
            self.encode = frame.encoder(channels, config.frame_channels, config.frame_strides, config.frame_kernel)
            self.decode = frame.decoder(channels, config.frame_channels, config.frame_strides, config.frame_kernel)

        embedding = config.embedding_width
        self.fourier = Fourier()
        self.sigma = two_layers(2 * FREQUENCIES, embedding, config.sigma_dropout)
        self.add_condition(condition, embedding, config.dropout)
        self.add_augmentation(embedding, config.augmentation_label)

        self.embed = nn.Linear(inner * config.patch**2, config.width)
        from timm.layers import build_sincos2d_pos_embed

        positions = build_sincos2d_pos_embed([self.grid, self.grid], config.width)
        self.register_buffer("positions", positions, persistent=False)
        self.registers = nn.Parameter(torch.zeros(config.registers, config.width))
        self.blocks = nn.ModuleList(DiTBlock(config) for _ in range(config.blocks))
        self.norm = layer_norm(config.width)
        self.modulation = zero_linear(embedding, 2 * config.width)
        self.unpatch = Unpatch(config.width, inner, config.patch)
        if not self.framed:  # otherwise the frame's last layer is the one that starts at zero
            nn.init.zeros_(self.unpatch.weight)
            nn.init.zeros_(self.unpatch.bias)

    def forward(
        self,
        x: Float[Tensor, "batch channel height width"],
        c_noise: Float[Tensor, " batch"],
        given: Given = NOTHING,
    ) -> Float[Tensor, "batch channel height width"]:
        embedding = nn.functional.silu(self.embed_given(self.sigma(self.fourier(c_noise)), given))
        h = self.encode(x) if self.framed else x
        tokens = self.embed(nn.functional.pixel_unshuffle(h, self.patch).flatten(2).transpose(1, 2)) + self.positions
        count = self.registers.shape[-2]
        tokens = torch.cat([self.registers.expand(len(x), -1, -1), tokens], dim=1)
        for block in self.blocks:
            tokens = block(tokens, embedding)
        shift, scale = self.modulation(embedding)[:, None].chunk(2, dim=-1)
        tokens = torch.addcmul(shift, self.norm(tokens[:, count:]), 1 + scale)
        h = self.unpatch(tokens, self.grid)
        return self.decode(h) if self.framed else h


class Unpatch(nn.Module):
    """Tokens back to features, ``patch`` x ``patch`` each: a transposed convolution whose kernel is its stride.

    Written as a product of matrices, which is faster; with the convolution's initialisation and one bias per channel.
    """

    def __init__(self, width: int, channels: int, patch: int) -> None:
        super().__init__()
        self.patch = patch
        bound = 1 / math.sqrt(channels * patch**2)  # PyTorch's, whose fan-in is the transposed convolution's output
        self.weight = nn.Parameter(torch.empty(channels * patch**2, width).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(channels).uniform_(-bound, bound))

    def forward(self, tokens: Float[Tensor, "batch token width"], grid: int) -> Float[Tensor, "batch channel h w"]:
        h = nn.functional.linear(tokens, self.weight).transpose(1, 2).unflatten(2, (grid, grid))
        return nn.functional.pixel_shuffle(h, self.patch) + self.bias[:, None, None]


def layer_norm(width: int) -> nn.LayerNorm:
    """A layer norm without scale and shift, which adaLN gives."""
    return nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)  # MUCS code; Peebles & Xie 2023


def zero_linear(inputs: int, outputs: int) -> nn.Linear:
    """A linear layer that starts at zero, as adaLN-Zero asks."""
    layer = nn.Linear(inputs, outputs)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
