"""Which retrainings are trained at once, and how many (``trainer.stack``)."""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tdattr.errors import UserError
from tdattr.ids import Ids
from tdattr.joint import Joint
from tdattr.pipeline.workspace import Workspace
from tdattr.training.recipe import AUTO
from tdattr.training.stack import can_stack
from tdattr.wording import counted

log = logging.getLogger(__name__)
MOST = 32  # that ``auto`` trains at once
# parameters, items of a batch and values of an item of so many: what an H200 was measured to do in the time of two
# (docs/performance.md), in so many bytes
MEASURED_WORK = 32 * 262_783 * 32 * 256
MEASURED_BYTES = 0.63 * 2**30
MOST_MEMORY = 0.8  # of what is free, as memory is handed out in blocks
Built = dict[str, Any] | UserError


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
        """Trainings of a run that take as many steps."""
        return self.ws, self.ws.train.in_steps(len(self.ids))

    def most(self, wanted: int) -> int:
        """As ``trainer.stack`` says; each of the command's workers has its share."""
        setting = self.ws.trainer.stack
        if setting == 1 or not is_stackable(self.ws):
            return 1
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


def is_stackable(ws: Workspace) -> bool:
    """Whether trainings of a run can be trained at once; the others are trained one after the other."""
    plain = ws.trainer.devices == 1 and ws.train.accumulate == 1 and ws.trainer.precision == "32-true"
    return plain and ws.train.selection == "last" and not ws.model.has_base and can_stack(ws.skeleton())
