"""The training of F1 with a group counted less, and how the trained weights change as the group counts still less."""

import logging
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor

from tdattr.costs import NUMBER_BYTES, Cost, Work
from tdattr.errors import UserError
from tdattr.ids import Ids, digest_ids
from tdattr.metagradients.room import check_room, count_tangents
from tdattr.metagradients.state import Layout, find_weights, outline
from tdattr.methods import Context
from tdattr.methods.output import count_weights
from tdattr.methods.repeated_training import differ, warn_of_difference
from tdattr.methods.step_room import count_along
from tdattr.networks import Network
from tdattr.store import Plan

log = logging.getLogger(__name__)
FILE = "tangent.safetensors"
WEIGHTS, TANGENT = "weights", "tangent"
PASSES_ALONG = 4  # a step and its derivative along a direction take as long as so many steps; measured


@dataclass(frozen=True)
class GroupTangent:
    """The training in which the items ``ids`` count ``weight``, which changes. ``removal``: with ``replaced`` the other
    items that F1 sees count as much more as these count less, so that all together count the same."""

    context: Context
    ids: Ids
    weight: float
    removal: Literal["replaced", "empty"]
    name: str  # of the group, for messages

    def describe(self) -> dict[str, Any]:
        """What it is, for addresses."""
        return {"group": digest_ids(self.ids), "weight": self.weight, "removal": self.removal}

    def count(self) -> tuple[Float[Tensor, " item"], Float[Tensor, " item"]]:
        """What the items of the split count, and how that changes with ``weight``."""
        seen, direction = self.context.ids, torch.zeros(len(self.context.data.train))
        direction[self.ids] = 1
        if self.removal == "replaced":
            others = np.setdiff1d(seen, self.ids)
            direction[others] = -len(self.ids) / len(others)
        return 1 + (self.weight - 1) * direction, direction

    @cached_property
    def plan(self) -> Plan:
        """The trained weights, and their derivative."""
        context = self.context

        def cost() -> Cost:
            steps = context.count_steps()
            trained = PASSES_ALONG * steps * context.train.batch_size
            return Cost(Work(1, steps, trained, bytes=2 * count_weights(context) * NUMBER_BYTES))

        return context.plan("group_tangent", 1, self.describe(), self.build).costing(cost)

    def build(self, folder: Path) -> None:
        """Train; goes on from what an interrupted run left in ``folder``."""
        # Lightning takes seconds to import
        from tdattr.metagradients.same_step import check_same_step
        from tdattr.metagradients.step import Step
        from tdattr.metagradients.tangent import Tangent
        from tdattr.methods.weighted_training import open_training

        context = self.context
        counts, direction = self.count()
        training, layout = open_training(context, counts)
        step = Step(training.network, layout, context.diffusion, training.batches.config, context.seed)
        check_same_step(training, step, layout, context.f1.load())
        label = f"Training with {self.name} counted {self.weight:.2g}, and its derivative"
        states = Tangent(training, step, layout, direction, folder).train(label)
        weights, tangent = (find_weights(state, context.weights).cpu().clone() for state in states)
        save_file({WEIGHTS: weights, TANGENT: tangent}, folder / FILE)

    def load(self) -> tuple[Network, Float[Tensor, " parameter"]]:
        """The trained network, in evaluation mode, and the derivative of its weights, both on the device."""
        from tdattr.methods.weighted_training import load_weights

        rows, layout = self.read()
        network = load_weights(self.context.f1.load(), layout, rows[WEIGHTS])
        return network, rows[TANGENT].to(self.context.device)

    def extrapolate(self, far: float) -> Network:
        """F1 where the items count ``far`` less, to first order; in evaluation mode. Of items that count 1. Raises
        UserError where the derivative is not finite."""
        from tdattr.methods.weighted_training import load_weights

        rows, layout = self.read()
        if not rows[TANGENT].isfinite().all():
            raise UserError(
                f"The derivative of F1's weights by what {self.name} counts is not finite, as the training is not "
                "smooth in its data: raise train.epsilon, or lower train.learning_rate."
            )
        f1 = self.context.f1.load()
        weights = layout.join(dict(f1.named_parameters())).cpu()
        for warning in warn_of_difference(differ(rows[WEIGHTS], weights), "the derivative is that"):
            log.warning(warning)
        return load_weights(f1, layout, weights - far * rows[TANGENT])

    def read(self) -> tuple[dict[str, Tensor], Layout]:
        """The rows that are kept, and where the parameters stand in them."""
        return load_file(self.plan.get().folder / FILE), outline(self.context.initial())


def check_tangents(context: Context, missing: int, root: Path, remedy: str) -> None:
    """What so many of such trainings take must fit; it is said. ``root``: the folder of artifacts. Raises UserError."""
    if missing:
        room = count_tangents(count_weights(context), missing, count_along(context))
        check_room(room, context.device, root, remedy, "A training of F1 with its derivative")
