"""Metagradients as a method: what really removing items does, signs, refusals, and how smooth a training is."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from tdattr.counterfactuals import Trained
from tdattr.errors import UserError
from tdattr.metagradients import room
from tdattr.metagradients.describe import GROWTH
from tdattr.methods import Context, MethodSetup
from tdattr.methods.metagradient import Metagradient
from tdattr.methods.output import Output
from tdattr.methods.output.elbo import ElboOutput
from tdattr.methods.output.loss import LossOutput
from tdattr.methods.output.pixels import PixelsOutput
from tdattr.methods.repeated_training import REPLAY
from tdattr.methods.smoothness import SmoothnessConfig, agree, plan_trainings
from tdattr.methods.weighted_training import train_weighted
from tdattr.scoring.elbo import ElboConfig
from tdattr.training.pretrain import pretrain
from tests.contexts import IDS

OUTPUT = LossOutput("loss", 30, "training")
METHOD = Metagradient("metagradient", OUTPUT, "replaced", 30.0, SmoothnessConfig(0.1, -1))
ELBO = ElboConfig(t_min=10, t_max=None, stride=300, timesteps=1000, draws=2, importance=None)


@pytest.fixture
def world(smooth_world: Context) -> Context:
    """A context whose F1 has been trained on ``IDS``."""
    return smooth_world


def losses_with(world: Context, items: np.ndarray, weight: float, folder: Path) -> torch.Tensor:
    """The queries' losses where some items count so much."""
    folder.mkdir()
    counts = torch.ones(len(world.data.train))
    counts[items] = weight
    return losses_of(world, train_weighted(world, counts, folder))


def losses_of(world: Context, network: nn.Module) -> torch.Tensor:
    """The queries' losses under a network."""
    return OUTPUT.evaluate(world, network)[:, 0]


def test_scores_say_how_losses_change_where_items_are_removed(world: Context, tmp_path: Path) -> None:
    scorer = replace(METHOD, removal="empty").start(world)
    scored = [scorer(query) for query in range(4)]
    scores = torch.stack([each.scores for each in scored]).double()
    assert scores.shape == (4, len(IDS)) and all(each.facts[REPLAY] == 0 for each in scored)
    whole = losses_with(world, IDS, 1.0, tmp_path / "whole")
    rng = np.random.default_rng(1)
    chosen = [rng.choice(len(IDS), 3, replace=False) for _ in range(8)]
    said = torch.stack([scores[:, rows].sum(1) for rows in chosen])
    for weight, least in ((0.9, 0.97), (0.0, 0.6)):  # a little less, as a derivative has it, and removed
        losses = [losses_with(world, IDS[rows], weight, tmp_path / f"{weight} {n}") for n, rows in enumerate(chosen)]
        changes = (torch.stack(losses) - whole) / (1 - weight)
        found = [np.corrcoef(changes[:, query], said[:, query])[0, 1] for query in range(4)]
        assert min(found) > least, found
        size = float((changes * said).sum() / said.square().sum())
        assert weight == 0 or 0.9 < size < 1.1


def test_retraining_with_empty_places_is_the_training_with_weights_of_zero(
    world: Context, tiny_dit: Callable[..., nn.Module], tiny_trainer: Any, tmp_path: Path
) -> None:
    removed = IDS[:3]
    train = replace(world.train, coupled=True, removal="empty")
    kept = np.setdiff1d(np.arange(48), removed)
    (folder := tmp_path / "retrained").mkdir()
    network = tiny_dit(4)
    pretrain(network, world.data, kept, world.diffusion, train, tiny_trainer(), world.seed, folder, "test")
    counts = torch.ones(48)
    counts[removed] = 0
    (tmp_path / "weighted").mkdir()
    seen = replace(world, train=train, ids=np.arange(48))
    weighted = train_weighted(seen, counts, tmp_path / "weighted").state_dict()
    stored = load_file(folder / "ema.safetensors")
    assert all(torch.equal(weighted[name], value) for name, value in stored.items())


def test_scores_say_what_retraining_without_items_does_whose_places_others_fill(
    world: Context, tiny_dit: Callable[..., nn.Module], tiny_trainer: Any, tmp_path: Path
) -> None:
    """By a training in which the others count as much more as the items count less, and by real retraining without
    the items."""
    everything, removed = np.arange(48), 8
    train = replace(world.train, coupled=True, batch_size=24, steps=30)

    def network(kept: np.ndarray, folder: Path) -> nn.Module:
        folder.mkdir()
        trained = tiny_dit(4)
        pretrain(trained, world.data, kept, world.diffusion, train, tiny_trainer(), world.seed, folder, "test")
        trained.load_state_dict(load_file(folder / "ema.safetensors"))
        return trained.eval().requires_grad_(False)

    f1 = network(everything, tmp_path / "f1")
    seen = replace(world, train=train, ids=everything, f1=Trained("f1", lambda: f1))
    scorer = replace(METHOD, smoothness=None).start(seen)
    scores = torch.stack([scorer(query).scores for query in range(4)]).double()
    assert scores.sum(1).abs().max() < 1e-4 * scores.abs().sum(1).min()
    rng = np.random.default_rng(1)
    chosen = [rng.choice(48, removed, replace=False) for _ in range(8)]
    said = 48 / (48 - removed) * torch.stack([scores[:, rows].sum(1) for rows in chosen])
    whole, nudge = losses_of(seen, f1), 0.1
    weighted, retrained = [], []
    for number, rows in enumerate(chosen):
        counts = torch.full((48,), 1 + nudge * removed / (48 - removed))
        counts[rows] = 1 - nudge
        (folder := tmp_path / f"weighted {number}").mkdir()
        weighted.append((losses_of(seen, train_weighted(seen, counts, folder)) - whole) / nudge)
        kept = np.setdiff1d(everything, rows)
        retrained.append(losses_of(seen, network(kept, tmp_path / str(number))) - whole)
    for changes, least in ((torch.stack(weighted), 0.97), (torch.stack(retrained), 0.6)):
        assert np.corrcoef(changes.flatten(), said.flatten())[0, 1] > least
    size = float((torch.stack(weighted) * said).sum() / said.square().sum())
    assert 0.9 < size < 1.1


def test_a_smooth_training_is_told_from_one_that_is_not(world: Context, caplog: pytest.LogCaptureFixture) -> None:
    facts = METHOD.start(world)(0).facts
    assert 0.9 < facts["smoothness"] <= 1 and 0.9 < facts["prediction"] <= 1 and "not smooth" not in caplog.text
    strict = replace(METHOD, smoothness=SmoothnessConfig(0.1, 1.0))
    found = strict.start(world)(0).facts
    assert found["prediction"] < 1 and f"prediction {found['prediction']:.2f}, of 1" in caplog.text
    assert strict.warn(found) and not METHOD.warn(found)
    assert "smoothness" not in replace(METHOD, smoothness=None).start(world)(0).facts


@pytest.mark.parametrize("output", [ElboOutput("elbo", ELBO), PixelsOutput("pixels", 3)], ids=["elbo", "pixels"])
def test_whatever_is_differentiated_is_measured_in_trainings_with_other_weights(output: Output, world: Context) -> None:
    """In those of smoothness, which predict what the derivatives say of them."""
    fewer = replace(world, diffusion=replace(world.diffusion, steps=4))
    scorer = replace(METHOD, output=output).start(fewer)
    facts, scores = scorer(0).facts, torch.stack([scorer(query).scores for query in range(4)])
    assert facts["prediction"] > 0.9 and facts["smoothness"] > 0.5, facts
    assert scores.shape == (4, len(IDS)) and scores.sum(1).abs().max() < 1e-3 * scores.abs().sum(1).min()


def test_of_two_queries_no_correlation_is_taken(world: Context) -> None:
    facts = METHOD.start(replace(world, queries=world.queries.select(slice(0, 2))))(0).facts
    assert "smoothness" in facts and "prediction" not in facts and not METHOD.warn(facts)


def test_losses_at_other_levels_are_not_taken_for_these(world: Context) -> None:
    others = replace(OUTPUT, levels="generation")
    assert METHOD.smoothness is not None
    here, there = (plan_trainings(world, METHOD.smoothness, output, 1.0) for output in (OUTPUT, others))
    assert all(one.address != other.address for one, other in zip(here, there, strict=True))


def test_a_training_that_magnifies_changes_is_told_from_one_that_does_not(
    world: Context, caplog: pytest.LogCaptureFixture
) -> None:
    method = replace(METHOD, smoothness=None)
    growth = method.start(world)(0).facts[GROWTH]
    assert 0.5 < growth < 30 and "not smooth" not in caplog.text
    assert replace(method, most_growth=growth / 2).start(world)(0).facts[GROWTH] == growth
    assert f"up to {growth:.2g} times" in caplog.text


def test_signs_agree_by_how_large_the_first_changes_are() -> None:
    first = torch.tensor([3.0, -1.0, 0.0])
    assert agree(first, torch.tensor([0.1, -9.0, 5.0])) == 1
    assert agree(first, torch.tensor([0.1, 9.0, 5.0])) == pytest.approx(0.5)
    assert agree(first, -first) == -1
    assert agree(torch.zeros(3), first) == 1


def test_a_training_that_was_not_repeated_is_told_of(
    world: Context, tiny_dit: Callable[..., nn.Module], caplog: pytest.LogCaptureFixture
) -> None:
    other = tiny_dit(4, spread=0.1).requires_grad_(False)
    method = replace(METHOD, smoothness=None)
    scorer = method.start(replace(world, f1=Trained("other", lambda: other)))
    assert scorer(0).facts[REPLAY] > 1e-3 and "ends at weights that differ from F1's" in caplog.text


def setup(world: Context, **changes: Any) -> MethodSetup:
    return replace(MethodSetup(world.f1.load(), world.diffusion, world.data, len(IDS), world.train), **changes)


def test_what_cannot_be_repeated_is_refused(
    world: Context, tiny_train: Any, tiny_dit: Callable[..., nn.Module]
) -> None:
    METHOD.check(setup(world))
    refused = {
        "leave out checkpoint": {"trained": False},
        "train.selection=last": {"train": tiny_train(selection="best")},
        "trainer.precision=32-true": {"precision": "bf16-mixed"},
        "train.accumulate=1": {"train": tiny_train(accumulate=2), "network": tiny_dit(4, dropout=0.1)},
        "trainer.devices=1": {"devices": 2, "network": tiny_dit(4, dropout=0.1)},
    }
    for said, changes in refused.items():
        with pytest.raises(UserError, match=said):
            METHOD.check(setup(world, **changes))
    METHOD.check(setup(world, train=tiny_train(accumulate=2), devices=2))


def test_of_uncoupled_trainings_a_run_is_warned(
    world: Context, tiny_train: Any, caplog: pytest.LogCaptureFixture
) -> None:
    METHOD.check(setup(world, train=tiny_train(coupled=True)))
    assert not caplog.records
    METHOD.check(setup(world, train=tiny_train(coupled=False)))
    assert "retrainings have others: set train.coupled=true" in caplog.text


def test_room_is_asked_for_until_the_derivatives_are_there(
    world: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = replace(METHOD, smoothness=None)
    with monkeypatch.context() as patch:
        patch.setattr(room, "find_free_memory", lambda device: 0)
        with pytest.raises(UserError, match="of the memory of cpu"):
            method.check_room(lambda: world, tmp_path)
    method.start(world)
    monkeypatch.setattr(room, "find_free_memory", lambda device: 0)
    method.check_room(lambda: world, tmp_path)


def test_derivatives_that_are_there_do_without_those_of_the_queries(world: Context, tmp_path: Path) -> None:
    method = replace(METHOD, smoothness=None)
    scores = method.start(world)(0).scores
    (of_queries,) = tmp_path.rglob("gradients")
    shutil.rmtree(of_queries)
    assert torch.equal(method.start(world)(0).scores, scores)
    assert not of_queries.exists()


def test_a_network_that_counts_while_it_trains_is_refused(world: Context) -> None:
    network = world.f1.load()
    network.add_module("normal", nn.BatchNorm1d(3))
    with pytest.raises(UserError, match=r"a training may change normal\.running_mean"):
        METHOD.check_network(network)


def test_what_is_computed_is_counted(world: Context) -> None:
    needs = METHOD.work(world).needs
    steps = [plan.cost().work.steps for plan in needs]
    taken = world.count_steps()
    assert steps == [2 * taken, 0, taken, taken]
