"""Train several models at once, each into a folder of its own, as ``pretrain`` would one after the other."""

import logging
import os
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.plugins.environments import LightningEnvironment

from tdattr.checkpoints import find_checkpoint, save_checkpoint
from tdattr.data.prepared import Prepared
from tdattr.diffusion import Diffusion
from tdattr.errors import UserError
from tdattr.files import MOST_SYNCS
from tdattr.ids import Ids
from tdattr.interim import RESUME
from tdattr.networks import Network
from tdattr.progress import Bar
from tdattr.recorder import Curve
from tdattr.stopwatch import note_spent
from tdattr.training.batches import StackedData
from tdattr.training.config import WEIGHTS, TrainConfig, TrainerConfig
from tdattr.training.framework import L
from tdattr.training.pretrain import Keeper, WithBar, describe_divergence, pretrain, write_weights
from tdattr.training.processes import fit
from tdattr.training.recording import INTERVAL_STEPS, Recording
from tdattr.training.stack import Stack
from tdattr.training.weights import check_trained, make_metadata
from tdattr.wording import counted

log = logging.getLogger(__name__)
UPDATES = "average.n_averaged"  # in the state of a module: the only value that is the same for all models
STEP = "step"  # the same in the state of Adam


@dataclass(frozen=True)
class Run:
    """One of the trainings: from the network's present weights, on ``ids``, under a seed."""

    network: Network
    ids: Ids
    seed: int
    folder: Path
    label: str
    curve: Curve

    def find_step(self) -> int:
        """How many steps an interrupted attempt has left a checkpoint of."""
        left = find_checkpoint(self.folder)
        return 0 if left is None else int(torch.load(left, "cpu", weights_only=True, mmap=True)["global_step"])


def pretrain_together(
    runs: Sequence[Run], data: Prepared, diffusion: Diffusion, config: TrainConfig, trainer: TrainerConfig
) -> list[dict[str, float] | UserError]:
    """Train every run into its folder, and give its last measured losses by name, or why it failed.

    Those that interrupted attempts have left at the same step go on together. Each leaves the checkpoints that it would
    alone, so that it may be resumed alone too, and in another stack.
    """
    config = config.in_steps(len(runs[0].ids))
    results: dict[Path, dict[str, float] | UserError] = {}
    by_step = sorted(((run.find_step(), number, run) for number, run in enumerate(runs)), key=lambda entry: entry[:2])
    for step, entries in groupby(by_step, key=lambda entry: entry[0]):
        group = [run for _, _, run in entries]
        if len(group) == 1:
            results[group[0].folder] = train_alone(group[0], data, diffusion, config, trainer)
        else:
            results |= train_stack(group, data, diffusion, config, trainer, step)
    return [results[run.folder] for run in runs]


def train_alone(
    run: Run, data: Prepared, diffusion: Diffusion, config: TrainConfig, trainer: TrainerConfig
) -> dict[str, float] | UserError:
    """A training that nothing goes with."""
    start = (run.network, data, run.ids, diffusion, config, trainer, run.seed)
    try:
        return pretrain(*start, run.folder, run.label, Recording([run.curve]))
    except UserError as error:
        return error


def train_stack(
    runs: Sequence[Run], data: Prepared, diffusion: Diffusion, config: TrainConfig, trainer: TrainerConfig, step: int
) -> dict[Path, dict[str, float] | UserError]:
    """Train those of one step as one. Raises UserError where a disk is full."""
    module = Stack([run.network for run in runs], diffusion, config)
    keeper = StackKeeper(runs, config)
    folders = [run.folder for run in runs]
    settings = {
        "max_steps": config.total_steps,
        "max_epochs": -1,
        "gradient_clip_val": config.clip,
        "logger": False,
        "callbacks": [keeper, Recording([run.curve for run in runs])],
        "default_root_dir": folders[0],
        "plugins": [LightningEnvironment(), CheckpointsOfStack(folders, keeper.failed)],
    }
    loaders = StackedData(data, [(run.ids, run.seed) for run in runs], diffusion, config, trainer.workers)
    checkpoint = folders[0] / RESUME if step else None
    try:
        fit(module, trainer, 1, settings, datamodule=loaders, ckpt_path=checkpoint, weights_only=True)
    except UserError:
        if len(keeper.failed) < len(runs):
            raise
    return {run.folder: keeper.failed.get(index, keeper.losses[index]) for index, run in enumerate(runs)}


class StackKeeper(WithBar):
    """What ``Keeper`` does for one training, for a stack. ``failed``: those that have diverged, which cost the others
    nothing; ``losses``: the last measured ones of each by name."""

    def __init__(self, runs: Sequence[Run], config: TrainConfig) -> None:
        self.runs, self.config = runs, config
        self.failed: dict[int, UserError] = {}
        self.losses: list[dict[str, float]] = [{} for _ in runs]
        self.stepped = False

    def state_dict(self) -> dict[str, Any]:
        """What is known of the losses survives an interruption."""
        return {"losses": self.losses}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore it."""
        self.losses = state_dict["losses"]

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Open the progress bar where the trainings stand."""
        label = f"{counted(len(self.runs), 'retraining')} at once"
        if trainer.global_step:
            log.info("%s: resumed after %d of %d steps.", label, trainer.global_step, self.config.total_steps)
        self.bar = Bar(label, self.config.total_steps, trainer.global_step)

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        """Count; look at the losses now and then."""
        assert self.bar is not None and isinstance(module, Stack)
        self.bar.advance()
        self.stepped = True
        step = trainer.global_step
        if step % INTERVAL_STEPS == 0 or step == self.config.total_steps:
            losses = self.check("loss", module.step_loss.tolist(), step)
            if step % INTERVAL_STEPS == 0:
                self.note("train_loss", losses)
            self.bar.show(f"loss {np.mean([losses[n] for n in range(len(losses)) if n not in self.failed]):.3f}")

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Save what resumed trainings need."""
        assert isinstance(module, Stack)
        if not self.stepped:  # Lightning ends the last epoch of a checkpoint once more, before the first step
            return
        step = trainer.global_step
        self.check("loss", module.step_loss.tolist(), step)
        if validated := module.validated(trainer.callback_metrics):
            self.note("validation_loss", self.check("validation loss", validated, step))
        if step < self.config.total_steps:
            trainer.save_checkpoint(self.runs[0].folder / RESUME)
            for run in self.runs:
                note_spent(run.folder)

    def check(self, name: str, values: list[float], step: int) -> list[float]:
        """The values of all models; one whose is not finite has failed. Raises UserError where none is left."""
        for index, value in enumerate(values):
            if not np.isfinite(value):
                self.fail(index, describe_divergence(self.runs[index].label, name, value, step))
        return values

    def fail(self, index: int, error: UserError) -> None:
        """Note that a training has failed. Raises its error where none is left."""
        self.failed.setdefault(index, error)
        if len(self.failed) == len(self.runs):
            raise self.failed[0]

    def note(self, name: str, values: Sequence[float]) -> None:
        """Keep the last losses of that name."""
        for losses, value in zip(self.losses, values, strict=True):
            losses[name] = value

    def on_train_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Write the weights of those that have not failed."""
        assert isinstance(module, Stack)
        self.close()
        metadata = make_metadata(module.diffusion, self.config.lora)
        sources = zip(WEIGHTS, (module.network, module.averaged), strict=True)
        weights = {name: source.weights() for name, source in sources}
        for index, run in enumerate(self.runs):
            own = {name: {key: value[index].clone() for key, value in weights[name].items()} for name in WEIGHTS}
            try:
                for values in own.values():
                    check_trained(values, run.label)
            except UserError as error:
                self.fail(index, error)
            if index not in self.failed:
                for name in self.config.stored:
                    write_weights(run.folder, name, own[name], metadata)


class CheckpointsOfStack(TorchCheckpointIO):
    """Writes a stack's checkpoint as those that its models would leave alone, each into its folder, and reads it from
    there. Of one that has ``failed`` the last one stays."""

    def __init__(self, folders: Sequence[Path], failed: Collection[int]) -> None:
        self.folders, self.failed = folders, failed

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Raises UserError where the disk is full; the former checkpoints are then still there."""
        kept = [index for index in range(len(self.folders)) if index not in self.failed]
        contents = [(take(checkpoint, index), self.folders[index] / RESUME) for index in kept]
        with ThreadPoolExecutor(MOST_SYNCS) as threads:  # the disk serves them together
            list(threads.map(lambda entry: save_checkpoint(*entry), contents))

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """All of them as one."""
        return join([torch.load(folder / RESUME, "cpu", weights_only=True) for folder in self.folders])


def take(content: dict[str, Any], index: int) -> dict[str, Any]:
    """The checkpoint of one model out of a stack's."""
    pick = partial(map_state, function=lambda value: value[index].cpu().clone())
    optimizers = [
        one | {"state": {number: pick(state, same=STEP) for number, state in one["state"].items()}}
        for one in content["optimizer_states"]
    ]
    losses = content["callbacks"][StackKeeper.__qualname__]["losses"][index]
    keeper = {"best": float("inf"), "waited": 0, "losses": losses}
    return content | {
        "state_dict": pick(content["state_dict"], same=UPDATES),
        "optimizer_states": optimizers,
        "callbacks": {Keeper.__qualname__: keeper},
    }


def join(contents: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A stack's checkpoint out of those of its models."""

    def stack(states: Sequence[dict[str, Any]], same: str) -> dict[str, Any]:
        return {
            key: value if key == same else torch.stack([state[key] for state in states])
            for key, value in states[0].items()
        }

    first = contents[0]
    optimizers = [
        one
        | {
            "state": {
                number: stack([content["optimizer_states"][which]["state"][number] for content in contents], STEP)
                for number in one["state"]
            }
        }
        for which, one in enumerate(first["optimizer_states"])
    ]
    losses = [content["callbacks"][Keeper.__qualname__]["losses"] for content in contents]
    return first | {
        "state_dict": stack([content["state_dict"] for content in contents], UPDATES),
        "optimizer_states": optimizers,
        "callbacks": {StackKeeper.__qualname__: {"losses": losses}},
    }


def map_state(state: dict[str, Any], function: Any, same: str) -> dict[str, Any]:
    """A state with a function applied to every tensor but the one that is the same for all models."""
    return {key: value if key == same else function(value) for key, value in state.items()}
