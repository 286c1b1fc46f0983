"""``diffusion=diffusers``: what it leaves open is filled in from the model's own weights, before anything reads it."""

import logging

from omegaconf import DictConfig, OmegaConf

from tdattr.configs import build
from tdattr.diffusion import Diffusion
from tdattr.networks import NetworkConfig

log = logging.getLogger(__name__)


def adopt_diffusion(cfg: DictConfig) -> None:
    """Give every missing setting of ``cfg.diffusion`` the value by which the model's own weights were trained and are
    sampled, and say so of those that are read; nothing where none is missing. Raises UserError where it is not known.
    """
    node = cfg.diffusion
    missing = [str(key) for key in node if OmegaConf.is_missing(node, key)]
    if not missing:
        return
    model: NetworkConfig = build(cfg.model, "model", NetworkConfig)
    adopted = model.own_diffusion(None if "sampler" in missing else node.sampler)
    for key in missing:
        node[key] = adopted[key]
    diffusion: Diffusion = build(node, "diffusion", Diffusion)
    read = [key for key in missing if key not in diffusion.unread()]
    log.info("Adopted from the checkpoint: %s", ", ".join(f"diffusion.{key}={adopted[key]}" for key in read))
