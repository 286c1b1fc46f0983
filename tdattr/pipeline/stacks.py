"""Which retrainings are trained at once, and how many (``trainer.stack``)."""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from tdattr.diffusion.batch import Batch
from tdattr.errors import UserError
from tdattr.ids import Ids
from tdattr.joint import Built, Joint
from tdattr.networks import Given
from tdattr.pipeline.workspace import Workspace
from tdattr.seeding import generator, normal
from tdattr.training.recipe import AUTO
from tdattr.wording import counted

log = logging.getLogger(__name__)
MOST = 32  # that ``auto`` trains at once
# parameters, items of a batch and values of an item of so many: what an H200 was measured to do in the time of two
# (docs/performance.md), in so many bytes
MEASURED_WORK = 32 * 262_783 * 32 * 256
MEASURED_BYTES = 0.63 * 2**30
TRIED = 4  # items, two for each of two networks, with which it is tried whether networks can be stacked
MOST_MEMORY = 0.8  # of what is free, as memory is handed out in blocks


@dataclass(frozen=True, eq=False)
class Retraining(Joint):
    """A training of another model than F1. ``build_network`` gives its network at its initialisation."""

    ws: Workspace
    ids: Ids
    seed: int
    label: Callable[[], str]
    build_network: Callable[[], Any]

    @property
    def kind(self) -> Any:
        """Trainings of a run whose lengths in steps are the same; None where they are trained one after the other."""
        if self.ws.trainer.stack == 1 or not is_stackable(self.ws):
            return None
        return self.ws, repr(self.ws.train.in_steps(len(self.ids)))  # in words: it has no hash

    def most(self, wanted: int) -> int:
        """As ``trainer.stack`` says; each of the command's workers has its share."""
        setting = self.ws.trainer.stack
        share = -(-wanted // self.ws.workers)
        return min(share, self.count_best() if setting == AUTO else setting)

    def count_best(self) -> int:
        """How many are fastest, as far as that was measured, and fit the memory of the GPU that is free now. On a CPU
        a fifth is gained, and the last bits of weights would depend on the number of workers; convolutions were not
        measured."""
        ws, network = self.ws, self.ws.skeleton()
        convolves = any(isinstance(module, nn.modules.conv._ConvNd) for module in network.modules())
        if ws.device.type != "cuda" or convolves:
            return 1
        parameters = sum(value.numel() for value in network.parameters())
        work = parameters * ws.train.batch_size * math.prod(ws.x_shape)
        free = torch.cuda.mem_get_info(ws.device)[0]
        fitting = MOST_MEMORY * free / (MEASURED_BYTES * work / MEASURED_WORK)
        return max(1, min(MOST, MEASURED_WORK // work, int(fitting)))

    def build(self, members: "Sequence[Retraining]", folders: Sequence[Path]) -> list[Built]:
        """Train all of them."""
        from tdattr.training.stacked import Run, pretrain_together  # Lightning takes seconds to import

        ws = self.ws
        steps, size = ws.train.count_steps(len(self.ids)), ws.train.batch_size
        each = f"{counted(steps, 'step')} of {size}"
        log.info("%s at once: %s each on %s", counted(len(members), "retraining"), each, ws.device)
        for member in members:
            log.info("  %s", member.label())
        ws.data.train.open_x(ws.train.mirror)
        ws.data.test.open_x(mirrored=False)
        runs = [
            Run(
                member.build_network(),
                member.ids,
                member.seed,
                folder,
                member.label(),
                ws.recorder.curve("retrain", member.label()),
            )
            for member, folder in zip(members, folders, strict=True)
        ]
        results = pretrain_together(runs, ws.data, ws.diffusion, ws.train, ws.trainer)
        facts = {"devices": ws.trainer.devices, "together": len(members)}
        return [result if isinstance(result, UserError) else result | facts for result in results]


@lru_cache(maxsize=8)  # a command works in few
def is_stackable(ws: Workspace) -> bool:
    """Whether trainings of a run can be trained at once; the others are trained one after the other. Where they are to
    be and cannot, a line of the log says why, once."""
    obstacle = find_obstacle(ws)
    if obstacle is not None:
        log.info("trainer.stack=%s: retrainings are trained one after the other, as %s.", ws.trainer.stack, obstacle)
    return obstacle is None


def find_obstacle(ws: Workspace) -> str | None:
    """Why trainings of a run cannot be trained at once; None: they can be."""
    from tdattr.training.stack import can_stack, try_stack  # Lightning takes seconds to import

    settings = {
        "trainer.devices": (ws.trainer.devices, 1),
        "train.accumulate": (ws.train.accumulate, 1),
        "trainer.precision": (ws.trainer.precision, "32-true"),
        "train.selection": (ws.train.selection, "last"),
    }
    for name, (value, needed) in settings.items():
        if value != needed:
            return f"{name} is {value}, not {needed}"
    if ws.model.has_base:
        return "the model starts from base weights"
    if not can_stack(ws.skeleton()):
        return "the network has dropout, an adapter, frozen parameters or buffers that a training changes"
    if ws.trainer.stack == AUTO and ws.device.type != "cuda":
        return None  # none are stacked
    channels, resolution = ws.x_shape[:2]
    condition = ws.data.condition_size
    failure = try_stack(lambda: ws.model.build(channels, resolution, condition), make_batch(ws), ws.diffusion)
    return None if failure is None else f"torch.func cannot run several networks like this one at once ({failure})"


def make_batch(ws: Workspace) -> Batch:
    """Noise in place of some items, with their conditions, one of which is dropped where the network has a null one."""
    condition = ws.data.train.condition(np.resize(ws.ids, TRIED))
    rng = generator(ws.seed, "stack.trial")
    x, noise = normal(rng, TRIED, *ws.x_shape), normal(rng, TRIED, *ws.x_shape)
    drop = None if condition is None or not ws.skeleton().has_null else torch.arange(TRIED) == 0
    augmentation = torch.zeros(TRIED, dtype=torch.long) if ws.train.augmentation.enabled else None
    given = Given(condition, drop, augmentation)
    return Batch(x, ws.diffusion.training_levels(rng, TRIED), noise, given)
