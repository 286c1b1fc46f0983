"""What is planted is found, by every method that scores items: quanda's sanity checks (arXiv 2410.07158).

A check is a number of scores and a bound. ``random`` is asked too and must fail every one of them. A new method in
``conf/method`` is asked by itself; what does not apply to it is said in ``EXEMPT``.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from tests.sanity.planted import COPIED, COPIES, ITEMS, LABELS, MARKED, NEAR, WRONG, Planted, queries
from tests.sanity.world import World, make_world, methods_of_items

IMAGES, CONDITIONS, ASKED = queries()
COMPARED = 4  # queries whose scores are compared between models
OVERRIDES = ("dataset=digits", "model.patch=2", "train.steps=600", "train.batch_size=32")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Digits with what is planted among them."""
    items = pd.DataFrame({"label": [str(label) for label in CONDITIONS.argmax(1).tolist()]})
    folder = tmp_path_factory.mktemp("planted")
    return make_world(folder, Planted(), OVERRIDES, images=IMAGES, conditions=CONDITIONS, items=items)


def auc(scores: np.ndarray, planted: np.ndarray, among: np.ndarray = ITEMS) -> float:
    """How probably a planted item has a higher score than another one, a mean over queries; 0.5 is chance."""
    return float(np.mean([roc_auc_score(np.isin(among, planted), row[among]) for row in scores]))


def copies(world: World, name: str) -> float:
    """How far the score of a copy lies from its original's, in standard deviations of all scores; the farthest."""
    scores = world.scores(name, "trained")
    return float((np.abs(scores[:, COPIED] - scores[:, COPIES]).max(1) / scores.std(1)).max())


def near(world: World, name: str) -> float:
    """How probably the item that a query is nearly a copy of has a higher score than another item."""
    scores = world.scores(name, "trained")[ASKED["near"]]
    return float(np.mean([auc(row[None], np.array([item])) for row, item in zip(scores, NEAR, strict=True)]))


def marks(world: World, name: str) -> float:
    """How probably an item with the mark of the queries has a higher score than one without."""
    return auc(world.scores(name, "trained")[ASKED["marked"]], MARKED)


def labels(world: World, name: str) -> float:
    """How much more probably a seven that is told to be a zero has a higher score than another seven if the query, a
    seven too, is told to be a zero, than if it is told to be a seven."""
    scores, sevens = world.scores(name, "trained"), ITEMS[LABELS == 7]
    return auc(scores[ASKED["wrong"]], WRONG, sevens) - auc(scores[ASKED["right"]], WRONG, sevens)


def models(world: World, name: str) -> float:
    """How much less the scores under a random model agree with those under the trained one than those under a model
    that is trained under another seed do: Spearman's correlations over items, means over queries."""
    again, shuffled = (world.scores(name, model, COMPARED) for model in ("again", "random"))
    trained = world.scores(name, "trained")[:COMPARED]
    return agreement(trained, again) - agreement(trained, shuffled)


def agreement(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's correlation of two sets of scores, a mean over queries."""
    return float(np.mean([spearmanr(a, b).statistic for a, b in zip(first, second, strict=True)]))


@dataclass(frozen=True)
class Check:
    """``compute``: of a world and a method. It must be at least ``least``, or at most ``most``."""

    compute: Callable[[World, str], float]
    least: float = -np.inf
    most: float = np.inf

    def passed(self, world: World, name: str) -> bool:
        """Whether a method passes."""
        return self.least <= self.compute(world, name) <= self.most


CHECKS = {
    "copies": Check(copies, most=1e-3),
    "near": Check(near, least=0.75),
    "marks": Check(marks, least=0.65),
    "labels": Check(labels, least=0.03),
    "models": Check(models, least=0.1),
}
BLIND = {"labels": "it is not told conditions", "models": "it asks no model of the data"}
GENERATED = "it needs the way on which a query was generated, which these were not"
SAME = "of a network so small, gradients hardly depend on the condition; a kernel's inverse is what brings that out"
EXEMPT: dict[str, dict[str, str]] = {  # by the method, the checks that do not apply to it, and why
    "condition": {"marks": "it looks at no image", "models": "it asks no model"},
    "features": BLIND | {"marks": "its classifier of digits has no use for the mark"},
    "forward_inf": {"copies": "as published, every item has noise of its own"},
    "gradient_cosine": {"labels": SAME},
    "journey_trak": {"near": GENERATED, "marks": GENERATED, "labels": GENERATED},
    "metagradient": dict.fromkeys(CHECKS, "the training is not smooth in its data: see test_smooth.py"),
    "pixel": BLIND,
    "tracin": {"labels": SAME},
    "tracin_training": dict.fromkeys(CHECKS, "it repeats a training, as metagradient does: see test_smooth.py"),
    "source": dict.fromkeys(CHECKS, "it repeats a training, as metagradient does: see test_smooth.py"),
}


@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKS)
def test_random_scores_fail(check: str, world: World) -> None:
    assert not CHECKS[check].passed(world, "random")


APPLIED = [(check, name) for check in CHECKS for name in methods_of_items() if check not in EXEMPT.get(name, {})]


@pytest.mark.slow
@pytest.mark.parametrize(("check", "name"), [pair for pair in APPLIED if pair[1] != "random"])
def test_what_is_planted_is_found(check: str, name: str, world: World) -> None:
    assert CHECKS[check].passed(world, name), CHECKS[check].compute(world, name)


def test_exemptions_are_of_methods_and_checks_that_there_are() -> None:
    assert EXEMPT.keys() <= set(methods_of_items())
    assert all(checks.keys() <= CHECKS.keys() for checks in EXEMPT.values())
