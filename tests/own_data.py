"""Pictures and models as people have them on their disks."""

from pathlib import Path
from typing import Any

import numpy as np
from diffusers import DDIMScheduler, UNet2DModel
from PIL import Image

UNET: dict[str, Any] = {"sample_size": 8, "in_channels": 1, "out_channels": 1, "layers_per_block": 1}
UNET |= {"norm_num_groups": 4, "block_out_channels": (4, 8), "attention_head_dim": 4}
UNET |= {"down_block_types": ("DownBlock2D", "AttnDownBlock2D"), "up_block_types": ("AttnUpBlock2D", "UpBlock2D")}


def save_pictures(root: Path, groups: tuple[str, ...] = ("cats", "dogs"), each: int = 4) -> Path:
    """Noise in colour, a folder for each group."""
    rng = np.random.default_rng(0)
    for group in groups:
        (root / group).mkdir(parents=True)
        for number in range(each):
            Image.fromarray(rng.integers(256, size=(9, 11, 3), dtype=np.uint8)).save(root / group / f"{number}.png")
    return root


def save_unet(folder: Path, scheduler: Any = None, **changes: Any) -> UNet2DModel:
    """A tiny network with random weights, and its scheduler."""
    unet = UNet2DModel(**(UNET | changes))
    unet.save_pretrained(folder / "unet")
    (scheduler or DDIMScheduler()).save_pretrained(folder / "scheduler")
    return unet
