"""A base model so small that its three parts are trained in a second, on noise with the names of glyphs."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from tdattr.base_model import BaseConfig, TextConfig, Training, UNetConfig, VAEConfig
from tdattr.data.prepared import Split

RESOLUTION, WORDINGS, STEPS = 8, 3, 4
TRAIN = Training(steps=STEPS, batch_size=6, learning_rate=1e-2, warmup_steps=2)
CONFIG = BaseConfig(
    wordings=WORDINGS,
    vae=VAEConfig(channels=[8, 8], latent_channels=4, kl_weight=1e-3, train=TRAIN),
    text=TextConfig(tokens=32, width=8, layers=1, heads=2, projection=6, patch=4, shift=1, train=TRAIN),
    unet=UNetConfig(channels=[8, 8], layers=1, heads=2, drop=0.5, train=TRAIN),
)


def make_split(items: int = 12) -> Split:
    """Noise, each under the name of one of three digits in one of two typefaces."""
    pixels = np.random.default_rng(items).integers(256, size=(items, RESOLUTION, RESOLUTION, 1), dtype=np.uint8)
    words = ["bold serif upright low", "monospaced sans-serif slanted tall"]
    fields = {"object": [str(item % 3) for item in range(items)], "descriptors": [words[i % 2] for i in range(items)]}
    return Split(pixels, None, pd.DataFrame(fields))


def train_parts(root: Path, seed: int = 1) -> dict[str, Any]:
    """All parts below ``root``, the pipeline in ``root / base``; gives what was measured of each."""
    from tdattr.base_model.text import train_clip
    from tdattr.base_model.unet import train_unet
    from tdattr.base_model.vae import train_vae

    data, test, cpu = make_split(), make_split(6), torch.device("cpu")
    for name in ("vae", "clip", "base"):
        (root / name).mkdir(parents=True, exist_ok=True)
    vae = train_vae(CONFIG.vae, data, test, seed, cpu, root / "vae")
    clip = train_clip(CONFIG.text, data, test, WORDINGS, seed, cpu, root / "clip")
    base = train_unet(CONFIG.unet, data, WORDINGS, seed, root / "vae", root / "clip", cpu, root / "base")
    return {"vae": vae, "clip": clip, "base": base}
