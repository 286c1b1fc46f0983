"""Images in [-1, 1], and the bytes that files hold of them."""

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor


def quantise(images: Float[Tensor, "batch channel height width"]) -> UInt8[Tensor, "batch channel height width"]:
    """The nearest bytes; values beyond [-1, 1] are clamped."""
    return ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def pack(images: Float[Tensor, "batch channel height width"]) -> UInt8[np.ndarray, "batch height width channel"]:
    """Images as datasets hold them."""
    return quantise(images).permute(0, 2, 3, 1).cpu().numpy()


def unpack(pixels: UInt8[np.ndarray, "batch height width channel"]) -> Float[Tensor, "batch channel height width"]:
    """The images of what datasets hold."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float() / 127.5 - 1
