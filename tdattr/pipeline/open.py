"""From a composed config to the workspace of a run: its nodes as objects, checked one by one."""

from dataclasses import dataclass, fields
from typing import Literal, TypeVar

import torch
from omegaconf import DictConfig

from tdattr.codecs import Codec
from tdattr.configs import UnknownSetting, build, typed
from tdattr.diffusion import Diffusion
from tdattr.errors import UserError
from tdattr.files import expand
from tdattr.methods import Method
from tdattr.metrics.unlearning_accuracy import UnlearningAccuracy
from tdattr.networks import NetworkConfig
from tdattr.overrides import explain_unknown
from tdattr.pipeline.adopt import adopt_diffusion, adopt_lora, check_base
from tdattr.pipeline.dataset import derive_recipe, read_dataset
from tdattr.pipeline.itself import adopt_itself
from tdattr.pipeline.pictures import adopt_pictures
from tdattr.pipeline.workspace import HealthConfig, RemoveConfig, Workspace
from tdattr.protocols import Protocol
from tdattr.queries import QueriesConfig
from tdattr.ranges import Count, CountOrZero
from tdattr.store import Store
from tdattr.training.config import TrainConfig, TrainerConfig
from tdattr.training.weights import find_weights

W = TypeVar("W", bound=Workspace)


@dataclass(frozen=True)
class TopConfig:
    """The single values at the top of the config that a workspace reads."""

    seed: CountOrZero
    weights: Literal["ema", "raw"]
    checkpoint: str | None
    until: Literal["generate", "attribute", "evaluate"]
    workers: Count
    attributed_groups: list[str] | None


def open_workspace(cfg: DictConfig) -> Workspace:
    """The workspace of a composed config, in which numbers take the place of a recipe's ``auto``. Raises UserError,
    naming the override, for what cannot be right."""
    return open_as(Workspace, cfg)


def open_as(kind: type[W], cfg: DictConfig) -> W:
    """The same, of a class derived from it."""
    try:
        return build_workspace(kind, cfg)
    except UnknownSetting as error:
        raise UserError(explain_unknown(error, cfg)) from error


def build_workspace(kind: type[W], cfg: DictConfig) -> W:
    """The same. Raises UnknownSetting where a node has a setting that its class has not."""
    adopt_diffusion(cfg)
    adopt_lora(cfg)
    adopt_pictures(cfg)
    listed = derive_recipe(cfg)  # which asks whether there is a LoRA
    top: TopConfig = typed(TopConfig, {entry.name: cfg[entry.name] for entry in fields(TopConfig)}, "")
    trainer: TrainerConfig = build(cfg.trainer, "trainer")
    method: Method = build(cfg.method, "method", Method)
    adopt_itself(cfg, method)
    device = torch.device(pick_device(trainer.accelerator))
    device_name = torch.cuda.get_device_name() if device.type == "cuda" else device.type
    workspace = kind(
        cfg=cfg,
        seed=top.seed,
        weights=top.weights,
        checkpoint=None if top.checkpoint is None else find_weights(expand(top.checkpoint)),
        until=top.until,
        dataset=read_dataset(cfg.dataset, listed),
        codec=build(cfg.codec, "codec", Codec),
        model=build(cfg.model, "model", NetworkConfig),
        diffusion=build(cfg.diffusion, "diffusion", Diffusion),
        train=build(cfg.train, "train", TrainConfig),
        trainer=trainer,
        queries=build(cfg.queries, "queries", QueriesConfig),
        method=method,
        protocol=build(cfg.protocol, "protocol", Protocol),
        health=build(cfg.health, "health", HealthConfig),
        remove=build(cfg.remove, "remove", RemoveConfig),
        device=device,
        store=Store(expand(cfg.paths.artifacts), device_name),
        accuracy=None if cfg.accuracy is None else build(cfg.accuracy, "accuracy", UnlearningAccuracy),
        workers=top.workers,
        attributed_groups=top.attributed_groups,
    )
    workspace.model.check_diffusion(workspace.diffusion)
    check_base(workspace.model, workspace.train)
    return workspace


def pick_device(accelerator: str) -> str:
    """The torch device of a Lightning accelerator name. Raises UserError for one that is not there."""
    there = {"cpu": True, "gpu": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if accelerator == "auto":
        accelerator = next(name for name in ("gpu", "mps", "cpu") if there[name])
    if not there.get(accelerator):
        raise UserError(f"trainer.accelerator={accelerator} is not available here: use trainer=default or another one.")
    return "cuda" if accelerator == "gpu" else accelerator
