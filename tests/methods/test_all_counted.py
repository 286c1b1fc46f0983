"""Metagradients of a training in which every item counts less than in F1's."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tdattr.errors import UserError
from tdattr.methods import Context
from tdattr.methods.all_counted import count_all
from tdattr.methods.metagradient import Metagradient
from tdattr.methods.output.loss import LossOutput
from tdattr.methods.repeated_training import REPLAY
from tdattr.methods.smoothness import SmoothnessConfig
from tdattr.methods.weighted_training import train_weighted
from tests.contexts import IDS

WEIGHT = 0.5
OUTPUT = LossOutput("loss", 30, "training")
METHOD = Metagradient("metagradient", OUTPUT, "empty", 30.0, SmoothnessConfig(0.1, -1), weight=WEIGHT)


def find_losses(context: Context, items: np.ndarray, times: float, folder: Path) -> torch.Tensor:
    """The queries' losses where everything counts less, and some items by so much still less."""
    folder.mkdir()
    counts = torch.full((len(context.data.train),), WEIGHT)
    counts[items] *= times
    return OUTPUT.evaluate(context, train_weighted(context, counts, folder))[:, 0]


def score(method: Metagradient, context: Context) -> torch.Tensor:
    """The scores of all queries."""
    scorer = method.start(context)
    return torch.stack([scorer(query).scores for query in range(4)]).double()


def test_scores_are_those_of_the_training_in_which_less_counts(smooth_world: Context, tmp_path: Path) -> None:
    scores, facts = score(METHOD, smooth_world), METHOD.start(smooth_world)(0).facts
    assert REPLAY not in facts and facts["prediction"] > 0.9 and facts["smoothness"] > 0.9
    whole = find_losses(smooth_world, IDS, 1.0, tmp_path / "whole")
    rng, said, found = np.random.default_rng(1), [], []
    for number in range(6):
        rows = rng.choice(len(IDS), 3, replace=False)
        said.append(scores[:, rows].sum(1))
        less = find_losses(smooth_world, IDS[rows], 0.9, tmp_path / str(number))
        found.append((less - whole) / (0.1 * WEIGHT))
    predicted, changes = torch.stack(said), torch.stack(found)
    assert np.corrcoef(predicted.flatten(), changes.flatten())[0, 1] > 0.97
    assert 0.9 < float((changes * predicted).sum() / predicted.square().sum()) < 1.1
    ordinary = score(replace(METHOD, weight=1.0), smooth_world)
    assert (ordinary - scores).norm() > 0.1 * scores.norm()  # F1's are others


def test_it_is_another_training_under_an_address_of_its_own(smooth_world: Context) -> None:
    other = count_all(smooth_world, WEIGHT)
    assert count_all(smooth_world, 1.0) is smooth_world
    assert other.f1.address != smooth_world.f1.address and other.f1.plans[-1].cost().work.trainings == 1
    again, moved = (context.plan("stage", 1, {}, lambda _: None).address for context in (smooth_world, other))
    assert again != moved
    needs = METHOD.work(smooth_world).needs
    assert needs[0].cost().needs[-2].address == other.f1.plans[-1].address
    names = {name for name, value in other.f1.load().named_parameters() if value.requires_grad}
    assert not names and not other.f1.load().training


def test_places_that_others_fill_count_the_same() -> None:
    with pytest.raises(UserError, match=r"method.weight=0\.5 is for trainings .* set train\.removal=empty"):
        replace(METHOD, removal="replaced")
