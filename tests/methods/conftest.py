"""What the tests of methods share."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from tdattr.data.prepared import Prepared
from tdattr.diffusion.edm import EDM
from tdattr.methods import Context, MethodSetup
from tdattr.store import Store
from tdattr.training.config import TrainConfig
from tdattr.training.pretrain import pretrain
from tests import contexts
from tests.contexts import keep
from tests.methods.shifts import IDS, SEED, World


@pytest.fixture
def context(make_context: Callable[..., Context]) -> Context:
    """Four queries; nothing may be trained or computed for it."""
    return make_context()


@pytest.fixture
def make_setup(
    tiny_dit: Callable[..., nn.Module], tiny_data: Prepared, edm: EDM, tiny_train: Callable[..., TrainConfig]
) -> Callable[..., MethodSetup]:
    """``make_setup()`` is what a method may check: a tiny DiT and the tiny data; names change parts of it."""
    return lambda **changes: MethodSetup(
        **({"network": tiny_dit(4), "diffusion": edm, "data": tiny_data, "items": 48, "train": tiny_train()} | changes)
    )


@pytest.fixture
def world(
    make_context: Callable[..., Context], tiny_data: Prepared, tiny_dit: Callable[..., nn.Module], tmp_path: Path
) -> World:
    """Every item has two captions; dropout must not be used."""
    known = np.array(tiny_data.train.conditions)
    captions = np.concatenate([known, 0.5 * np.roll(known, 1, axis=2)], axis=1)
    data = replace(tiny_data, train=replace(tiny_data.train, conditions=captions))
    f1 = tiny_dit(4, spread=0.1, dropout=0.2).requires_grad_(False)
    store, handed = Store(tmp_path / "store", "cpu"), []

    def copy() -> nn.Module:
        handed.append(deepcopy(f1))
        return handed[-1]

    changes = {"data": data, "ids": IDS, "f1": copy, "seed": SEED, "conditions": torch.eye(4), "plan": keep(store)}
    return World(make_context(**changes), f1, store, handed)


@pytest.fixture
def make_trained_world(
    make_context: Callable[..., Context],
    tiny_trainer: Any,
    edm: EDM,
    tiny_data: Prepared,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., Context]:
    """What makes a context whose F1 has been trained: ``initial`` makes a network that is not. Names change the
    context. Every F1 has a folder of its own, apart from those of the test."""

    def make(train: TrainConfig, initial: Callable[[], nn.Module], ids: Any = contexts.IDS, **changes: Any) -> Context:
        folder = tmp_path_factory.mktemp("f1")
        pretrain(initial(), tiny_data, ids, edm, train, tiny_trainer(), 5, folder, "test")

        def f1() -> nn.Module:
            trained = initial().requires_grad_(False).eval()
            trained.load_state_dict(load_file(folder / "ema.safetensors"))
            return trained

        made = {"f0": lambda: initial().requires_grad_(False), "plan": keep(Store(tmp_path / "store", "cpu"))}
        return make_context(f1=f1, initial=initial, train=train, ids=ids, **(made | changes))

    return make


@pytest.fixture
def make_smooth_world(
    make_trained_world: Callable[..., Context], tiny_dit: Callable[..., nn.Module], tiny_train: Any
) -> Callable[..., Context]:
    """What makes a context whose F1 has been trained on its ``ids``, so that its derivatives say what other trainings
    do; names change the training."""

    def make(**changes: Any) -> Context:
        train = tiny_train(**({"steps": 40, "epsilon": 1e-3, "mirror": True} | changes))
        return make_trained_world(train, lambda: tiny_dit(4), conditions=torch.eye(4))

    return make


@pytest.fixture
def smooth_world(make_smooth_world: Callable[..., Context]) -> Context:
    """One of an ordinary training."""
    return make_smooth_world()
