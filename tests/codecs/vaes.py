"""Small VAEs, saved as diffusers saves them."""

from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL


def save_vae(folder: Path, channels: int = 1, levels: int = 2, seed: int = 0, **changes: Any) -> AutoencoderKL:
    """An AutoencoderKL with random weights, whose latents have two channels and sides shorter by 2 for each level but
    the first."""
    config = {
        "in_channels": channels,
        "out_channels": channels,
        "down_block_types": ("DownEncoderBlock2D",) * levels,
        "up_block_types": ("UpDecoderBlock2D",) * levels,
        "block_out_channels": (4,) * levels,
        "layers_per_block": 1,
        "latent_channels": 2,
        "norm_num_groups": 2,
        "sample_size": 16,
        "scaling_factor": 3.0,
    }
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        vae = AutoencoderKL(**(config | changes))
        for parameter in vae.parameters():  # so that latents differ in more than their last digits
            parameter.data += 0.1 * torch.randn_like(parameter)
    vae.save_pretrained(folder)
    return vae.eval().requires_grad_(False)
