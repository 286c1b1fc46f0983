"""What ``diffusion=diffusers`` and ``train.lora`` leave open is filled in from weights, before anything reads it."""

import logging

from omegaconf import DictConfig, OmegaConf

from tdattr.configs import build, typed
from tdattr.diffusion import Diffusion
from tdattr.errors import UserError
from tdattr.files import expand
from tdattr.networks import NetworkConfig
from tdattr.networks.lora import LoraConfig, find_layers
from tdattr.networks.lora_file import holds_lora, read_lora
from tdattr.training.config import TrainConfig
from tdattr.training.weights import find_weights, read_header

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


def adopt_lora(cfg: DictConfig) -> None:
    """Give ``cfg.train.lora`` the rank, alpha and layers of a LoRA that ``checkpoint`` brings as F1, unless it has a
    rank, and say so. Raises UserError where the file is none of the model, or another one than ``cfg.train.lora``."""
    if cfg.checkpoint is None or isinstance(cfg.checkpoint, bool):  # which is refused with its own sentence
        return
    path, node = find_weights(expand(cfg.checkpoint)), cfg.train.lora
    given: LoraConfig = typed(LoraConfig, OmegaConf.to_container(node, resolve=True), "train.lora")
    subject = f"checkpoint={path}"
    if holds_lora(read_header(path, "checkpoint")[0]):
        model: NetworkConfig = build(cfg.model, "model", NetworkConfig)
        own = read_lora(path, model.outline(), given, subject).config
        if given.rank is None:
            node.rank, node.alpha, node.targets = own.rank, own.alpha, own.targets
            log.info(
                "Adopted from the LoRA: train.lora.rank=%s train.lora.alpha=%g train.lora.targets=%s",
                own.rank, own.scaled, own.targets,
            )  # fmt: skip
    elif given.rank is not None:
        raise UserError(
            f"{subject} is no LoRA, which train.lora.rank={given.rank} says that it is: leave one of them out."
        )


def check_base(model: NetworkConfig, train: TrainConfig) -> None:
    """Raise UserError where a model has no base weights that could stay as they are, or not the layers or the part that
    are to be trained."""
    if train.lora.rank is not None:
        find_layers(model.outline(), train.lora.targets)
    elif train.keeps_base:
        model.outline().parameter_names(train.trainable)
