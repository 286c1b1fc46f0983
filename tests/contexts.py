"""The one place where tests build what a method is given."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from tdattr.artifacts import Store
from tdattr.data.prepared import Prepared
from tdattr.diffusion import Diffusion
from tdattr.features import Setting
from tdattr.methods import Build, Context, Trained
from tdattr.seeding import generator, normal
from tdattr.training.config import TrainConfig, TrainerConfig

IDS = np.array([2, 3, 5, 7, 11, 13, 17, 47])  # the items that F1 was trained on, unless a test says otherwise


def unused(*_: Any) -> Any:
    """Stands for what a method must not ask for."""
    raise AssertionError


def plain_context(
    data: Prepared, diffusion: Diffusion, train: TrainConfig, trainer: TrainerConfig, setting: Setting, **changes: Any
) -> Context:
    """Four queries without conditions; whatever must be trained or computed is ``unused`` until ``changes`` give it."""
    parts: dict[str, Any] = {
        "data": data,
        "ids": IDS,
        "images": torch.tanh(normal(generator(0, "test.queries"), 4, 1, 8, 8)),
        "conditions": None,
        "diffusion": diffusion,
        "f1": unused,
        "f0": unused,
        "train": train,
        "trainer": trainer,
        "device": torch.device("cpu"),
        "seed": 5,
        "setting": setting,
        "shared": unused,
        "shared_many": unused,
        "model": Trained("", Path(), unused),
        "queries": "",
        "groups": unused,
        "retrained": unused,
        "regenerated": unused,
        "member": unused,
    } | changes
    return Context(**({"items": data.test.items[: len(parts["images"])]} | parts))


def stored(store: Store, load: Callable[[], nn.Module] = unused, **inputs: str) -> dict[str, Any]:
    """The parts of a context that keep artifacts: in ``store``, with these ``inputs``.

    ``load``: the network of every artifact that stands for one.
    """

    def shared(stage: str, version: int, config: Mapping[str, Any], make: Callable[[Path], Any]) -> Path:
        return store.get(stage, version, config, inputs, make).folder

    def shared_many(stage: str, version: int, wanted: list[tuple[Mapping[str, Any], Build]]) -> list[Trained]:
        made = [store.get(stage, version, config, inputs, make) for config, make in wanted]
        return [Trained(artifact.address, artifact.folder, load) for artifact in made]

    return {"shared": shared, "shared_many": shared_many}
