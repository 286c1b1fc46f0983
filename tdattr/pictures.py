"""Images as people look at them: grids, and PNGs that a page can carry inside itself."""

import base64
import io
import math

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

from tdattr.image_bytes import pack

GAP = 1  # pixels between the images of a grid
ENLARGED = 64  # small images are shown at least this wide


def to_uint8(images: Float[Tensor, "n c h w"]) -> UInt8[np.ndarray, "n h w 3"]:
    """Images in [-1, 1] as RGB."""
    return pack(images.expand(-1, 3, -1, -1))


def grid(images: Float[Tensor, "n c h w"], columns: int = 10) -> UInt8[np.ndarray, "rows columns 3"]:
    """All images in rows of ``columns``, enlarged by a whole factor where they are small."""
    from torchvision.utils import make_grid  # takes a second to import

    factor = max(1, math.ceil(ENLARGED / images.shape[-1]))
    large = images.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
    tiles = make_grid(large, nrow=columns, padding=GAP * factor // 2 + 1, pad_value=0.0)
    return to_uint8(tiles[None])[0]


def data_uri(image: UInt8[np.ndarray, "h w 3"]) -> str:
    """A PNG as the text of an <img> source."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
