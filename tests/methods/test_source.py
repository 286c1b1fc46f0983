"""SOURCE against the derivatives that it approximates, and its parts by hand."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from tdattr.errors import UserError
from tdattr.metagradients import room
from tdattr.metagradients.segments import Segment, Segments
from tdattr.metagradients.state import outline, parts
from tdattr.methods import Context, Method, MethodSetup, source
from tdattr.methods.ekfac import EKFAC
from tdattr.methods.kept_items import load_items
from tdattr.methods.metagradient import Metagradient
from tdattr.methods.output.loss import LossOutput
from tdattr.methods.source import Passing, Source, find_scales, sum_rates
from tdattr.methods.tracin_training import TracInTraining
from tdattr.methods.weighted_training import load_weights, open_training
from tdattr.scoring.ekfac import Curvature
from tdattr.scoring.gradients import GradientConfig
from tdattr.scoring.projection import ProjectionConfig
from tdattr.seeding import generator, normal, torch_seed
from tests.methods.linear import Flat

GRADIENTS = GradientConfig("loss", 30, "training", False, "all", ProjectionConfig("none", 8, 1))
METHOD = Source("source", GRADIENTS, 3)
TRACIN = TracInTraining("tracin_training", GRADIENTS, 3)
METAGRADIENT = Metagradient("metagradient", LossOutput("loss", 30, "training"), "empty", 30.0, None)


@pytest.fixture
def make_world(make_trained_world: Callable[..., Context], tiny_train: Any) -> Callable[..., Context]:
    """What makes a context of one linear layer; names change the training, nearly gradient descent."""

    def make(dropout: float = 0.0, **changes: Any) -> Context:
        plain = {"steps": 300, "epsilon": 1.0, "learning_rate": 1.0, "weight_decay": 0.0, "warmup_steps": 1, "ema": 0.5}
        return make_trained_world(tiny_train(**(plain | changes)), lambda: Flat(dropout))

    return make


@pytest.fixture
def world(make_world: Callable[..., Context]) -> Context:
    """One that was trained until most of its curvature had taken effect."""
    return make_world()


def score(method: Method, world: Context) -> Tensor:
    """The scores of all queries."""
    scorer = method.start(world)
    return torch.stack([scorer(query).scores for query in range(4)]).double()


def agree(found: Tensor, exact: Tensor) -> float:
    """The correlation over items, a mean over the queries."""
    return float(np.mean([np.corrcoef(one, other)[0, 1] for one, other in zip(found, exact, strict=True)]))


def test_curvature_brings_scores_nearer_to_the_exact_derivatives(world: Context) -> None:
    fine = replace(METHOD, gradients=replace(GRADIENTS, draws=200), checkpoints=12)
    exact, found, without = (score(method, world) for method in (METAGRADIENT, fine, TRACIN))
    assert agree(found, exact) > 0.8 and agree(without, exact) < 0.4, (agree(found, exact), agree(without, exact))
    assert 0.5 < float(found.std() / exact.std()) < 2  # in the unit of the loss
    assert float(without.std() / exact.std()) > 5  # which grows with the steps where nothing takes anything off


def test_without_curvature_and_scales_every_step_adds_its_product_with_the_querys_gradient(
    world: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TracIn's sums, with one derivative of the query: where all checkpoints are at F1's weights, TracIn."""

    def flat(*given: Any) -> Curvature:
        return Curvature({}, {}, {})

    monkeypatch.setattr(source, "fit", flat)
    monkeypatch.setattr(source, "find_scales", lambda layout, *given: torch.ones(len(layout.names)))
    monkeypatch.setattr("tdattr.methods.weighted_training.load_weights", lambda network, *given: network)
    still = replace(world, initial=world.f1.load)
    monkeypatch.setattr(
        "tdattr.methods.weighted_training.open_training",
        lambda context: (open_training(world)[0], outline(world.initial())),
    )
    found, expected = score(METHOD, still), score(TRACIN, still)
    torch.testing.assert_close(found / expected.std(), expected / expected.std(), rtol=1e-4, atol=1e-4)


def test_a_segment_passes_on_what_so_many_steps_of_descent_do() -> None:
    """Step by step, with rates so small that a step is no more than its rate."""
    rng, steps, rate, scale, other_scale, decay = generator(0, "test.passing"), 2000, 1e-3, 0.7, 0.3, 0.2
    turn = [torch.linalg.qr(normal(rng, size, size).double())[0] for size in (3, 4)]
    values = normal(rng, 3, 4).double().square()
    values[0, 0] = 0
    curvature = Curvature({"a.weight": turn[1]}, {"a.weight": turn[0]}, {"a.weight": values})
    passing = Passing(curvature, {"a.weight": scale, "b": other_scale}, steps * rate, decay)
    start = {"a.weight": normal(rng, 2, 3, 3).double(), "a.bias": normal(rng, 2, 3).double(), "b": normal(rng, 2, 5)}
    left, worked = ({name: value.clone() for name, value in start.items()} for _ in range(2))
    passing.multiply(left, passing.shrink)
    passing.multiply(worked, passing.add)
    change = torch.cat([start["a.weight"], start["a.bias"][:, :, None]], dim=2)
    other, total, total_other = start["b"].clone(), torch.zeros_like(change), torch.zeros_like(start["b"])
    for _ in range(steps):
        total, total_other = total + scale * change / steps, total_other + other_scale * other / steps
        curved = turn[0] @ (turn[0].T @ change @ turn[1] * values) @ turn[1].T
        change = change - rate * (scale * curved + decay * change)
        other = other - rate * decay * other
    for found, expected, expected_other in ((left, change, other), (worked, total, total_other)):
        torch.testing.assert_close(
            torch.cat([found["a.weight"], found["a.bias"][:, :, None]], dim=2), expected, rtol=1e-2, atol=1e-3
        )
        torch.testing.assert_close(found["b"], expected_other, rtol=1e-2, atol=1e-3)


def test_scales_are_those_of_the_weights_that_have_gradients(world: Context) -> None:
    layout = outline(world.initial())
    second = torch.zeros(layout.size)
    second[:2] = torch.tensor([1.0, 3.0])
    deviation = torch.full((layout.size,), 2.0)
    deviation[:2] = torch.tensor([4.0, 8.0])
    scales = find_scales(layout, second, deviation)
    assert layout.names[0] == "linear.weight" and scales.tolist() == [pytest.approx(0.25 * (1 / 4) + 0.75 / 8), 0.5]


@pytest.mark.parametrize(("clip", "dropout"), [(None, 0.0), (1e-3, 0.0), (1e-3, 0.9)])
def test_scales_are_what_adamw_multiplies_gradients_by(
    clip: float | None, dropout: float, make_world: Callable[..., Context]
) -> None:
    """In the second step and in the fourth of four, where its bias is large; with the clipping and the dropout of that
    very step."""
    world = make_world(dropout, steps=4, epsilon=1e-3, clip=clip)
    kept = replace(METHOD, checkpoints=2).plan_segments(world).get()
    training, layout = open_training(world)
    states = list(training.states(layout, 0, 4, None))
    gamma = training.batches.config.betas[1]
    for checkpoint in (1, 3):
        weights, _, second, _ = parts(states[checkpoint])
        deviation = (second / (1 - gamma**checkpoint)).sqrt() + 1e-3
        network = load_weights(Flat(dropout), layout, weights).requires_grad_(True).train()
        torch.manual_seed(torch_seed(world.seed, "train.dropout", checkpoint, 0))
        world.diffusion.loss(network, *training.batches[checkpoint].inputs).mean().backward()
        length = torch.cat([value.grad.flatten() for value in network.parameters()]).norm()
        share = 1.0 if clip is None else min(1.0, clip / float(length))
        moments, factors = layout.split(second), layout.split(1 / deviation)
        expected = [float((moments[name] * factors[name]).sum() / moments[name].sum()) for name in layout.names]
        found = load_file(kept.folder / f"step_{checkpoint:08d}.safetensors")["scales"]
        assert found.tolist() == pytest.approx([share * value for value in expected], rel=1e-3)
        assert clip is None or share < 0.5


def test_scores_go_on_where_an_interrupted_run_was(world: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    METHOD.plan_segments(world).get()
    seen, real = list[int](), source.add_up

    def add_up(batches: Any, segment: Segment, *given: Any) -> Tensor:
        seen.append(segment.checkpoint)
        if seen == [250, 150]:
            raise KeyboardInterrupt
        return real(batches, segment, *given)

    monkeypatch.setattr(source, "add_up", add_up)
    with pytest.raises(KeyboardInterrupt):
        METHOD.start(world)
    found = score(METHOD, world)
    assert seen == [250, 150, 150, 50]
    whole = replace(world, plan=lambda *given: world.plan("again", *given[1:]))
    plan = METHOD.plan(whole)
    assert torch.equal(load_items(plan.get().folder / "tracin.safetensors")[0][:, world.ids].double(), found)


def test_rates_are_those_of_the_schedule(world: Context) -> None:
    config = replace(world.train, warmup_steps=4, learning_rate=0.5)
    assert sum_rates(config, Segment(2, 6)) == pytest.approx(0.5 * (3 / 4 + 1 + 1 + 1))


def test_an_interrupted_run_goes_on_at_the_segment_where_it_was(world: Context, tmp_path: Path) -> None:
    training, layout = open_training(world)
    (folder := tmp_path / "here").mkdir()
    segments, seen = Segments(training, layout, folder, 3), list[int]()

    def look(segment: Segment, state: Tensor) -> None:
        seen.append(segment.checkpoint)
        if seen == [50, 150]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        segments.visit("Looking", look)
    again, _ = open_training(world)
    last = replace(segments, training=again).visit("Looking", look)
    assert seen == [50, 150, 150, 250]
    *_, expected = open_training(world)[0].states(layout, 0, 300, None, 300)
    assert torch.equal(last, expected)


def test_what_cannot_be_is_refused(world: Context) -> None:
    setup = MethodSetup(world.f1.load(), world.diffusion, world.data, 8, world.train)
    METHOD.check(setup)
    with pytest.raises(UserError, match=r"two at least: set method\.checkpoints to 150 at most"):
        replace(METHOD, checkpoints=151).check(setup)
    with pytest.raises(UserError, match="source repeats the training of F1, but F1 was not trained here"):
        METHOD.check(replace(setup, trained=False))
    for change in ({"normalise": True}, {"projection": ProjectionConfig("sparse", 8, 1)}):
        with pytest.raises(UserError, match=r"leave method\.gradients\.projection\.kind=none and normalise=false"):
            replace(METHOD, gradients=replace(GRADIENTS, **change))
    with pytest.raises(UserError, match="source knows linear layers and convolutions, and what is differentiated has"):
        METHOD.check_network(Plain())


@pytest.mark.parametrize("method", [METHOD, TRACIN, EKFAC("ekfac", GRADIENTS, 0.1)], ids=lambda method: method.name)
def test_what_does_not_fit_is_refused(
    method: Method, world: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method.check_room(lambda: world, tmp_path)
    monkeypatch.setattr(room, "find_free_memory", lambda device: 0)
    with pytest.raises(UserError, match=r"takes .* of the memory of cpu, and 0 GB are free: lower queries\.attributed"):
        method.check_room(lambda: world, tmp_path)
    method.start(world)
    method.check_room(lambda: world, tmp_path)


class Plain(Flat):
    """No layer at all."""

    def __init__(self) -> None:
        super().__init__()
        del self.linear
        self.scale = nn.Parameter(torch.ones(1))


def test_curvature_is_kept_for_other_queries_and_counted(world: Context) -> None:
    curved, plan = METHOD.work(world).needs
    assert (curved.key["stage"], plan.key["stage"]) == ("source_segments", "source")
    assert curved.cost().work.gradients == 2 * 3 * 8 * 30 and curved.cost().work.steps == 300
    assert plan.cost().work.steps == 0 and plan.cost().needs[-1].address == curved.address
    score(METHOD, world)
    other = replace(world, queries=replace(world.queries, address="other"))
    assert [plan.finished for plan in METHOD.work(other).needs] == [True, False]
