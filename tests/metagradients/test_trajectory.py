"""The way back from kept states: the same as from all of them, in little memory, and one that can be interrupted."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tdattr.diffusion.batch import Batch
from tdattr.errors import UserError
from tdattr.interim import find_interim, remove_interim
from tdattr.metagradients import room
from tdattr.metagradients import trajectory as module
from tdattr.metagradients.backward import begin_at_end, step_back
from tdattr.metagradients.forward import Training
from tdattr.metagradients.room import check_room, count_room
from tdattr.metagradients.state import Layout, find_weights, outline
from tdattr.metagradients.step import Step
from tdattr.metagradients.trajectory import Trajectory
from tdattr.training.batches import Batches

STEPS, SEED, QUERIES = 11, 3, 3
World = tuple[Any, Step, Layout]


@pytest.fixture
def world(tiny_data: Any, tiny_dit: Any, tiny_train: Any, edm: Any) -> World:
    """What starts the training, its step, and where its parameters stand."""
    config = tiny_train(steps=STEPS, clip=0.5).in_steps(len(tiny_data.train))
    batches = Batches(tiny_data.train, np.arange(len(tiny_data.train)), edm, config, SEED)

    def start() -> Training:
        return Training(tiny_dit(dropout=0.1, augmentation_label=False), batches, torch.device("cpu"))

    training = start()
    layout = outline(training.network)
    return start, Step(training.network, layout, edm, config, SEED), layout


def outputs(layout: Layout) -> torch.Tensor:
    """Derivatives of the queries by the last weights."""
    return torch.from_numpy(np.random.default_rng(1).standard_normal((QUERIES, layout.size))).float()


def go(world: World, folder: Path) -> tuple[torch.Tensor, ...]:
    """The last weights, the derivatives by the items' weights, and the greatest lengths of those by the network's."""
    start, step, layout = world
    trajectory = Trajectory(start(), layout, folder)
    last = trajectory.train("Training")
    end = begin_at_end(outputs(layout), 48, "ema")
    begin = trajectory.go_back(step, end, 16)
    return find_weights(last, "ema"), begin.items, begin.longest


def test_kept_states_give_what_all_states_give(world: World, tmp_path: Path) -> None:
    start, step, layout = world
    training = start()
    *states, last = training.states(layout, 0, STEPS, None)
    after, lengths = begin_at_end(outputs(layout), 48, "ema"), []
    for number in reversed(range(STEPS)):
        after = step_back(step, training, states[number], number, after, pairs=16)
        lengths.append(after.state[0].norm(dim=1))
    weights, items, longest = go(world, tmp_path)
    assert torch.equal(weights, find_weights(last, "ema")) and torch.equal(items, after.items)
    torch.testing.assert_close(longest, torch.stack(lengths).amax(0))
    assert len(list(tmp_path.glob("*.npy"))) == 4  # before the steps 0, 4 and 8, and after the last
    assert find_interim(tmp_path) == set(tmp_path.iterdir())
    remove_interim(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("pairs", [1, 3, 8, 16])
def test_the_number_of_pairs_at_once_changes_nothing(
    pairs: int, dropout: float, world: World, tiny_dit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, step, layout = world
    training, step = start(), replace(step, network=tiny_dit(dropout=dropout, augmentation_label=False))
    state = list(training.states(layout, 0, 5, None))[-1]
    most: list[int] = []
    losses = Step.losses

    def note(self: Step, weights: torch.Tensor, batch: Batch) -> torch.Tensor:
        most.append(len(batch))
        return losses(self, weights, batch)

    whole = step_back(step, training, state, 5, begin_at_end(outputs(layout), 48, "raw"), None)
    monkeypatch.setattr(Step, "losses", note)
    found = step_back(step, training, state, 5, begin_at_end(outputs(layout), 48, "raw"), pairs)
    assert whole.items.norm() > 0
    for one, other in ((found.items, whole.items), *zip(found.state, whole.state, strict=True)):
        assert (one - other).norm() <= 1e-4 * other.norm()
    assert max(most) == (8 if dropout else min(pairs, 8))


@pytest.mark.parametrize(("place", "done"), [("forward", 2), ("back", 1), ("back", 6)])
def test_an_interrupted_way_goes_on(
    place: str, done: int, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    expected = go(world, tmp_path / "whole")
    taken: list[int] = []
    real = step_back if place == "back" else Trajectory.save

    def count(*arguments: Any) -> Any:
        if len(taken) == done:
            raise KeyboardInterrupt
        taken.append(arguments[3] if place == "back" else arguments[1])
        return real(*arguments)

    where = (module, "step_back") if place == "back" else (Trajectory, "save")
    monkeypatch.setattr(*where, count)
    with pytest.raises(KeyboardInterrupt):
        go(world, tmp_path / "killed")
    again: list[int] = []

    def note(*arguments: Any) -> Any:
        again.append(arguments[3] if place == "back" else arguments[1])
        return real(*arguments)

    monkeypatch.setattr(*where, note)
    found = go(world, tmp_path / "killed")
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    first = {("forward", 2): 4, ("back", 1): 10, ("back", 6): 7}[place, done]
    assert again[0] == first  # the step or state that it goes on from, not the beginning


def test_what_does_not_fit_is_refused_before_it_starts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    needed = count_room(weights=1_000_000, items=100, steps=900, queries=10, step=7_000_000)
    state = 4 * 4_000_000
    assert needed.memory == 30 * state + 10 * 4 * (5_000_000 + 200) + 7_000_000  # of a stretch, and 10 queries
    assert needed.disk == 31 * state + 2 * 10 * 4 * (4_000_000 + 100)
    check_room(replace(needed, memory=1), torch.device("cpu"), tmp_path / "new")
    monkeypatch.setattr(room, "find_free_memory", lambda device: needed.memory - 1)
    with pytest.raises(
        UserError, match=r"takes 0.69 GB of the memory of cpu, and 0.69 GB are free: lower queries.attributed"
    ):
        check_room(needed, torch.device("cpu"), tmp_path)
    with pytest.raises(UserError, match=r"of the disk of paths.outputs"):
        check_room(replace(needed, memory=1, disk=10**18), torch.device("cpu"), tmp_path)
