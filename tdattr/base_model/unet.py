"""The U-Net: predicts the noise in latents, told the prompt, as Stable Diffusion 1.x's does (Rombach et al. 2022)."""

import shutil
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tdattr.base_model import NORM_GROUPS, UNetConfig
from tdattr.base_model.loop import fit
from tdattr.base_model.prompts import word
from tdattr.base_model.text import CLIP, TOKENIZER, tokenize
from tdattr.data.prepared import Split
from tdattr.seeding import generator, normal, torch_seed

CHUNK = 512  # prompts or images encoded at a time
PACKAGES = ("diffusers", "transformers", "tokenizers")
SCHEDULER = {  # scheduler_config.json of Stable Diffusion 1.5
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "skip_prk_steps": True,
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "prediction_type": "epsilon",
}


def build_unet(config: UNetConfig, channels: int, sample_size: int, width: int, seed: int) -> Any:
    """The U-Net before training, for latents of so many channels and prompts of that width."""
    from diffusers import UNet2DConditionModel

    lower = len(config.channels) - 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch_seed(seed, "base.unet"))
        return UNet2DConditionModel(
            sample_size=sample_size,
            in_channels=channels,
            out_channels=channels,
            down_block_types=("DownBlock2D", *("CrossAttnDownBlock2D",) * lower),
            up_block_types=(*("CrossAttnUpBlock2D",) * lower, "UpBlock2D"),
            block_out_channels=tuple(config.channels),
            layers_per_block=config.layers,
            cross_attention_dim=width,
            attention_head_dim=config.heads,  # of Stable Diffusion's U-Net this is the number of heads
            norm_num_groups=NORM_GROUPS,
        )


def train_unet(
    config: UNetConfig, data: Split, wordings: int, seed: int, vae: Path, clip: Path, device: torch.device, folder: Path
) -> Mapping[str, Any]:
    """Train on the latents and prompts and write the whole pipeline into ``folder``; gives what was measured. ``vae``
    and ``clip``: the folders that the other parts were written to."""
    from diffusers import AutoencoderKL, PNDMScheduler, StableDiffusionPipeline
    from transformers import CLIPTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # of reading and writing files of a megabyte
    autoencoder = AutoencoderKL.from_pretrained(vae / "vae", low_cpu_mem_usage=False).eval().to(device)
    autoencoder.register_to_config(_name_or_path="")  # the folder's, which would be written with it
    tokenizer = CLIPTokenizer.from_pretrained(clip / TOKENIZER)
    encoder = load_encoder(clip / CLIP).to(device)
    prompts, indices = word(data.items, wordings, seed)
    told = encode_prompts(encoder, tokenize(tokenizer, ["", *prompts]))
    means, deviations = encode_images(autoencoder, data)
    scheduler: Any = PNDMScheduler(**SCHEDULER)
    unet = build_unet(config, means.shape[1], means.shape[2], told.shape[2], seed).to(device)

    def loss(step: int) -> Float[Tensor, ""]:
        rng = generator(seed, "base.unet.batch", step)
        items = rng.integers(len(data), size=config.train.batch_size)
        chosen = 1 + indices[items, rng.integers(wordings, size=len(items))]
        chosen[rng.random(len(items)) < config.drop] = 0  # the empty prompt
        latents = means[items] + deviations[items] * normal(rng, *means[items].shape)
        noise, steps = normal(rng, *latents.shape), rng.integers(scheduler.config.num_train_timesteps, size=len(items))
        timesteps = torch.from_numpy(steps)
        noisy = scheduler.add_noise(latents * autoencoder.config.scaling_factor, noise, timesteps)
        predicted = unet(noisy.to(device), timesteps.to(device), told[chosen].to(device)).sample
        return nn.functional.mse_loss(predicted, noise.to(device))

    last = fit(unet, loss, config.train, folder, "Training the U-Net", "base.unet.train")
    pipeline: Any = StableDiffusionPipeline(
        vae=autoencoder.cpu(),
        text_encoder=encoder.cpu(),
        tokenizer=tokenizer,
        unet=unet.cpu(),
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder)
    shutil.copytree(clip / CLIP, folder / CLIP, dirs_exist_ok=True)  # a killed attempt may have left it
    versions = {name: version(name) for name in PACKAGES}
    return {"loss": last, "unet_parameters": sum(weight.numel() for weight in unet.parameters()), "versions": versions}


def load_encoder(clip: Path) -> Any:
    """The text tower of a CLIP, without the projection, as Stable Diffusion has it."""
    from transformers import CLIPModel, CLIPTextModel

    whole: Any = CLIPModel.from_pretrained(clip)
    state = whole.text_model.state_dict()
    encoder = CLIPTextModel(whole.config.text_config)
    encoder.load_state_dict({name: state[name.removeprefix("text_model.")] for name in encoder.state_dict()})
    return encoder.eval()


@torch.inference_mode()
def encode_prompts(encoder: Any, ids: Int[Tensor, "prompt token"]) -> Float[Tensor, "prompt token width"]:
    """The last hidden states of all tokens, after the final norm, on the CPU: what the U-Net is told of a prompt."""
    return torch.cat([encoder(part.to(encoder.device)).last_hidden_state.cpu() for part in ids.split(CHUNK)])


@torch.inference_mode()
def encode_images(vae: Any, data: Split) -> tuple[Tensor, Tensor]:
    """Means and standard deviations of the latents of all items, [item, channel, height, width], not scaled."""
    moments = [
        vae.encode(data.images(ids).to(vae.device)).latent_dist
        for ids in np.array_split(np.arange(len(data)), -(-len(data) // CHUNK))
    ]
    return torch.cat([part.mean.cpu() for part in moments]), torch.cat([part.std.cpu() for part in moments])
