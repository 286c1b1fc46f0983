"""Teachers: models beside F1 that are told the groups of the items, trained as F1 is, in a workspace of their own."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import ClassVar

import numpy as np

from tdattr.configs import walk
from tdattr.data.prepared import Prepared
from tdattr.errors import UserError
from tdattr.files import expand
from tdattr.ids import Ids, digest_ids
from tdattr.methods import Method
from tdattr.pipeline.train import check_shares, own_weights, train
from tdattr.pipeline.workspace import Workspace
from tdattr.store import Plan
from tdattr.training.teacher import Teacher, group_conditions
from tdattr.training.weights import check_weights, find_weights


@dataclass(eq=False, kw_only=True)
class TeacherWorkspace(Workspace):
    """The run's workspace with the teacher's model, training and checkpoint, in which the condition of an item is its
    groups: ``train`` in it gives the teacher."""

    first: ClassVar = "the teacher"
    section: ClassVar = "teacher"

    run: Workspace

    @cached_property
    def prepared(self) -> Plan:
        """The run's."""
        return self.run.prepared

    @cached_property
    def groups(self) -> dict[str, Ids]:
        """The run's."""
        return self.run.groups

    @cached_property
    def data(self) -> Prepared:
        """The run's items with their groups as conditions. No group is known of test items: they are told nothing."""
        data = self.run.data
        told = group_conditions(self.groups, len(data.train))
        nothing = np.zeros((len(data.test), len(self.groups)), np.float32)
        train, test = (
            replace(split, conditions=conditions[:, None], untold=conditions.max(1, initial=0) == 0)
            for split, conditions in ((data.train, told), (data.test, nothing))
        )
        key = [data.content, [[name, digest_ids(ids)] for name, ids in self.groups.items()]]
        content = hashlib.sha256(json.dumps(key).encode()).hexdigest()
        return Prepared(train, test, data.facts | {"content": content})


def open_teacher(ws: Workspace, teacher: Teacher) -> TeacherWorkspace:
    """The workspace in which a teacher is trained."""
    values = {entry.name: getattr(ws, entry.name) for entry in fields(Workspace)}
    values |= {"model": ws.model if teacher.model is None else teacher.model, "train": teacher.train}
    values["checkpoint"] = None if teacher.checkpoint is None else find_weights(expand(teacher.checkpoint))
    return TeacherWorkspace(**values, run=ws)


def find_teachers(method: Method) -> Iterator[tuple[str, Teacher]]:
    """All teachers that a method needs, each with its dotted name."""
    for name, node in walk(method):
        if isinstance(node, Teacher):
            yield name, node


def check_teacher(ws: Workspace, teacher: Teacher, place: str) -> None:
    """Raise UserError where no such teacher can be trained or loaded. ``place``: of its node in the config."""
    taught = open_teacher(ws, teacher)
    taught.model.check_diffusion(ws.diffusion)
    told = {True: "timesteps", False: "noise levels"}
    by_variant, wanted = ws.diffusion.tells_timesteps, taught.model.c_noise == "timestep"
    if teacher.model is not None and by_variant != wanted:
        raise UserError(
            f"model@{place}.model must be a network that is told {told[by_variant]}, as the run's, not {told[wanted]}."
        )
    if teacher.train.keeps_base:
        raise UserError(
            f"{place} has no base weights: set {place}.train.lora.rank=null and {place}.train.trainable=all."
        )
    network = taught.skeleton()
    if not network.conditional:
        raise UserError(
            f"{place} must be told the groups of the items, but its network takes no condition: choose another one "
            f"with model@{place}.model=…"
        )
    if not network.has_null:
        raise UserError(
            f"{place} must also work without a condition, for which its network has no label: choose another one with "
            f"model@{place}.model=…"
        )
    if taught.checkpoint is not None:
        check_weights(taught.checkpoint, network, ws.diffusion, f"{place}.checkpoint")
    elif taught.model.has_weights and not train(taught).finished:
        own_weights(taught)
    if taught.checkpoint is not None or taught.model.has_weights:
        return
    if teacher.train.augmentation.enabled and ws.codec.latent:
        raise UserError(f"Latents cannot be augmented: set {place}.train.augmentation.enabled=false.")
    if teacher.train.augmentation.enabled and not network.knows_augmentation:
        raise UserError(
            f"{place}.train.augmentation needs a network with the label: set {place}.model.augmentation_label=true."
        )
    grouped = np.isin(taught.ids, np.concatenate([*taught.groups.values()]))
    if not teacher.train.condition_dropout and grouped.all():
        raise UserError(f"{place}.train.condition_dropout=0 leaves the null condition untrained: set it above 0.")
    check_shares(taught, f"{place}.train")
    if teacher.train.selection == "best" and not len(taught.data.test):
        raise UserError(f"{place}.train.selection=best needs a test split, which this dataset lacks.")
