"""The VAE: images to latents and back."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tdattr.base_model import NORM_GROUPS, VAEConfig
from tdattr.base_model.loop import fit
from tdattr.data.prepared import Split
from tdattr.seeding import generator, normal, torch_seed

CHUNK = 256  # images encoded at a time


def build_vae(config: VAEConfig, channels: int, resolution: int, seed: int) -> Any:
    """The VAE before training."""
    from diffusers import AutoencoderKL

    levels = len(config.channels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch_seed(seed, "base.vae"))
        return AutoencoderKL(
            in_channels=channels,
            out_channels=channels,
            down_block_types=("DownEncoderBlock2D",) * levels,
            up_block_types=("UpDecoderBlock2D",) * levels,
            block_out_channels=tuple(config.channels),
            layers_per_block=1,
            latent_channels=config.latent_channels,
            norm_num_groups=NORM_GROUPS,
            sample_size=resolution,
        )


def train_vae(
    config: VAEConfig, data: Split, test: Split, seed: int, device: torch.device, folder: Path
) -> Mapping[str, Any]:
    """Train on the images and write ``vae/`` into ``folder``; gives what was measured."""
    _, height, _, channels = data.pixels.shape
    vae = build_vae(config, channels, height, seed).to(device)

    def loss(step: int) -> Float[Tensor, ""]:
        rng = generator(seed, "base.vae.batch", step)
        images = data.images(rng.integers(len(data), size=config.train.batch_size)).to(device)
        moments = vae.encode(images).latent_dist
        latents = moments.mean + moments.std * normal(rng, *moments.mean.shape).to(device)
        error = (vae.decode(latents).sample - images).square().mean()
        return error + config.kl_weight * moments.kl().mean() / moments.mean[0].numel()

    last = fit(vae, loss, config.train, folder, "Training the VAE", "base.vae.train")
    means = encode(vae, data, np.arange(len(data)))
    vae.register_to_config(scaling_factor=float(1 / means.std()))  # latents then have a variance of 1, as for SD 1.x
    vae.cpu().save_pretrained(folder / "vae")
    vae.to(device)
    return {"loss": last, "scaling_factor": vae.config.scaling_factor, "test_rmse": measure_error(vae, test)}


@torch.inference_mode()
def encode(vae: Any, data: Split, ids: Int[np.ndarray, " item"]) -> Float[Tensor, "item channel height width"]:
    """The means of the latents of the items with these ids, on the CPU, not scaled."""
    parts = [
        vae.encode(data.images(ids[start : start + CHUNK]).to(vae.device)).latent_dist.mean.cpu()
        for start in range(0, len(ids), CHUNK)
    ]
    return torch.cat(parts)


@torch.inference_mode()
def measure_error(vae: Any, data: Split) -> float | None:
    """The root mean squared error of the images of a split after encoding and decoding, in gray levels of [0, 1]; None
    where it is empty."""
    if not len(data):
        return None
    squares = []
    for start in range(0, len(data), CHUNK):
        images = data.images(np.arange(start, min(start + CHUNK, len(data)))).to(vae.device)
        decoded = vae.decode(vae.encode(images).latent_dist.mean).sample.clamp(-1, 1)
        squares.append((decoded - images).square().mean((1, 2, 3)).cpu())
    return float(torch.cat(squares).mean().sqrt() / 2)
