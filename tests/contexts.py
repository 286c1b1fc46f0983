"""The one place where tests build what a method is given."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tdattr.counterfactuals import NEEDS, Counterfactuals, Generated, Trained
from tdattr.data.prepared import Prepared
from tdattr.diffusion import Diffusion
from tdattr.features import Setting
from tdattr.ids import Ids
from tdattr.methods import Context
from tdattr.queries import Queries
from tdattr.seeding import generator, normal
from tdattr.store import Build, Plan, Store
from tdattr.training.config import TrainConfig, TrainerConfig

IDS = np.array([2, 3, 5, 7, 11, 13, 17, 47])  # the items that F1 was trained on, unless a test says otherwise


def unused(*_: Any, **__: Any) -> Any:
    """Stands for what a method must not ask for."""
    raise AssertionError


class NoCounterfactuals(Counterfactuals):
    """Other trainings that a test gives as functions; what it does not give must not be asked for.

    ``needs``: what the one who asks has declared. ``asked``: what it has asked for of that.
    """

    def __init__(self, needs: frozenset[str] = frozenset(NEEDS), **given: Callable[..., Any]) -> None:
        self.needs = needs
        self.given = given
        self.asked: set[str] = set()

    def require(self, need: str) -> None:
        super().require(need)
        self.asked.add(need)

    @property
    def seed(self) -> int:
        return 5

    def groups(self) -> dict[str, Ids]:
        self.require("groups")
        return self.given.get("groups", unused)()

    def all_groups(self) -> dict[str, Ids]:
        return self.groups()

    def items(self) -> pd.DataFrame:
        return self.given.get("items", unused)()

    def original(self) -> Generated:
        return self.given.get("original", unused)()

    def train(self, removals: Any, *, repeats: int = 1, first: int = 0) -> list[list[Trained]]:
        self.require("retraining")
        return self.given.get("train", unused)(removals, repeats=repeats, first=first)

    def teacher(self, teacher: Any) -> Trained:
        self.require("groups")
        return self.given.get("teacher", unused)(teacher)

    def regenerate(self, removals: Any) -> list[Generated]:
        self.require("retraining")
        self.require("generation")
        return self.given.get("regenerate", unused)(removals)

    def plan_regenerated(self, removals: Any) -> Any:
        self.require("retraining")
        self.require("generation")
        return self.given.get("plan_regenerated", unused)(removals)

    def plan_query_losses(self, models: Any, draws: int) -> Any:
        return self.given.get("plan_query_losses", unused)(models, draws)

    def query_losses(self, models: Any, draws: int) -> Any:
        return self.given.get("query_losses", unused)(models, draws)

    def similarities(self, first: Any, second: Any) -> Any:
        self.require("measures")
        return self.given.get("similarities", unused)(first, second)


def make_queries(
    images: Tensor, items: pd.DataFrame, conditions: Tensor | None = None, address: str = "queries"
) -> Queries:
    """Queries whose x is their image."""
    return Queries(
        images,
        images,
        conditions,
        items.iloc[: len(images)],
        address,
        slice(0, len(images)),
        numbers=tuple(range(len(images))),
    )


def plain_context(
    data: Prepared, diffusion: Diffusion, train: TrainConfig, trainer: TrainerConfig, setting: Setting, **changes: Any
) -> Context:
    """Four queries without conditions; whatever must be trained or computed is ``unused`` until ``changes`` give it.

    ``images``, ``conditions`` and ``items`` are those of the queries, ``f1`` a function that gives a copy of F1;
    ``groups``, ``train_models`` and ``regenerate`` are asked of the counterfactuals.
    """
    images = changes.pop("images", torch.tanh(normal(generator(0, "test.queries"), 4, 1, 8, 8)))
    items = changes.pop("items", data.test.items)
    queries = make_queries(images, items, changes.pop("conditions", None))
    f1 = Trained("f1", changes.pop("f1", unused))
    asked = {name: changes.pop(name) for name in ("groups", "train_models", "regenerate") if name in changes}
    if "train_models" in asked:
        asked["train"] = asked.pop("train_models")
    parts: dict[str, Any] = {
        "data": data,
        "ids": IDS,
        "queries": queries,
        "diffusion": diffusion,
        "f1": f1,
        "f0": unused,
        "initial": unused,
        "skeleton": changes.get("f0", f1.load),
        "train": train,
        "trainer": trainer,
        "device": torch.device("cpu"),
        "seed": 5,
        "precision_of_losses": "float32",
        "setting": setting,
        "plan": unused,
        "counterfactuals": NoCounterfactuals(**asked),
        "member": unused,
        "decode": lambda x: x.clamp(-1, 1),
    } | changes
    return Context(**parts)


def with_queries(context: Context, **changes: Any) -> Context:
    """The same context with other queries: ``images``, ``conditions`` or ``items``."""
    old = context.queries
    images = changes.get("images", old.images)
    conditions = changes.get("conditions", old.conditions)
    return replace(context, queries=make_queries(images, changes.get("items", old.items), conditions, old.address))


def keep(store: Store, **inputs: str) -> Callable[[str, int, Mapping[str, Any], Build], Plan]:
    """A context's ``plan`` that keeps artifacts in ``store``, with these ``inputs``."""

    def plan(stage: str, version: int, config: Mapping[str, Any], build: Build) -> Plan:
        return store.plan(stage, version, config, inputs, build)

    return plan
