"""GUDA-U and GUDA-C: groups are unlearned from F1 instead of retraining without them, queries scored by their ELBO."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from safetensors.torch import load_file, save_file

from tdattr.configs import describe
from tdattr.costs import NO_WORK, NUMBER_BYTES, Cost, Work
from tdattr.counterfactuals import Trained, name_removal
from tdattr.errors import UserError
from tdattr.features import identities
from tdattr.features.text import TextEncoder
from tdattr.files import move_into_place, name_aside
from tdattr.ids import Ids, digest_ids
from tdattr.methods import Context, Method, MethodSetup, MethodWork, Scored, Scorer
from tdattr.methods.failure_signatures import growths, warn_of_failures, warn_of_warm_up
from tdattr.methods.group_elbo import differences, elbos, plan_elbos
from tdattr.methods.group_tangents import PASSES_ALONG, GroupTangent, check_tangents
from tdattr.methods.repeated_training import check_parameters, check_repeated
from tdattr.networks import Network
from tdattr.networks.lora import adapter_metadata
from tdattr.ranges import Count
from tdattr.scoring.elbo import ElboConfig
from tdattr.store import Plan
from tdattr.tables import DataFrame, read_table, write_table
from tdattr.training.config import TrainConfig
from tdattr.training.weights import check_trained
from tdattr.unlearning.group import GroupUnlearnConfig, unlearn_group
from tdattr.unlearning.objectives import Objective, ObjectiveSetup, UnlearnContext
from tdattr.wording import counted

log = logging.getLogger(__name__)
LOG = "log.csv"
HEAD_START = "method.unlearn.head_start"


@dataclass(frozen=True)
class GUDA(Method):
    """The ``method=guda_u`` and ``method=guda_c`` nodes: an objective, how it is run, and the score.

    ``scored``: after how many epochs (or steps, where ``unlearn`` counts these) the unlearned models are scored, one of
    those whose weights are kept; None: the last of them. ``weight_by_size``: the objective's weight holds for a group
    of average size and grows with the group, as the effect of leaving it out does. It is meant for a fixed number of
    steps, as epochs grow with the group themselves. ``siss`` forgets at a fixed length and ``finetune`` has no such
    term: neither changes.
    """

    needs: ClassVar = frozenset({"groups"})
    scores_groups: ClassVar = True
    remedy: ClassVar = "lower method.unlearn.learning_rate"

    name: str
    objective: Objective
    unlearn: GroupUnlearnConfig
    scored: Count | None
    weight_by_size: bool
    elbo: ElboConfig

    def __post_init__(self) -> None:
        self.unlearn.choose(self.scored)
        check_retain(self.objective, self.unlearn)

    def unread(self) -> dict[str, str]:
        """Whether a weight grows with the group, where the objective has none."""
        return {} if self.objective.weighted else {"weight_by_size": f"objective={self.objective.name}"}

    def compared(self, train: TrainConfig) -> Mapping[str, float]:
        """Those of the unlearning."""
        return compare_unlearning(self.objective, self.unlearn)

    def check_text(self, text: TextEncoder | None) -> None:
        """What the objective checks."""
        self.objective.check_text(text)

    def check(self, setup: MethodSetup) -> None:
        """The objective must serve such a model, and its terms must be levels of the variant."""
        check_objective(self.objective, self.unlearn, setup)
        self.elbo.terms(setup.diffusion)

    def check_room(self, outline: Callable[[], Context], root: Path) -> None:
        """What head starts take must fit. Raises UserError."""
        if self.unlearn.head_start:
            check_head_starts(context := outline(), self.unlearned(context), root)

    def unlearned(self, context: Context) -> "list[Unlearned]":
        """F1 without each of the groups."""
        removals = list(context.counterfactuals.groups().values())
        return unlearn_all(context, self.objective, self.unlearn, removals, self.scored, self.weight_by_size)

    def without(self, context: Context) -> Mapping[str, Trained]:
        """Those that are scored."""
        models = self.unlearned(context)
        return {name: model.trained for name, model in zip(context.counterfactuals.groups(), models, strict=True)}

    def work(self, context: Context) -> MethodWork:
        """The unlearnings, and the bounds under each model."""
        models = self.unlearned(context)
        bounds = plan_elbos(context, self.elbo, [context.f1, *(model.trained for model in models)])
        return MethodWork(NO_WORK, needs=[*(model.plan for model in models), *bounds])

    def start(self, context: Context) -> Scorer:
        """Unlearn every group, and score all queries under each model."""
        groups = context.counterfactuals.groups()
        models = self.unlearned(context)
        warn_of_warm_up(max(model.steps for model in models), self.unlearn)
        scores = differences(elbos(context, self.elbo, [context.f1, *(model.trained for model in models)]))
        logs = {name: model.log() for name, model in zip(groups, models, strict=True)}
        warn_of_failures(scores, logs, self.unlearn, context.train, len(context.ids))
        facts = {"training_steps": float(sum(model.all_steps for model in models))}
        growth = [value for value in growths(logs, self.unlearn).values() if value is not None]
        if growth:
            facts["retained_loss_growth"] = sum(growth) / len(growth)
        return lambda query: Scored(scores[query], facts)


def compare_unlearning(objective: Objective, config: GroupUnlearnConfig) -> dict[str, float]:
    """What runs that unlearn groups are compared by: the objective's weight, if it has one, and the learning rate."""
    return {**objective.compared(), "unlearning_rate": config.learning_rate}


def check_retain(objective: Objective, config: GroupUnlearnConfig) -> None:
    """Raise UserError where an objective does not go with this way of retaining."""
    if config.retain not in objective.retains:
        raise UserError(
            f"objective={objective.name} cannot be run with method.unlearn.retain={config.retain}: set it to "
            f"{' or '.join(objective.retains)}."
        )


def check_objective(objective: Objective, config: GroupUnlearnConfig, setup: MethodSetup) -> None:
    """Raise UserError where an objective cannot serve the model."""
    conditional = bool(setup.data.condition_size) and setup.network.conditional and setup.network.has_null
    split = setup.data.train
    objective.check(ObjectiveSetup(setup.diffusion, conditional, split, setup.groups, setup.text))
    if config.head_start:
        check_repeated(setup, HEAD_START)
        check_parameters(setup.network, HEAD_START)
    if config.condition_dropout and setup.network.conditional and not setup.network.has_null:
        raise UserError("The network has no label for an item without a condition: set unlearn.condition_dropout=0.")


def check_head_starts(context: Context, models: "Sequence[Unlearned]", root: Path) -> None:
    """What the trainings take that are still needed, each with its derivative. Raises UserError where it does not fit;
    ``root``: the folder of artifacts."""
    missing = sum(not (model.plan.finished or model.tangent.plan.finished) for model in models)
    check_tangents(context, missing, root, f"set {HEAD_START}=0")


@dataclass(frozen=True)
class Unlearned:
    """F1 after a set of ids was unlearned, at one of the points of its unlearning; unlearned first where it must be."""

    context: Context
    objective: Objective
    config: GroupUnlearnConfig
    removed: Ids
    point: int
    teacher: Trained | None
    number: str  # which of several it is, for messages: ``2 of 9``

    @property
    def retained(self) -> Ids:
        """The ids that are kept."""
        return np.setdiff1d(self.context.ids, self.removed)

    @property
    def groups(self) -> Mapping[str, Ids]:
        """Those of the items that F1 has seen."""
        return self.context.counterfactuals.all_groups()

    @property
    def steps(self) -> int:
        """Those that lead to it."""
        return self.count_steps(self.point)

    @property
    def all_steps(self) -> int:
        """Those, and as many as a head start takes as long as."""
        return self.steps + (PASSES_ALONG * self.context.count_steps() if self.config.head_start else 0)

    def count_steps(self, point: int) -> int:
        """The steps that lead to a point."""
        return self.config.count_steps(point, len(self.retained), len(self.removed))

    def file(self, point: int) -> str:
        """The name of the weights at a point."""
        return f"{self.config.unit}_{point}.safetensors"

    @cached_property
    def plan(self) -> Plan:
        """The unlearning, whichever of its points is wanted."""
        train = self.config.adapt(self.context.train)
        key = {
            "objective": self.objective.describe(),
            "identity": identities(self.objective, self.context.setting),
            "unlearn": describe(self.config),
            "removed": digest_ids(self.removed),
            "mirror": train.mirror,
            "condition_dropout": train.condition_dropout,
            "teacher": None if self.teacher is None else self.teacher.address,
        }
        if self.objective.reads_groups:
            key["groups"] = {name: digest_ids(ids) for name, ids in self.groups.items()}
        if self.config.head_start:
            key["start"] = self.tangent.plan.address
        if self.objective.encodes_prompts:
            key["text"] = dict(self.context.text)
        return self.context.plan("unlearn", 5, key, self.build).costing(self.cost)

    def cost(self) -> Cost:
        """What all steps take, and the mask's batches before them."""
        config, context = self.config, self.context
        sizes = len(self.retained), len(self.removed)
        batches = [min(config.batch_size, sizes[0]), min(config.forgotten_size, sizes[1])]
        step = self.objective.work(batches[0], batches[1], config.retain)
        steps = self.count_steps(config.points[-1])
        masked = 0 if config.mask is None else config.mask.batches or sizes[1] // batches[1]
        weights = sum(value.numel() for value in context.skeleton().state_dict().values()) * NUMBER_BYTES
        once = Work(trained=masked * batches[1], steps=steps, bytes=len(config.points) * weights)
        return Cost(None if step is None else step * steps + once, self.sources)

    @property
    def sources(self) -> Sequence[Plan]:
        """What it is unlearned from."""
        mirror = self.config.adapt(self.context.train).mirror
        seen = self.context.data.train.plan_x(mirror)
        started = [self.tangent.plan] if self.config.head_start else []
        return [*self.context.f1.plans, *started, *seen, *(() if self.teacher is None else self.teacher.plans)]

    @cached_property
    def tangent(self) -> GroupTangent:
        """How F1's weights change as the removed items count less."""
        context = self.context
        return GroupTangent(context, self.removed, 1.0, context.train.removal, name_removal(self.removed, self.groups))

    def begin(self) -> Network:
        """What is unlearned from: F1, or F1 as far on its way as ``head_start`` says."""
        return self.tangent.extrapolate(self.config.head_start) if self.config.head_start else self.context.f1.load()

    def build(self, folder: Path) -> Mapping[str, Any]:
        """Unlearn, and keep the weights that are asked for."""
        import pandas as pd

        context, config = self.context, self.config
        network = self.begin().requires_grad_(True)
        unlearning = UnlearnContext(
            context.diffusion,
            context.data.train,
            self.retained,
            self.removed,
            context.f1.load,
            context.device,
            context.seed,
            config.retain,
            self.groups,
            None if self.teacher is None else self.teacher.load,
            context.encode if self.objective.encodes_prompts else None,
        )

        def keep(point: int) -> None:
            check_trained(network.state_dict(), label, "lower method.unlearn.learning_rate")
            path = folder / self.file(point)
            save_file(network.weights(), name_aside(path), metadata=adapter_metadata(context.train.lora) or None)
            move_into_place(name_aside(path), path)  # on the disk before the checkpoint that says that it was kept

        item = f"{self.number}, {name_removal(self.removed, self.groups)}"
        label = f"Unlearning {item}"
        log.info("%s: %s of %d", label, counted(self.count_steps(config.length), "step"), config.batch_size)
        curve = context.recorder.curve("unlearn", item)
        parts = unlearn_group(
            network, self.objective, unlearning, config, context.train, context.trainer, keep, folder, label, curve
        )
        write_table(folder / LOG, pd.DataFrame(parts))
        return {"steps": self.count_steps(config.points[-1])}

    @property
    def trained(self) -> Trained:
        """The network."""
        return Trained(f"{self.plan.address}/{self.file(self.point)}", self.load, [*self.context.f1.plans, self.plan])

    def load(self) -> Network:
        """A new copy of it."""
        network = self.context.f1.load()
        network.load_weights(load_file(self.plan.get().folder / self.file(self.point)))
        return network

    def log(self) -> DataFrame:
        """The parts of the loss along the way, a row for each step that was logged."""
        table = read_table(self.plan.get().folder / LOG)
        return table[table["step"] < self.steps]


def unlearn_all(
    context: Context,
    objective: Objective,
    config: GroupUnlearnConfig,
    removals: Sequence[Ids],
    scored: int | None,
    weight_by_size: bool,
) -> list[Unlearned]:
    """F1 without each of those sets of ids, to be unlearned when it is loaded.

    ``scored``: after how many epochs, or steps; models that differ in it alone are kept in one artifact.
    ``weight_by_size``: the objective's weight is multiplied by what share of an average group's size the set has. The
    gradient of what is to be forgotten is a mean over items, and what leaving a group out changes is, to first order, a
    sum (influence functions; Koh and Liang 2017, section 2).
    """
    mean_size = len(context.ids) / len(context.counterfactuals.all_groups())
    config_of_teacher = objective.teacher_config()
    teacher = None if config_of_teacher is None else context.counterfactuals.teacher(config_of_teacher)
    scaled = [objective.scale_weight(len(ids) / mean_size) if weight_by_size else objective for ids in removals]
    return [
        Unlearned(context, weighted, config, ids, config.choose(scored), teacher, f"{n} of {len(removals)}")
        for n, (ids, weighted) in enumerate(zip(removals, scaled, strict=True), start=1)
    ]
