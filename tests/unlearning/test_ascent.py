"""Ascent on a query: what its batches hold, and that a step takes the mean gradient of the accumulated ones."""

import math
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from tdattr import progress
from tdattr.diffusion.batch import Batch
from tdattr.diffusion.edm import EDM
from tdattr.networks import NOTHING
from tdattr.seeding import generator, normal
from tdattr.training.config import TrainerConfig
from tdattr.unlearning.ascent import Ascent, QueryBatches
from tests.methods.plain import loss_of

BATCH, SEED = 5, 3
RATE = 1e-2
Batches = Callable[..., QueryBatches]


@pytest.fixture
def batches(edm: EDM) -> Batches:
    def make(query: int = 2, seed: int = SEED, size: int = BATCH, condition: bool = True) -> QueryBatches:
        image = torch.tanh(normal(generator(0, "test.query", query), 1, 8, 8))
        return QueryBatches(edm, image, torch.eye(4)[query] if condition else None, size, seed, query)

    return make


@pytest.fixture
def network(tiny_dit: Callable[..., nn.Module]) -> nn.Module:
    return tiny_dit(4, spread=0.1, dropout=0.5)


def mean_loss(network: nn.Module, batch: Batch) -> Tensor:
    return loss_of(network, batch.x, batch.level, batch.noise, batch.given.condition).mean()


def test_a_batch_holds_copies_of_the_query_at_their_own_noise(batches: Batches) -> None:
    made = batches()
    batch = made[7]
    condition = batch.given.condition
    assert condition is not None
    assert (batch.given.drop, batch.given.augmentation, batch.ids) == (None, None, None)
    assert all(torch.equal(x, made.x) for x in batch.x) and len(batch) == BATCH
    assert all(torch.equal(row, torch.eye(4)[2]) for row in condition) and len(condition) == BATCH
    assert len(set(batch.level.tolist())) == BATCH
    assert torch.pdist(batch.noise.flatten(1)).min() > 1
    assert all(torch.equal(value, again) for value, again in zip(batch.inputs[:3], made[7].inputs[:3], strict=True))
    assert torch.equal(condition, made[7].given.condition)
    for other in (made[8], batches(seed=SEED + 1)[7], batches(query=1)[7]):
        assert not torch.isin(other.level, batch.level).any()
        assert not torch.isin(other.noise, batch.noise).any()
    assert batches(condition=False)[0].given == NOTHING


def test_noise_is_that_of_training(batches: Batches) -> None:
    batch = batches(size=4000)[0]
    logs = batch.level.log().double()
    assert float(logs.mean()) == pytest.approx(-1.2, abs=5 * 1.2 / 4000**0.5)
    assert float(logs.std()) == pytest.approx(1.2, rel=0.06)
    assert float(batch.noise.std()) == pytest.approx(1, rel=0.01)


def test_the_objective_is_minus_the_mean_loss_and_has_no_end(edm: EDM, network: nn.Module, batches: Batches) -> None:
    batch = batches()[0]
    objective = Ascent(edm)
    loss, progress, parts = objective(network, batch)
    expected = mean_loss(network, batch)
    torch.testing.assert_close(loss, -expected)
    torch.testing.assert_close(progress, expected.detach())
    assert loss.requires_grad and not progress.requires_grad
    assert parts == {"query_loss": -loss}
    assert objective.goal == float("inf")


class Recorded(Dataset[dict[str, Tensor]]):
    """Batches that note in which order they are asked for."""

    def __init__(self, batches: QueryBatches) -> None:
        self.batches, self.asked = batches, list[int]()

    def __getitem__(self, index: int) -> Batch:
        self.asked.append(index)
        return self.batches[index]


@pytest.mark.parametrize(("steps", "accumulate"), [(1, 1), (1, 3), (3, 1), (2, 3)])
def test_a_step_takes_the_mean_gradient_of_its_batches(
    edm: EDM,
    network: nn.Module,
    batches: Batches,
    tiny_trainer: Callable[..., TrainerConfig],
    steps: int,
    accumulate: int,
) -> None:
    from tdattr.unlearning.module import Unlearning, unlearn

    names = ["blocks.0.mlp.fc1.weight", "unpatch.weight"]
    plain, before, source = deepcopy(network), deepcopy(network.state_dict()), Recorded(batches())
    module = Unlearning(network.train(), Ascent(edm), partial(torch.optim.SGD, lr=RATE), names, check_first=False)
    outcome = unlearn(module, source, steps, tiny_trainer(), accumulate)
    chosen = [plain.get_parameter(name) for name in names]
    for step in range(steps):
        parts = range(step * accumulate, (step + 1) * accumulate)
        loss = sum(mean_loss(plain, batches()[index]) for index in parts) / accumulate
        for parameter, grad in zip(chosen, torch.autograd.grad(loss, chosen), strict=True):  # type: ignore[arg-type]
            parameter.data.add_(RATE * grad)
    assert source.asked == list(range(steps * accumulate))
    assert (outcome.steps, outcome.reached) == (steps, False)
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == set(names)
    for name in names:
        expected = plain.state_dict()[name]
        moved = float((expected - before[name]).abs().max())
        torch.testing.assert_close(network.state_dict()[name], expected, atol=1e-3 * moved, rtol=0)
    assert not any(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize("goal", [math.inf, 1e9])
def test_it_shows_how_far_it_has_come(
    edm: EDM,
    network: nn.Module,
    batches: Batches,
    tiny_trainer: Callable[..., TrainerConfig],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    goal: float,
) -> None:
    from tdattr.unlearning.module import Unlearning, unlearn

    monkeypatch.setattr(progress, "LOG_INTERVAL_SECONDS", 0.0)
    still: Any = partial(torch.optim.SGD, lr=0.0)
    module = Unlearning(network, Ascent(edm, goal), still, ["unpatch.weight"], check_first=False)
    unlearn(module, batches(), 2, tiny_trainer(), accumulate=2, label="Unlearning query 7")
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" (")[0] for line in lines] == [f"Unlearning query 7: {n} of 4" for n in (1, 2, 3)]
    assert all(line.endswith(", 0% of the goal") == math.isfinite(goal) for line in lines)


def test_the_last_loss_is_reported(
    edm: EDM, network: nn.Module, batches: Batches, tiny_trainer: Callable[..., TrainerConfig]
) -> None:
    from tdattr.unlearning.module import Unlearning, unlearn

    still: Any = partial(torch.optim.SGD, lr=0.0)
    module = Unlearning(network, Ascent(edm), still, ["unpatch.weight"], check_first=False)
    outcome = unlearn(module, batches(), 4, tiny_trainer())
    with torch.no_grad():
        losses = [float(mean_loss(network, batches()[index])) for index in range(4)]
    assert outcome.progress == pytest.approx(losses[-1], rel=1e-4)
    assert np.ptp(losses) > 1e-3
