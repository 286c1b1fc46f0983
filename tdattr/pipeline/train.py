"""Train: F1, and every counterfactual model, which is the same training without some of the ids."""

import json
import logging
import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tdattr.configs import describe
from tdattr.costs import Cost, Work
from tdattr.counterfactuals import Trained, Undecided, name_removal
from tdattr.errors import UserError
from tdattr.files import digest_once
from tdattr.ids import Ids, digest_ids
from tdattr.networks import Network
from tdattr.networks.lora_file import read_lora
from tdattr.pipeline.stacks import Retraining
from tdattr.pipeline.workspace import Workspace
from tdattr.seeding import torch_seed
from tdattr.store import Plan
from tdattr.training.config import ALL
from tdattr.training.keep_base import keep_base
from tdattr.training.weights import make_metadata
from tdattr.wording import counted

log = logging.getLogger(__name__)
TRAINED = "pretrain"  # the stage of what was trained here
RETRAINING = "retraining"  # what a training of another model than F1 is called where costs are counted
UNUSED_UNLESS_BEST = ("epoch_steps", "validation_draws")  # what no training reads that keeps its last weights


def train(ws: Workspace, without: Ids | None = None, seed: int | None = None, number: str = "") -> Plan:
    """F1, or the model trained from the same initialisation without some more ids or under another seed.

    Nothing is trained before the plan's ``get``. ``number``: which of several it is, for messages: ``2 of 4``.
    """
    seed = ws.seed if seed is None else seed
    counterfactual = seed != ws.seed or (without is not None and len(without) > 0)
    ids = ws.ids if without is None else np.setdiff1d(ws.ids, without)
    if not counterfactual and (ws.checkpoint is not None or ws.model.has_weights):
        return import_weights(ws)
    config = {
        "model": ws.model.describe() | {"identity": dict(ws.model.identity())},
        "diffusion": without_sampling(ws),
        "seed": seed,
        "ids": digest_ids(ids),
    } | training_config(ws, removed=len(ids) < len(ws.data.train))

    def label() -> str:
        return name_retraining(ws, ids, seed, number) if counterfactual else f"Training {ws.first}"

    def make(folder: Path) -> Mapping[str, Any]:
        from tdattr.pipeline.samples import first_queries
        from tdattr.training.pretrain import pretrain  # Lightning takes seconds to import
        from tdattr.training.recording import Recording

        steps, size = ws.train.count_steps(len(ids)), ws.train.batch_size
        log.info("%s: %s of %d on %s", label(), counted(steps, "step"), size, counted(len(ids), "item"))
        if counterfactual:
            recording = Recording([ws.recorder.curve("retrain", label())])
        else:
            sample = first_queries(ws) if ws.section == Workspace.section else None
            recording = Recording([ws.recorder.curve(ws.section)], sample, partial(ws.recorder.show, "samples"))
        ws.data.train.open_x(ws.train.mirror)
        ws.data.test.open_x(mirrored=False)
        network = build_network(ws, seed)
        losses = pretrain(network, ws.data, ids, ws.diffusion, ws.train, ws.trainer, seed, folder, label(), recording)
        return losses | {"devices": ws.trainer.devices}  # on which the last bits of the weights depend

    def cost() -> Cost:
        what = RETRAINING if counterfactual else ws.first
        return Cost(count_work(ws, len(ids)), plan_data(ws), what)

    version = 4 if ws.train.selection == "last" else 5  # 5: the last epoch is validated too where it is shorter
    plan = ws.store.plan(TRAINED, version, config, ws.inputs, make, label=label, cost=cost, like=ws.size)
    if not counterfactual:
        return plan
    return plan.joining(Retraining(ws, ids, seed, label, lambda: build_network(ws, seed)))


def describe_training(ws: Workspace) -> dict[str, Any]:
    """What F1's weights depend on, but for the dataset, as JSON has it."""
    described: dict[str, Any] = json.loads(json.dumps(train(ws).key["config"]))
    return described


def train_undecided(ws: Workspace, removal: Undecided, seed: int) -> Plan:
    """What stands for a training without a set that is not decided yet: it can be counted, but neither found nor
    built. Once it is decided, it may turn out to be there."""

    def make(folder: Path) -> None:
        raise TypeError("a removal must be decided before a model is trained without it")

    def cost() -> Cost:
        most = count_work(ws, max(1, len(ws.ids) - removal.least))
        return Cost(most.bound(True), plan_data(ws), RETRAINING)

    return ws.store.plan(TRAINED, 0, {"undecided": removal.by, "seed": seed}, {}, make, cost=cost, like=ws.size)


def plan_data(ws: Workspace) -> list[Plan]:
    """What a training reads: the dataset, and what networks see of it where that is stored."""
    return [ws.prepared, *ws.data.train.plan_x(ws.train.mirror), *ws.data.test.plan_x(mirrored=False)]


def count_work(ws: Workspace, items: int) -> Work:
    """What a training on so many items takes, and the validations of its epochs. With patience it may end earlier."""
    config = ws.train.in_steps(items)
    steps, size, tested = config.total_steps, config.batch_size, len(ws.data.test)
    epochs = math.ceil(steps / config.epoch_steps)
    return Work(
        trainings=1,
        steps=steps,
        trained=steps * size,
        evaluations=epochs * tested * config.validation_draws,
        bytes=len(ws.train.stored) * ws.weight_bytes,
        at_most=config.patience is not None,
    )


def name_retraining(ws: Workspace, ids: Ids, seed: int, number: str) -> str:
    """What a training of another model than F1 is, for messages."""
    removed = np.setdiff1d(ws.ids, ids)
    words = ["Retraining", *([f"{number},"] if number else [])]
    if len(removed):
        words.append(f"without {name_removal(removed, {} if ws.dataset.groups is None else ws.groups)}")
    if seed != ws.seed:
        words.append(f"under seed {seed}")
    return " ".join(words)


def without_sampling(ws: Workspace) -> dict[str, Any]:
    """The values of the variant that training reads."""
    return {name: value for name, value in ws.diffusion.describe().items() if name not in ws.diffusion.sampling}


def training_config(ws: Workspace, removed: bool) -> dict[str, Any]:
    """What trained weights depend on besides network, data and seed; ``removed``: whether some items are left out."""
    values = describe(ws.train)
    del values["lora"]  # as all that is unread: without a rank nothing of it is read, and no address has it
    if ws.adapter:
        values["lora"] = ws.adapter
    shares = values.pop("accumulate") * ws.trainer.devices
    if ws.train.selection == "last":
        values = {name: value for name, value in values.items() if name not in UNUSED_UNLESS_BEST}
    if not removed:
        values["coupled"] = True  # both orders are the same
        values.pop("removal", None)
    config = {"train": values, "precision": ws.trainer.precision}
    if ws.codec.training:
        config["codec"] = {name: value for name, value in ws.codec.describe().items() if name in ws.codec.training}
    if shares > 1 and ws.has_dropout:
        config["shares"] = shares  # of a batch, in each of which dropout masks are drawn
    return config


def check_shares(ws: Workspace, place: str) -> None:
    """Raise UserError where a batch cannot be shared out, or the weights that are asked for are not kept. ``place``: of
    the workspace's training in the config."""
    shares = ws.train.accumulate * ws.trainer.devices
    if ws.train.batch_size % shares:
        parts = f" times {place}.accumulate={ws.train.accumulate}" if ws.train.accumulate > 1 else ""
        raise UserError(f"{place}.batch_size must be a multiple of trainer.devices={ws.trainer.devices}{parts}.")
    if ws.weights not in ws.train.stored:
        raise UserError(
            f"{place}.keep={ws.train.keep} does not store weights={ws.weights}: set {place}.keep=both, or "
            f"weights={ws.train.keep}."
        )


def import_weights(ws: Workspace) -> Plan:
    """The user's own weights as F1: ``checkpoint=…``, or those that the model brings."""
    path = ws.checkpoint
    inputs = dict(ws.model.identity()) | ({} if path is None else {"checkpoint": digest_once(path)})

    def make(folder: Path) -> None:
        state = own_weights(ws) if path is None else load_checkpoint(ws, path)
        for name in ws.train.stored:
            save_file(state, folder / f"{name}.safetensors", metadata=make_metadata(ws.diffusion, ws.train.lora))

    config = {"model": ws.model.describe(), "diffusion": without_sampling(ws), "ids": digest_ids(ws.ids)}
    config["keep"] = ws.train.keep
    if ws.adapter:
        config["lora"] = ws.adapter
    if ws.train.trainable != ALL:
        config["trainable"] = ws.train.trainable
    inputs = inputs | ws.inputs
    cost = lambda: Cost(Work(bytes=len(ws.train.stored) * ws.weight_bytes), [ws.prepared], ws.first)  # noqa: E731
    return ws.store.plan("checkpoint", 3, config, inputs, make, cost=cost)


def own_weights(ws: Workspace) -> dict[str, Tensor]:
    """The weights that the model brings; where it is to be adapted, those of an adapter that changes nothing yet, or of
    the part that would be trained."""
    if ws.train.keeps_base:
        return build_network(ws).weights()
    network = ws.model.pretrained(*sizes(ws))
    if network is None:
        raise TypeError(f"{type(ws.model).__name__} says that it has weights of its own but gives none")
    return network.state_dict()


def load_checkpoint(ws: Workspace, path: Path) -> dict[str, Tensor]:
    """The user's own weights, those of a LoRA as the adapter has them."""
    if ws.train.lora.rank is None:
        weights = load_file(path)
        names = ws.skeleton().name_saved(weights)
        return {names[name]: value for name, value in weights.items()}
    return read_lora(path, ws.model.outline(), ws.train.lora, f"checkpoint={path}").weights


def sizes(ws: Workspace) -> tuple[int, int, int]:
    """Channels and resolution of x, and the length of the condition, for which a network is built."""
    channels, resolution = ws.x_shape[:2]
    return channels, resolution, ws.data.condition_size


def build_network(ws: Workspace, seed: int | None = None) -> Network:
    """The network at its initialisation for a seed (the run's): F0, and where every training starts."""
    seed = ws.seed if seed is None else seed
    network = build_random(ws, seed)
    ws.model.initialise(network)
    keep_base(network, ws.train, seed)
    return network


def build_random(ws: Workspace, seed: int) -> Network:
    """The network with weights that are drawn for a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch_seed(seed, "initialisation"))
        return ws.model.build(*sizes(ws))


def load_network(ws: Workspace, plan: Plan) -> Network:
    """A new copy of a trained network, in evaluation mode on the device; trained first where it must be."""
    folder = plan.get().folder
    network = build_network(ws) if ws.train.keeps_base else build_random(ws, ws.seed)
    network.load_weights(load_file(folder / f"{ws.weights}.safetensors"))
    return network.eval().requires_grad_(False).to(ws.device)


def as_trained(ws: Workspace, plan: Plan) -> Trained:
    """The model of a training as methods and protocols see it."""
    return Trained(plan.address, lambda: load_network(ws, plan), [plan])
