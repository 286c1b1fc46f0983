"""What a step takes of the memory: found without numbers, it is what a step of the training with numbers takes."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tdattr.errors import UserError
from tdattr.metagradients.peak import Held, count_peak
from tdattr.metagradients.state import PARTS
from tdattr.metagradients.step import Step
from tdattr.methods import Context, step_room
from tdattr.methods.metagradient import Metagradient
from tdattr.methods.output.loss import LossOutput
from tdattr.methods.step_room import count_along, count_back
from tdattr.methods.weighted_training import open_training
from tdattr.networks import NOTHING, Given
from tdattr.seeding import generator, normal
from tdattr.store import Store
from tests.contexts import keep
from tests.methods.linear import Flat

OUTPUTS = 6
SPREAD = 0.1  # of the weights, so that gradients are not zero and are clipped


@pytest.fixture(autouse=True)
def no_gaps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the heap."""
    monkeypatch.setattr(step_room, "CPU_GAPS", 1)


@pytest.fixture
def make_world(
    make_context: Callable[..., Context], tiny_dit: Callable[..., nn.Module], tiny_train: Any, tmp_path: Path
) -> Callable[..., Context]:
    """What makes a context of a network of which nothing is trained."""

    def make(
        dropout: float = 0.0, pairs: int = 1000, network: nn.Module | None = None, size: int = 8, **changes: Any
    ) -> Context:
        made = tiny_dit(4, SPREAD, dropout=dropout) if network is None else network
        train = tiny_train(steps=4, batch_size=size, coupled=True, **changes)
        plan = keep(Store(tmp_path / "store", "cpu"))
        world = make_context(skeleton=lambda: made, initial=lambda: deepcopy(made), train=train, plan=plan)
        return replace(world, trainer=replace(world.trainer, metagradient_batch=pairs))

    return make


def measure(world: Context, take: Callable[[Step, Tensor, Any], object]) -> int:
    """The most that something holds of a step of the training, which has numbers."""
    training, layout = open_training(world)
    step = Step(training.network, layout, world.diffusion, training.batches.config, world.seed)
    state, batch = normal(generator(0, "test.room"), len(PARTS) * layout.size).abs(), training.batches[0]
    with torch.random.fork_rng(devices=[]), Held() as held:
        take(step, state, batch)
    return held.peak


def take_back(world: Context, outputs: int = OUTPUTS) -> int:
    """That of a step back."""
    weights = sum(value.numel() for value in world.skeleton().parameters())
    after, pairs = torch.ones(len(PARTS), outputs, weights), world.trainer.metagradient_batch
    return measure(world, lambda step, state, batch: step.pull(state, batch, 0, after, pairs))


def take_forward(world: Context) -> int:
    """That of the gradient of a whole batch."""

    def take(step: Step, state: Tensor, batch: Any) -> None:
        step.gradient(state[: step.layout.size], torch.ones(len(batch)), step.embed(batch), 0)

    return measure(world, take)


SETTINGS: dict[str, dict[str, Any]] = {
    "dropout": {"dropout": 0.1},
    "clipped": {"clip": 1e-6, "pairs": 24},
    "one output at a time": {"pairs": 12},
    "parts of the batch": {"pairs": 20, "size": 48},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_step_back_holds_as_much_as_one_with_numbers(name: str, make_world: Any) -> None:
    world = make_world(**SETTINGS[name])
    assert count_back(world, OUTPUTS) == pytest.approx(take_back(world), rel=0.02)
    assert take_back(world) > take_forward(world)


def test_where_it_is_split_further_the_step_itself_counts(make_world: Any, tiny_dit: Any) -> None:
    for world in (make_world(pairs=1, size=32), make_world(pairs=16, size=32, network=tiny_dit(4, SPREAD, blocks=4))):
        assert count_back(world, 1) == pytest.approx(take_forward(world), rel=0.02)
        assert take_back(world, 1) < take_forward(world)


def test_a_step_along_holds_as_much_as_one_with_numbers(make_world: Any) -> None:
    world = make_world(dropout=0.1)

    def take(step: Step, state: Tensor, batch: Any) -> None:
        ones = torch.ones(len(batch))
        step.push(state, state, ones, ones, batch, 0)

    assert count_along(world) == pytest.approx(measure(world, take), rel=0.02)


def test_many_outputs_and_small_parts_take_no_longer_to_count(make_world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, real = [], Step.pull_clipped

    def pull(*arguments: Any) -> Tensor:
        calls.append(arguments)
        return real(*arguments)

    monkeypatch.setattr(Step, "pull_clipped", pull)
    count_back(make_world(pairs=2, size=48), 100_000)
    assert len(calls) == 4  # two parts of a batch, two parts of the outputs


def test_what_is_let_go_is_not_counted() -> None:
    given = torch.empty(10, 10, device="meta")

    def compute() -> Tensor:
        first = torch.empty(100, device="meta")
        second = first * 2
        view = second.view(10, 10)  # counts once
        del first
        third = view + given.add_(1)
        del second, view
        return third * 2

    assert count_peak(compute) == 2 * 400
    before = torch.random.get_rng_state()
    count_peak(lambda: torch.manual_seed(7))
    assert torch.equal(torch.random.get_rng_state(), before)


class Reading(Flat):
    """A network that cannot be run without numbers."""

    def forward(self, x: Tensor, c_noise: Tensor, given: Given = NOTHING) -> Tensor:
        return super().forward(x * float(np.asarray(self.linear.bias).mean()), c_noise, given)


def test_what_cannot_be_counted_is_said(make_world: Any, caplog: pytest.LogCaptureFixture) -> None:
    assert count_back(make_world(network=Reading()), OUTPUTS) == 0
    assert "What a step takes of the memory is not known before it is taken: " in caplog.text


def test_activations_that_do_not_fit_are_refused(
    make_world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = Metagradient("metagradient", LossOutput("loss", 4, "training"), "empty", 10.0, None)
    few, many = make_world(pairs=2), make_world(pairs=1000)
    monkeypatch.setattr("tdattr.metagradients.room.find_free_memory", lambda _: count_back(many, len(many.queries)))
    method.check_room(lambda: few, tmp_path)
    with pytest.raises(UserError, match=r"of the memory of cpu.* lower queries.attributed, trainer.metagradient_batch"):
        method.check_room(lambda: many, tmp_path)
