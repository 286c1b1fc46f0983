"""The network of a Stable Diffusion that tests save themselves."""

from pathlib import Path
from typing import Any

import torch

from tdattr.networks.stable_diffusion import StableDiffusion, StableDiffusionConfig
from tests.networks.tiny_pipeline import TOKENS

T = torch.tensor([0.0, 20.0, 500.0, 999.0])
SIZES = (1, 8, TOKENS)


def node(folder: Path, **changes: Any) -> StableDiffusionConfig:
    values = {"clip": "", "f1": "trained", "checkpoint_activations": False, "augmentation_label": False}
    values |= {"c_noise": "timestep"}
    return StableDiffusionConfig(**{"name": "sd", "weights": str(folder)} | values | changes)


def network_of(folder: Path, **changes: Any) -> StableDiffusion:
    config = node(folder, **changes)
    network = config.build(*SIZES)
    config.initialise(network)
    return network.eval()
