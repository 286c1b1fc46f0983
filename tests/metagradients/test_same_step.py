"""Steps that are differentiated are those that trainings take; others are refused."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from tdattr.errors import UserError
from tdattr.metagradients.forward import Training
from tdattr.metagradients.same_step import check_same_step
from tdattr.metagradients.state import outline
from tdattr.metagradients.step import Step
from tdattr.networks import Network
from tests.metagradients.trainings import SEED, STEPS, make


@pytest.fixture
def training(tiny_data: Any, tiny_dit: Any, tiny_train: Any, edm: Any) -> Callable[[], Training]:
    return lambda: make(tiny_data, tiny_dit, tiny_train, edm, dropout=0.1, clip=0.5)


@pytest.fixture
def trained(tiny_dit: Any) -> Network:
    """A network whose blocks are not without effect, as they are at first."""
    return tiny_dit(dropout=0.1, spread=0.1)


def step_of(training: Training) -> Step:
    made = training.batches
    return Step(training.network, outline(training.network), made.diffusion, made.config, SEED)


def train(training: Training) -> Tensor:
    *_, last = training.states(outline(training.network), 0, STEPS, None)
    return last


def test_a_training_that_was_looked_at_is_the_same(training: Callable[[], Training], trained: Network) -> None:
    torch.manual_seed(0)
    looked_at = training()
    check_same_step(looked_at, step_of(looked_at), outline(looked_at.network), trained)
    torch.manual_seed(0)
    assert torch.equal(train(looked_at), train(training()))


def test_other_dropout_masks_are_refused(
    training: Callable[[], Training], trained: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = training()
    whole = Step.losses

    def losses(self: Step, *arguments: Any) -> Tensor:
        torch.rand(1)  # as a kernel does that draws its masks otherwise
        return whole(self, *arguments)

    monkeypatch.setattr(Step, "losses", losses)
    with pytest.raises(UserError, match="On cpu a step of this training cannot be differentiated as it is taken"):
        check_same_step(one, step_of(one), outline(one.network), trained)
