"""What is planted is found by methods that repeat a training that is smooth in its data, not by random scores."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from tests.sanity.planted import ITEMS, MARKED, NEAR, Planted, queries
from tests.sanity.world import World, make_world

IMAGES, CONDITIONS, ASKED = queries()
SMOOTH = ("dataset=digits", "model.patch=4", "train.steps=200", "train.batch_size=32", "train.epsilon=2e-3")
METHODS = ("metagradient", "tracin_training", "source")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Digits with what is planted among them; methods draw by the seed of the training, which they repeat."""
    items = pd.DataFrame({"label": [str(label) for label in CONDITIONS.argmax(1).tolist()]})
    folder = tmp_path_factory.mktemp("smooth")
    return make_world(folder, Planted(), SMOOTH, images=IMAGES, conditions=CONDITIONS, items=items, seed=0)


def near(world: World, name: str) -> float:
    """How probably the item that a query is nearly a copy of has a higher score than another item, the least."""
    scores = world.scores(name, "trained")[ASKED["near"]]
    return min(float((row[item] > np.delete(row, item)).mean()) for row, item in zip(scores, NEAR, strict=True))


def marks(world: World, name: str) -> float:
    """How probably an item with the mark of the queries has a higher score than one without."""
    scores = world.scores(name, "trained")[ASKED["marked"]]
    return float(np.mean([roc_auc_score(np.isin(ITEMS, MARKED), row[ITEMS]) for row in scores]))


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(("check", "least"), [(near, 0.9), (marks, 0.65)])
def test_what_is_planted_is_found(check: Callable[[World, str], float], least: float, name: str, world: World) -> None:
    assert check(world, name) >= least
    assert check(world, "random") < least
