"""LOGO's scores by hand, and that nothing is trained whose bounds are known."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tdattr.counterfactuals import Trained
from tdattr.ids import Ids
from tdattr.methods import Context
from tdattr.methods.logo import LOGO
from tdattr.store import Store
from tests.contexts import NoCounterfactuals, keep
from tests.methods.known import DIFFUSION, ELBO, IMAGES, QUERIES, Models, total

GROUPS = {"round": np.array([2, 3, 5]), "square": np.array([7, 11])}
# offsets by the removal and by the seed, counted from the run's
OFFSETS = {
    "nothing": torch.tensor([[0.5, 0.0, 1.0, 0.2], [0.4, 0.1, 0.9, 0.0], [0.6, 0.0, 1.1, 0.3]]),
    "round": torch.tensor([[0.9, 0.0, 1.5, 0.1], [0.8, 0.5, 0.9, 0.1], [0.2, 0.3, 1.0, 0.5]]),
    "square": torch.tensor([[0.5, 1.0, 2.0, 0.2], [1.0, 1.5, 1.9, 0.0], [0.1, 1.4, 2.2, 0.0]]),
}


def name_of(ids: Ids) -> str:
    """Of what is removed."""
    return next(name for name, members in GROUPS.items() if np.array_equal(ids, members)) if len(ids) else "nothing"


@dataclass
class Trainings:
    """Models by removal and seed; what is trained is what is loaded."""

    models: Models = field(default_factory=Models)
    asked: list[tuple[list[str], int, int]] = field(default_factory=list)

    def train(self, removals: list[Ids], *, repeats: int, first: int) -> list[list[Trained]]:
        names = [name_of(ids) for ids in removals]
        self.asked.append((names, repeats, first))
        return [
            [self.models.make(f"{name}-{seed}", OFFSETS[name][seed]) for seed in range(first, first + repeats)]
            for name in names
        ]


@pytest.fixture
def trainings() -> Trainings:
    return Trainings()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store", "cpu")


@pytest.fixture
def context(make_context: Callable[..., Context], store: Store, trainings: Trainings) -> Context:
    """F1 itself must not be asked for: the model of no removal stands for it."""
    return make_context(
        images=IMAGES,
        conditions=torch.eye(QUERIES),
        diffusion=DIFFUSION,
        plan=keep(store),
        counterfactuals=NoCounterfactuals(needs=LOGO.needs, groups=lambda: GROUPS, train=trainings.train),
    )


def method(**changes: Any) -> LOGO:
    return replace(LOGO("logo", 0, 1, ELBO), **changes)


def scores(wanted: LOGO, context: Context) -> torch.Tensor:
    scorer = wanted.start(context)
    return torch.stack([scorer(query).scores for query in range(QUERIES)])


@pytest.mark.parametrize(("first", "repeats"), [(0, 1), (0, 3), (1, 2)])
def test_scores_are_a_mean_over_seeds_of_what_the_bound_loses(
    context: Context, trainings: Trainings, first: int, repeats: int
) -> None:
    """64 (b_g² - b²) Σ (SNR(t-1) / SNR(t) - 1) / 2, each group beside the full model of the same seed."""
    found = scores(method(first=first, repeats=repeats), context)
    expected = torch.zeros(QUERIES, 2, dtype=torch.float64)
    for seed in range(first, first + repeats):
        for column, name in enumerate(GROUPS):
            expected[:, column] += (total(OFFSETS[name][seed]) - total(OFFSETS["nothing"][seed])) / repeats
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert trainings.asked == [(["nothing", "round", "square"], repeats, first)]
    assert sorted(trainings.models.loaded) == sorted(
        f"{name}-{s}" for name in OFFSETS for s in range(first, first + repeats)
    )


def test_a_model_is_loaded_only_where_its_bounds_are_missing(
    context: Context, trainings: Trainings, store: Store
) -> None:
    before = scores(method(repeats=2), context)
    loaded = trainings.models.loaded
    assert len(loaded) == 6
    loaded.clear()
    assert torch.equal(scores(method(repeats=2), context), before) and not loaded
    scores(method(first=1), context)  # one of the same seeds
    assert not loaded
    scores(method(repeats=3), context)
    assert sorted(loaded) == ["nothing-2", "round-2", "square-2"]
    loaded.clear()
    shutil.rmtree(store.root / store.built[4])  # of the second seed: everything, round, square
    assert torch.equal(scores(method(repeats=2), context), before) and loaded == ["round-1"]


@pytest.mark.parametrize(("first", "repeats", "trainings_made"), [(0, 1, 2), (0, 3, 8), (1, 2, 6)])
def test_its_cost_is_that_of_the_trainings_beside_f1(
    context: Context, first: int, repeats: int, trainings_made: int
) -> None:
    wanted = method(first=first, repeats=repeats)
    assert wanted.start(context)(0).facts == {"training_steps": trainings_made * context.train.steps}
    assert list(wanted.seeds) == list(range(first, first + repeats))
