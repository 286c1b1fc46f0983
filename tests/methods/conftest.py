"""What the tests of methods share."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tdattr.artifacts import Store
from tdattr.data.prepared import Prepared
from tdattr.methods import Context
from tests.contexts import stored
from tests.methods.shifts import IDS, SEED, World


@pytest.fixture
def context(make_context: Callable[..., Context]) -> Context:
    """Four queries; nothing may be trained or computed for it."""
    return make_context()


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

    changes = {"data": data, "ids": IDS, "f1": copy, "seed": SEED, "conditions": torch.eye(4), **stored(store)}
    return World(make_context(**changes), f1, store, handed)
