"""The convolutional frame around the transformer: residual blocks that are trained jointly with it (MUCS A.3)."""

from jaxtyping import Float
from torch import Tensor, nn


class FrameBlock(nn.Module):
    """Instance norm + SiLU before each of two convolutions, and a skip; the second convolution starts at zero.

    The first convolution and the skip have kernel = stride and change the resolution by ``stride``: down in the
    encoder, up (transposed) in the decoder. Where nothing changes shape, the skip is the identity.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, kernel: int, up: bool) -> None:
        super().__init__()
        conv = nn.ConvTranspose2d if up else nn.Conv2d
        hidden = 2 * max(inputs, outputs)
        self.first = conv(inputs, hidden, kernel_size=stride, stride=stride)
        self.second = nn.Conv2d(hidden, outputs, kernel_size=kernel, padding=kernel // 2)
        same = inputs == outputs and stride == 1
        self.skip = nn.Identity() if same else conv(inputs, outputs, kernel_size=stride, stride=stride)
        self.norm_in = nn.InstanceNorm2d(inputs, affine=True)
        self.norm_hidden = nn.InstanceNorm2d(hidden, affine=True)
        self.act = nn.SiLU()
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)  # type: ignore[arg-type]

    def forward(self, x: Float[Tensor, "batch inputs h w"]) -> Float[Tensor, "batch outputs h2 w2"]:
        h = self.first(self.act(self.norm_in(x)))
        h = self.second(self.act(self.norm_hidden(h)))
        return self.skip(x) + h


def encoder(image_channels: int, channels: list[int], strides: list[int], kernel: int) -> nn.Sequential:
    """Image to features: one block per entry of ``channels``."""
    sizes = [image_channels, *channels]
    return nn.Sequential(
        *(FrameBlock(a, b, s, kernel, up=False) for a, b, s in zip(sizes, sizes[1:], strides, strict=False))
    )


def decoder(image_channels: int, channels: list[int], strides: list[int], kernel: int) -> nn.Sequential:
    """The encoder mirrored; it ends in 4x the image channels and a zero-initialised linear map to the image."""
    sizes = [*channels[::-1], 4 * image_channels]
    blocks = [FrameBlock(a, b, s, kernel, up=True) for a, b, s in zip(sizes, sizes[1:], strides[::-1], strict=False)]
    last = nn.Conv2d(4 * image_channels, image_channels, kernel_size=1, bias=False)
    nn.init.zeros_(last.weight)
    return nn.Sequential(*blocks, last)
