"""Latent diffusion (Rombach et al. 2022): x is the scaled latent of a VAE that diffusers has saved."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tdattr.codecs import Codec
from tdattr.errors import Unavailable, UserError
from tdattr.files import digest_once, expand
from tdattr.networks.diffusers_json import SAVE_AGAIN, check_kinds, read_defaults, read_json
from tdattr.networks.weights import load_saved
from tdattr.pretrained import find_folder, find_pickle, is_base_model, is_hub_id, missing_folder
from tdattr.seeding import normal
from tdattr.wording import counted

CONFIG = "config.json"
WEIGHTS = "diffusion_pytorch_model.safetensors"
INSIDE = "vae"  # where a pipeline has it
SETTING = "codec.weights"
KIND = "AutoencoderKL"
LOG_VARIANCES = -30.0, 20.0  # within which diffusers keeps them
PIXELS_TOGETHER = 1 << 21  # of the images that pass through the network together: eight of 512 x 512; ours
REFUSED = ("latents_mean", "latents_std")  # which some pipelines apply in ways of their own


@dataclass(frozen=True)
class VAE(Codec):
    """The ``codec=vae`` node. ``weights``: a folder or hub id, of an AutoencoderKL or a pipeline with one in ``vae``.
    ``draw``: whether trainings draw x from the moments, or see its mode as everything else does.

    x = (z - shift_factor) * scaling_factor, both of the VAE's own config. Everything is computed in float32. A VAE in
    colour gets a gray image three times, and what it decodes is averaged over the channels.
    """

    unaddressed: ClassVar = ("name", "weights")
    training: ClassVar = ("draw",)
    numbers: ClassVar = 2  # mean and log-variance

    name: str
    weights: str | None
    draw: bool

    @property
    def draws(self) -> bool:
        """As ``draw`` says."""
        return self.draw

    @cached_property
    def folder(self) -> Path:
        """The folder of the VAE. Raises UserError where there is none."""
        if self.weights is None:
            raise UserError(f"codec=vae needs a VAE that diffusers has saved: set {SETTING} to its folder or hub id.")
        root = expand(self.weights)
        if root.is_dir() or not is_hub_id(self.weights):
            return find_local(root)
        return find_on_hub(self.weights)

    @cached_property
    def config(self) -> dict[str, Any]:
        """Its settings, with diffusers' defaults for those that are missing. Raises UserError where it is no
        AutoencoderKL, or has settings that are not supported."""
        from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL  # takes seconds to import

        path = self.folder / CONFIG
        said = read_json(path)
        if said.get("_class_name") != KIND:
            raise UserError(f"{path} is of the class {said.get('_class_name')}: set {SETTING} to an {KIND}.")
        defaults = read_defaults(AutoencoderKL)
        check_kinds(path, said, defaults)
        config = defaults | said
        if config["shift_factor"] is None:
            config["shift_factor"] = 0.0
        scale, shift = config["scaling_factor"], config["shift_factor"]
        if not (is_finite(scale) and scale > 0 and is_finite(shift)):
            raise UserError(f"{path} has scaling_factor={scale} and shift_factor={shift}: {SAVE_AGAIN}.")
        for key in REFUSED:
            if config[key] is not None:
                raise UserError(f"{path} has {key}, which is not supported: set {SETTING} to another {KIND}.")
        if config["in_channels"] != config["out_channels"]:
            raise UserError(
                f"{path} takes {config['in_channels']} channels and gives {config['out_channels']}: set {SETTING} to "
                f"another {KIND}."
            )
        if not (isinstance(config["block_out_channels"], (list, tuple)) and config["latent_channels"]):
            raise UserError(f"{path} must have a list of block_out_channels, and latent_channels: {SAVE_AGAIN}.")
        return config

    def check(self) -> None:
        """The folder must hold both files, and the settings of an AutoencoderKL."""
        assert self.config is not None
        self.identity()

    def identity(self) -> Mapping[str, str]:
        """The digests of both files."""
        return {name: digest_once(self.folder / name) for name in (CONFIG, WEIGHTS)}

    def shape(self, image: tuple[int, int, int]) -> tuple[int, ...]:
        """Each side is halved between the levels of the network. Raises UserError where it cannot be, and for images in
        other channels."""
        channels, *sides = image
        factor = 2 ** (len(self.config["block_out_channels"]) - 1)
        wanted = self.config["in_channels"]
        if channels not in (1, wanted):
            raise UserError(
                f"The VAE of {SETTING} is for images of {counted(wanted, 'channel')} but the dataset's have "
                f"{channels}: choose another one."
            )
        if any(side % factor for side in sides):
            raise UserError(
                f"The VAE of {SETTING} makes each side {factor} times shorter, which {' x '.join(map(str, sides))} "
                f"pixels do not allow: set dataset.source.resolution to a multiple of {factor}."
            )
        return (self.config["latent_channels"], *(side // factor for side in sides))

    def load(self, device: torch.device) -> None:
        """The network."""
        self.network(device)

    def network(self, device: torch.device) -> Any:
        """The loaded AutoencoderKL on that device."""
        return load_vae(self.folder, self.identity()[WEIGHTS], device)

    def encode(self, images: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch *moments"]:
        """Mean and log-variance one after the other, unscaled, as [item, 2 * channel, height, width]."""
        vae = self.network(images.device)
        images = images.expand(-1, self.config["in_channels"], -1, -1)
        with torch.no_grad():
            parts = images.split(count_together(images.shape[-2] * images.shape[-1]))
            return torch.cat([vae.encode(part).latent_dist.parameters for part in parts])

    def x(
        self, moments: Float[Tensor, "batch *moments"], rng: np.random.Generator | None
    ) -> Float[Tensor, "batch *shape"]:
        """(z - shift) * scale of the mean z, or of one drawn around it; noise is drawn item by item."""
        z, log_variance = moments.chunk(2, dim=1)
        if rng is not None:
            z = z + (log_variance.clamp(*LOG_VARIANCES) / 2).exp() * normal(rng, *z.shape).to(z.device)
        return (z - self.config["shift_factor"]) * self.config["scaling_factor"]

    def decode(
        self, x: Float[Tensor, "batch *shape"], channels: int | None = None
    ) -> Float[Tensor, "batch channel height width"]:
        """The decoded images clamped to [-1, 1], averaged over their channels where one is wanted."""
        vae = self.network(x.device)
        z = x.float() / self.config["scaling_factor"] + self.config["shift_factor"]
        factor = 2 ** (len(self.config["block_out_channels"]) - 1)
        parts = z.split(count_together(z.shape[-2] * z.shape[-1] * factor**2))
        images = torch.cat([vae.decode(part).sample for part in parts]).clamp(-1, 1)
        return images.mean(1, keepdim=True) if channels == 1 else images


def count_together(pixels: int) -> int:
    """How many images of that many pixels pass through the network together: fixed, so that nothing else decides how
    results are rounded."""
    return max(1, PIXELS_TOGETHER // pixels)


def is_finite(value: object) -> bool:
    """Whether it is a finite number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def find_local(root: Path) -> Path:
    """The folder in ``root``, or itself, that has both files. Raises UserError, naming what is missing."""
    if not root.is_dir():
        if is_base_model(root):
            raise missing_folder(root, [f"{INSIDE}/{CONFIG}", f"{INSIDE}/{WEIGHTS}"], SETTING)
        what = "is a file" if root.is_file() else "does not exist"
        raise UserError(f"{root} {what}: set {SETTING} to a folder that diffusers has saved, or a hub id.")
    folder = next((path for path in (root / INSIDE, root) if (path / CONFIG).is_file()), None)
    if folder is None:
        raise UserError(
            f"{root} has no {CONFIG}, nor has a folder {INSIDE} in it: set {SETTING} to a folder that diffusers has "
            "saved."
        )
    if (folder / WEIGHTS).is_file():
        return folder
    if (pickle := find_pickle(folder)) is not None:
        raise UserError(f"{pickle} is a pickle, which can run any program: {SAVE_AGAIN}, which writes {WEIGHTS}.")
    raise UserError(f"{folder} has no {WEIGHTS}: set {SETTING} to a folder that diffusers has saved.")


def find_on_hub(hub_id: str) -> Path:
    """The folder of a repository, a pipeline or a VAE, that has both files, fetched where it must be. Raises UserError
    where it cannot be."""
    try:
        return find_folder(hub_id, [f"{INSIDE}/{CONFIG}", f"{INSIDE}/{WEIGHTS}"], SETTING, True) / INSIDE
    except Unavailable as error:
        try:
            return find_folder(hub_id, [CONFIG, WEIGHTS], SETTING, True)
        except Unavailable:
            raise error from None


@lru_cache(maxsize=2)
def load_vae(folder: Path, digest: str, device: torch.device) -> Any:
    """The AutoencoderKL of a folder in evaluation mode. ``digest``: of its weights. Raises UserError where they are
    damaged, not finite or of another network."""
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    with torch.inference_mode(False):  # what is decoded may be differentiated
        vae = load_saved(AutoencoderKL, folder / WEIGHTS, "VAE")
        return vae.eval().requires_grad_(False).to(device)
