"""What others see of an unlearning while it goes on."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from tdattr.diffusion.batch import Batch
from tdattr.diffusion.edm import EDM
from tdattr.recorder import Recorder, has_two_digits
from tdattr.training.config import TrainerConfig
from tdattr.unlearning.draws import UnlearnBatch
from tdattr.unlearning.mirrored import Mirrored
from tdattr.unlearning.module import Unlearning, unlearn


class Counting:
    """A loss whose progress is the number of the step."""

    def __init__(self, goal: float) -> None:
        self.goal, self.steps = goal, 0

    def __call__(self, network: nn.Module, batch: Any) -> tuple[Tensor, Tensor, Mapping[str, Tensor]]:
        self.steps += 1
        loss = network(torch.ones(1)).sum()
        return loss, torch.tensor(float(self.steps)), {"query_loss": torch.tensor(10.0 * self.steps)}


class Nothing(Dataset[int]):
    def __getitem__(self, index: int) -> int:
        return index


def record(
    goal: float, most: int, check_first: bool, trainer: TrainerConfig, optimizer: Any = None, done: int = 0
) -> list[tuple[int, dict[str, float]]]:
    """The steps that an unlearning shows."""
    seen: list[tuple[int, dict[str, float]]] = []

    class Seen(Recorder):
        def log(self, section: str, item: str, step: int, values: Mapping[str, float]) -> None:
            assert (section, item) == ("unlearn", "query 3")
            seen.append((step, dict(values)))

    optimizer = optimizer or partial(torch.optim.SGD, lr=0.5)
    module = Unlearning(nn.Linear(1, 1), Counting(goal), optimizer, ["weight"], check_first=check_first)
    module.steps = done
    unlearn(module, Nothing(), most, trainer, curve=Seen().curve("unlearn", "query 3"))
    return seen


@pytest.mark.parametrize("check_first", [True, False])
def test_every_step_up_to_the_one_that_ends_it(check_first: bool, tiny_trainer: Callable[..., TrainerConfig]) -> None:
    seen = record(3, 50, check_first, tiny_trainer())
    assert seen == [(step, {"query_loss": 10.0 * step, "learning_rate": 0.5}) for step in (1, 2, 3)]


def test_steps_of_a_long_one_are_thinned_out_and_the_last_one_is_there(
    tiny_trainer: Callable[..., TrainerConfig],
) -> None:
    steps = [step for step, _ in record(math.inf, 127, False, tiny_trainer())]
    assert steps == [*range(1, 101), 110, 120, 127]
    assert [step for step in range(990, 1300) if has_two_digits(step)] == [990, 1000, 1100, 1200]


def test_a_resumed_one_has_its_last_step_too(tiny_trainer: Callable[..., TrainerConfig]) -> None:
    steps = [step for step, _ in record(math.inf, 247, False, tiny_trainer(), done=124)]
    assert steps == [*range(130, 241, 10), 247]


def test_a_mirrored_step_shows_both_losses_and_the_share_of_the_null_loss(edm: EDM) -> None:
    losses = iter([torch.tensor([1.0, 3.0]), torch.tensor([2.0, 9.0])] * 2)

    class Given(EDM):
        def loss(self, *_: Any) -> Tensor:
            return next(losses)

    part = Batch(torch.zeros(2, 1), torch.zeros(2), torch.zeros(2, 1))
    batch = UnlearnBatch(part, part)
    loss, progress, parts = Mirrored(Given(**vars(edm)), 0.2, 4.0, 0.95)(nn.Identity(), batch)
    assert (float(loss), float(progress)) == (pytest.approx(2 - 0.2 * 3), 3)
    assert {name: float(part) for name, part in parts.items()} == {
        "retained_loss": 2,
        "query_loss": 3,  # the second loss is clamped at 4
        "share_of_null_loss": 0.75,
    }
    _, _, parts = Mirrored(Given(**vars(edm)), 0.2, None, None)(nn.Identity(), batch)
    assert {name: float(part) for name, part in parts.items()} == {"retained_loss": 2, "query_loss": 5.5}
