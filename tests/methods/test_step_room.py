"""What a step takes of the memory: found without numbers, it is what one with numbers takes."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tdattr.errors import UserError
from tdattr.metagradients.peak import Held, count_peak
from tdattr.metagradients.state import PARTS, outline
from tdattr.metagradients.step import Step
from tdattr.methods import Context, step_room
from tdattr.methods.metagradient import Metagradient
from tdattr.methods.output.loss import LossOutput
from tdattr.networks import NOTHING, Given
from tdattr.store import Store
from tests.contexts import keep
from tests.methods.linear import VALUES, Flat

OUTPUTS = 6


@pytest.fixture
def make_world(
    make_context: Callable[..., Context], tiny_dit: Callable[..., nn.Module], tiny_train: Any, tmp_path: Path
) -> Callable[..., Context]:
    """What makes a context of a network of which nothing is trained."""

    def make(dropout: float = 0.1, pairs: int = 1000, network: nn.Module | None = None, **changes: Any) -> Context:
        made = tiny_dit(4, dropout=dropout) if network is None else network
        plan = keep(Store(tmp_path / "store", "cpu"))
        train = tiny_train(steps=4, batch_size=8, coupled=True, **changes)
        world = make_context(skeleton=lambda: made, train=train, conditions=torch.eye(4), plan=plan)
        return replace(world, trainer=replace(world.trainer, metagradient_batch=pairs))

    return make


def take_back(world: Context) -> int:
    """The most that a step back with numbers holds."""
    network = world.skeleton()
    step = Step(network, outline(network), world.diffusion, world.train.in_steps(len(world.ids)), world.seed)
    batch = step_room.blank_batch(world).apply(lambda value: torch.zeros_like(value, device="cpu"))
    state, after = torch.zeros(len(PARTS) * step.layout.size), torch.ones(len(PARTS), OUTPUTS, step.layout.size)
    with torch.random.fork_rng(devices=[]), Held() as held:
        step.pull(state, batch, 0, after, world.trainer.metagradient_batch)
    return held.peak


@pytest.mark.parametrize("settings", [{}, {"dropout": 0.0, "pairs": 12}, {"dropout": 0.0, "pairs": 3}])
def test_a_step_back_holds_as_much_as_one_with_numbers(settings: dict[str, Any], make_world: Any) -> None:
    world = make_world(**settings)
    assert step_room.count_back(world, OUTPUTS) == take_back(world) > 0


def test_it_grows_with_outputs_pairs_and_batches(make_world: Any) -> None:
    whole = step_room.count_back(make_world(0.0), OUTPUTS)
    assert step_room.count_back(make_world(0.0), 1) < whole < step_room.count_back(make_world(0.0), 2 * OUTPUTS)
    assert (
        step_room.count_back(make_world(0.0, 3), OUTPUTS) < step_room.count_back(make_world(0.0, 12), OUTPUTS) < whole
    )
    assert step_room.count_back(make_world(0.0, clip=0.5), OUTPUTS) > whole  # as if every step were clipped
    assert step_room.count_along(make_world(0.0)) > 8 * VALUES


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
    """A network that does something else where a number is large."""

    def forward(self, x: Tensor, c_noise: Tensor, given: Given = NOTHING) -> Tensor:
        return super().forward(x if x.max() > 1 else 2 * x, c_noise, given)


def test_what_cannot_be_counted_is_said(make_world: Any, caplog: pytest.LogCaptureFixture) -> None:
    assert step_room.count_back(make_world(network=Reading()), OUTPUTS) == 0
    assert "What a step takes of the memory is not known before it is taken: " in caplog.text


def test_activations_that_do_not_fit_are_refused(
    make_world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = Metagradient("metagradient", LossOutput("loss", 4, "training"), "empty", 10.0, None)
    few, many = make_world(0.0, 2), make_world(0.0, 1000)
    needed = [step_room.count_back(world, len(few.queries)) for world in (few, many)]
    monkeypatch.setattr("tdattr.metagradients.room.find_free_memory", lambda _: needed[1])
    method.check_room(lambda: few, tmp_path)
    with pytest.raises(UserError, match="of the memory of cpu"):
        method.check_room(lambda: many, tmp_path)
