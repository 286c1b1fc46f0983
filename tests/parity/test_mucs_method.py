"""What MUCS unlearns and scores by, against the numbers of its authors' code."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from tdattr.diffusion.batch import Batch
from tdattr.diffusion.edm import EDM
from tdattr.methods import Context, Member, loss_shift
from tdattr.methods.ensemble import Ensemble, rank
from tdattr.methods.instance_weights import SkipMostSimilar
from tdattr.methods.loss_shift import shift_scorer
from tdattr.methods.random import Random
from tdattr.methods.schedule_share import (
    BATCHES_BEFORE,
    FACTOR,
    QUANTILE,
    find_threshold,
    neighbour_distances,
    share_above,
)
from tdattr.methods.shift_config import ShiftConfig
from tdattr.methods.shift_noise import generation_part
from tdattr.networks import Given
from tdattr.scores import Scores
from tdattr.training.config import TrainerConfig
from tdattr.unlearning.draws import UnlearnBatch
from tdattr.unlearning.mirrored import Mirrored
from tdattr.unlearning.module import Unlearning, unlearn
from tests.methods.plain import Rows
from tests.parity.given import GivenTable
from tests.parity.golden import Golden, golden


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    """The references' numbers here are of double precision."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(
    ("output", "form", "consistent"),
    [
        ("score (mean over pairs of the normalised difference)", "skew", True),
        ("plain difference", "difference", True),
        ("losses averaged before comparison (not consistent noise)", "skew", False),
    ],
)
def test_scores(
    output: str,
    form: Any,
    consistent: bool,
    make_context: Callable[..., Context],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entry = golden("mucs.score")
    before, after = (entry.tensors(torch.float64)[name] for name in ("L1", "L2"))
    before[0] = after[0] = 0
    monkeypatch.setattr(loss_shift, "f1_table", lambda context, items, pairs, noise: GivenTable(items, pairs, before))
    monkeypatch.setattr(loss_shift, "ComputedTable", lambda items, pairs, *_: GivenTable(items, pairs, after))
    epsilon = entry.constants["epsilon"] if form == "skew" else None
    config = ShiftConfig(7, "generation", 0.7, form, consistent, "all", epsilon, False, "first", "all", 4.0, 7)
    scores = shift_scorer(make_context(ids=np.arange(5)), config)(nn.Identity(), 0).scores
    entry.check(output, scores)


def test_the_levels_of_the_pairs(edm: EDM) -> None:
    entry = golden("mucs.attribution_levels")
    assert {name: getattr(edm, name) for name in entry.constants} == entry.constants
    for output in entry.outputs:
        pairs, share = output.replace(" pairs, share", "").split()
        entry.check(output, generation_part(edm, int(pairs), float(share)))


@dataclass(frozen=True)
class GivenLosses(EDM):
    """The loss of an item is what stands in it."""

    def loss(self, network: Any, x: Tensor, level: Tensor, noise: Tensor, given: Given = Given()) -> Tensor:  # noqa: B008
        return network.one * x


@dataclass
class Recorded:
    """A step's loss that notes its values."""

    step_loss: Mirrored
    values: list[float]

    @property
    def goal(self) -> float:
        return self.step_loss.goal

    def __call__(self, network: nn.Module, batch: UnlearnBatch) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        loss, progress, parts = self.step_loss(network, batch)
        self.values.append(loss.item())
        return loss, progress, parts


class GivenSteps(Dataset[UnlearnBatch]):
    """Row by row, the losses of an entry."""

    def __init__(self, entry: Golden) -> None:
        drawn = entry.tensors(torch.float64)
        self.retained = drawn["retained"]
        self.forgotten = drawn["forgotten"] * (0.6 + 0.4 * torch.arange(6))[:, None]

    def __getitem__(self, step: int) -> UnlearnBatch:
        return UnlearnBatch(
            *(Batch(part[step], torch.ones(8), torch.zeros(8)) for part in (self.retained, self.forgotten))
        )


@pytest.mark.parametrize(("bounded", "check_first", "steps"), [(True, True, 5), (True, False, 6), (False, False, 6)])
def test_the_mirrored_objective(
    bounded: bool, check_first: bool, steps: int, edm: EDM, tiny_trainer: Callable[..., TrainerConfig]
) -> None:
    """The paper's listing, our default, steps before it checks, which takes one step more than the authors' code."""
    entry = golden("mucs.mirrored_objective")
    null_loss, stop = (entry.constants["null_loss"], 1 - entry.constants["tolerance"]) if bounded else (None, None)
    mirrored = Mirrored(GivenLosses(**vars(edm)), entry.constants["weight"], null_loss, stop)
    recorded = Recorded(mirrored, [])
    network = nn.Module()
    network.one = nn.Parameter(torch.ones(()))
    still = partial(torch.optim.SGD, lr=0.0)
    module = Unlearning(network, recorded, still, trainable=["one"], check_first=check_first)
    outcome = unlearn(module, GivenSteps(entry), 6, tiny_trainer())
    entry.check("objective" if bounded else "objective without a null loss", recorded.values[:5])
    assert outcome.steps == steps and outcome.reached == bounded
    if check_first:
        entry.check("steps", outcome.steps)


def test_instance_weights() -> None:
    entry = golden("mucs.instance_weights")
    drawn = entry.tensors(torch.float64)
    rule = SkipMostSimilar(Rows(), entry.constants["q"])
    ids = torch.from_numpy(np.random.default_rng(0).permutation(30)[:20])  # of a split of 30 items
    similarities = torch.full((30,), torch.nan).scatter(0, ids, drawn["similarity"])
    for output, conditions, condition in (
        ("unconditional", None, None),
        ("conditional", drawn["y"], drawn["y_query"]),
    ):
        batch = Batch(torch.zeros(20, 1), torch.ones(20), torch.zeros(20, 1), Given(conditions), ids)
        entry.check(output, rule.of_batch(similarities, condition, batch))


def test_the_part_of_the_schedule_that_is_chosen_by_itself(edm: EDM) -> None:
    entry = golden("mucs.schedule_share_auto")
    constants = entry.constants["consecutive"], entry.constants["quantile"]
    assert constants == (BATCHES_BEFORE, QUANTILE)
    assert FACTOR == 0.5  # "halved"
    batches = entry.tensors(torch.float64)["batches"] * entry.constants["scale"]
    distances = neighbour_distances(list(batches))
    assert len(distances) == (1 + 2 + 3 + 3 + 3) * 4 * 4
    for pairs in (100, 33):
        entry.check(f"share, {pairs} pairs", share_above(edm, pairs, find_threshold(distances)))


def test_ensembles(make_context: Callable[..., Context]) -> None:
    entry = golden("mucs.ensemble")
    scores = entry.tensors(torch.float64)["scores"]
    names = ["first", "second", "third"]
    weights = dict(zip(names, entry.constants["weights"], strict=True))
    members = {
        name: Member(Scores(row[None], np.arange(9)), 0.0, [{}]) for name, row in zip(names, scores, strict=True)
    }
    ensemble = Ensemble("ensemble", dict.fromkeys(names, Random("random")), weights)
    combined = ensemble.start(make_context(member=members.__getitem__))(0).scores
    entry.check("ranks", torch.stack([rank(row) for row in scores]))
    entry.check("combined", combined)
    entry.check("order", Scores(combined[None], np.arange(9)).top(9)[0])
