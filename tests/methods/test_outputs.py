"""Output functions of metagradients: derivatives against real trainings, what they share with others, and what scores
find."""

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import tdattr.diffusion.edm
from tdattr.counterfactuals import Trained, Undeclared
from tdattr.diffusion.samplers import draw_noise
from tdattr.errors import UserError
from tdattr.metagradients import room
from tdattr.metagradients.backward import begin_at_end, step_back
from tdattr.metagradients.state import find_weights, outline
from tdattr.metagradients.step import Step
from tdattr.methods import Context, MethodSetup
from tdattr.methods.gradient_features import query_features
from tdattr.methods.group_elbo import elbos
from tdattr.methods.metagradient import Metagradient
from tdattr.methods.output.elbo import ElboOutput
from tdattr.methods.output.loss import LossOutput
from tdattr.methods.output.pixels import PixelsOutput, lead
from tdattr.methods.output.ssim import SsimOutput
from tdattr.methods.weighted_training import load_weights
from tdattr.metrics.similarity import SSIM
from tdattr.networks import Given
from tdattr.queries import query_generator
from tdattr.scoring.elbo import ElboConfig
from tdattr.seeding import generator, normal
from tdattr.store import Store
from tests.contexts import NoCounterfactuals, keep
from tests.diffusion.fakes import variant
from tests.metagradients.trainings import SEED, STEPS, DoubleBatches, make, run

ELBO = ElboConfig(t_min=10, t_max=None, stride=300, timesteps=1000, draws=2, importance=None)
OUTPUTS = {
    "loss": LossOutput("loss", 6, "training"),
    "elbo": ElboOutput("elbo", ELBO),
    "elbo, drawn": ElboOutput("elbo", replace(ELBO, stride=100, importance=4)),
    "pixels": PixelsOutput("pixels", 3),
    "ssim": SsimOutput("ssim", 3, SSIM(sigma=1.5, window=11)),
}
NUDGE = 1e-5  # of an item's weight
STEP = 1e-4  # along a change of the weights


@pytest.fixture
def world(make_context: Callable[..., Context], tiny_dit: Callable[..., nn.Module], edm: Any, tmp_path: Any) -> Context:
    """Four queries, told classes, of a network that is no zero anywhere."""

    def f1() -> nn.Module:
        return tiny_dit(4, spread=0.1).requires_grad_(False)

    return make_context(
        f1=f1,
        f0=f1,
        initial=f1,
        diffusion=replace(edm, steps=4),
        conditions=torch.eye(4),
        plan=keep(Store(tmp_path / "store", "cpu")),
    )


def doubled(context: Context, monkeypatch: pytest.MonkeyPatch) -> Context:
    """The same in double precision."""
    monkeypatch.setattr(tdattr.diffusion.edm, "draw_noise", lambda *given: draw_noise(*given).double())
    queries = replace(context.queries, x=context.queries.x.double(), conditions=torch.eye(4).double())
    return replace(context, queries=queries)


@pytest.mark.parametrize("name", ["elbo", "pixels", "ssim"])
def test_derivatives_are_those_of_real_trainings(
    name: str,
    world: Context,
    tiny_data: Any,
    tiny_dit: Any,
    tiny_train: Any,
    edm: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By finite differences, in double precision, of whole trainings in which an item counts a little more or less."""
    output, context = OUTPUTS[name], doubled(world, monkeypatch)
    training = make(tiny_data, tiny_dit, tiny_train, edm, epsilon=1e-3)
    made = training.batches
    training.batches = DoubleBatches(made.split, made.ids, made.diffusion, made.config, made.seed)
    network = tiny_dit(augmentation_label=False, spread=0.1).double()
    layout = outline(network)
    step = Step(network, layout, edm, made.config, SEED)
    row = layout.join(dict(network.named_parameters()))
    first = torch.cat([row, torch.zeros_like(row), torch.zeros_like(row), row])
    states = [first]
    for number in range(STEPS):
        ones = torch.ones(8, dtype=torch.float64)
        states.append(step(states[-1], ones, training.batches[number], number))

    def trained(state: torch.Tensor) -> nn.Module:
        return load_weights(tiny_dit(augmentation_label=False).double(), layout, find_weights(state, "ema"))

    rows = [output.differentiate(context, trained(states[-1]), query) for query in range(2)]
    after = begin_at_end(torch.cat(rows), 48, "ema")
    for number in reversed(range(STEPS)):
        after = step_back(step, training, states[number], number, after, pairs=16)
    found = after.items.unflatten(0, (2, output.size))
    context = replace(context, queries=context.queries.select(slice(0, 2)))
    for item in (0, 7):
        ends = []
        for sign in (1, -1):
            counts = torch.ones(48, dtype=torch.float64)
            counts[item] += sign * NUDGE
            ends.append(output.evaluate(context, trained(run(step, training, first, counts))))
        expected = (ends[0] - ends[1]) / (2 * NUDGE)
        assert expected.abs().max() > 0
        torch.testing.assert_close(found[:, :, item], expected, rtol=1e-5, atol=1e-7 * float(found.abs().max()))


@pytest.mark.parametrize("name", OUTPUTS)
def test_artifacts_hold_the_derivatives_of_all_queries(name: str, world: Context) -> None:
    """Against differences along a random change of the weights, in single precision."""
    output = OUTPUTS[name]
    found = output.load(world)
    network = world.f1.load()
    each = torch.cat([output.differentiate(world, network, query) for query in range(4)])
    torch.testing.assert_close(found, each, rtol=1e-4, atol=1e-5 * float(found.abs().max()))
    layout = outline(network.requires_grad_(True))
    row = layout.join(dict(network.named_parameters()))
    change = normal(generator(0, "test.change"), len(row))
    values = [output.evaluate(world, load_weights(network, layout, row + sign * STEP * change)) for sign in (1, -1)]
    expected = ((values[0] - values[1]) / (2 * STEP)).flatten()
    assert expected.abs().min() > 0
    torch.testing.assert_close((found @ change).double(), expected, rtol=0.02, atol=0.02 * float(expected.abs().max()))


def test_an_interrupted_run_goes_on_at_the_query_where_it_was(world: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[int] = []
    real = PixelsOutput.differentiate

    def count(output: PixelsOutput, context: Context, network: Any, query: int) -> torch.Tensor:
        done.append(query)
        if done == [0, 1]:
            raise KeyboardInterrupt
        return real(output, context, network, query)

    monkeypatch.setattr(PixelsOutput, "differentiate", count)
    with pytest.raises(KeyboardInterrupt):
        OUTPUTS["pixels"].load(world)
    OUTPUTS["pixels"].load(world)
    assert done == [0, 1, 1, 2, 3]


@pytest.mark.parametrize("name", ["elbo", "elbo, drawn"])
def test_the_bound_is_what_groups_are_scored_by(name: str, world: Context) -> None:
    output = OUTPUTS[name]
    assert isinstance(output, ElboOutput)
    other = replace(world, f1=Trained("other", lambda: world.f0()))
    (terms,) = elbos(other, output.elbo, [world.f1])
    found = output.evaluate(other, world.f1.load())
    torch.testing.assert_close(found[:, 0], terms.sum(1))
    assert output.count_evaluations(world) == {"elbo": 6, "elbo, drawn": 8}[name]
    assert len(output.parts(world)) == {"elbo": 0, "elbo, drawn": 1}[name]


def test_what_other_methods_have_of_the_loss_is_taken(world: Context) -> None:
    output = OUTPUTS["loss"]
    assert isinstance(output, LossOutput)
    assert torch.equal(output.load(world), query_features(world, output.gradients))
    addresses = [plan.address for plan in output.plan(world)]
    assert all(plan.finished for plan in output.plan(world)) and len(addresses) == 1


def test_pixels_are_those_of_the_query_as_it_was_generated(world: Context) -> None:
    """So many directions that the combinations tell of every pixel."""
    many = PixelsOutput("pixels", 4096)
    network = world.f1.load()
    x = world.diffusion.sample(network, [query_generator(world.seed, 2)], (1, 8, 8), Given(torch.eye(4)[2:3]))
    found = many.evaluate(world, network)[2]
    size = x.clamp(-1, 1).square().sum()
    assert x.abs().max() > 1 and float(found.square().sum()) == pytest.approx(float(size), rel=0.15)
    few = PixelsOutput("pixels", 2).evaluate(world, network)[2]
    torch.testing.assert_close(few, found[:2] * 2048**0.5, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("side", [8, 16])
def test_what_moves_a_picture_counts_as_much_as_ssim_falls(side: int, world: Context) -> None:
    """Of small changes, by torchmetrics, for a window as it is and one that does not fit; not as their squares do."""
    rng, shape = generator(0, "test.ssim"), (4, 1, side, side)
    x = (0.5 * normal(rng, *shape)).clamp(-1, 1).double()
    x[:, :, : side // 2] = -1  # where nothing is, SSIM minds the most
    output = SsimOutput("ssim", 1000, SSIM(sigma=1.5, window=11))
    context = replace(world, queries=replace(world.queries, x=x))
    changes = 1e-3 * normal(rng, *shape).double()
    changes[2:, :, : side // 2] = 0
    falls = 1 - output.measure.compare(x, x + changes)
    for query in range(4):
        found = output.combine(context, query, changes[query].numel()).double() @ changes[query].flatten()
        assert float(found.square().sum()) == pytest.approx(float(falls[query]), rel=0.1)
    assert falls[:2].min() > 5 * falls[2:].max()


def test_pixels_must_be_declared(world: Context) -> None:
    undeclared = replace(world, counterfactuals=NoCounterfactuals(frozenset()))
    with pytest.raises(Undeclared, match="generation"):
        OUTPUTS["pixels"].load(undeclared)
    assert Metagradient("metagradient", OUTPUTS["pixels"], "empty", 10.0, None).needs == {"generation"}
    assert Metagradient("metagradient", OUTPUTS["elbo"], "empty", 10.0, None).needs == frozenset()


@pytest.mark.parametrize("sampler", ["ddim", "ancestral", "dpm_solver"])
def test_every_sampler_is_differentiated(sampler: str, world: Context) -> None:
    context = replace(world, diffusion=variant("ddpm", sampler=sampler, timesteps=8, steps=4))
    test_artifacts_hold_the_derivatives_of_all_queries("pixels", context)


def test_guidance_is_differentiated(world: Context) -> None:
    guided = replace(world, queries=replace(world.queries, guidance=2.0, address="guided"))
    test_artifacts_hold_the_derivatives_of_all_queries("pixels", guided)
    output = OUTPUTS["pixels"]
    assert [output.count_evaluations(context) for context in (world, guided)] == [7, 14]


def test_the_items_with_the_highest_scores_move_the_picture_most() -> None:
    """Of all sets of three, where a few of the items move it along one direction."""
    rng = generator(0, "test.moved")
    moved = 0.1 * normal(rng, 5, 10).double()
    moved[:, 2:5] += normal(rng, 5, 1)
    moved = moved - moved.mean(1, keepdim=True)
    scores = OUTPUTS["pixels"].score(torch.stack([moved, -moved]).float())
    best = max(combinations(range(10), 3), key=lambda chosen: float(moved[:, chosen].sum(1).norm()))
    for row in scores:
        assert set(row.topk(3).indices.tolist()) == set(best) == {2, 3, 4}
    assert torch.equal(lead(moved), lead(moved)) and scores.min() < 0


def test_room_and_work_count_every_direction(world: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    method = Metagradient("metagradient", OUTPUTS["pixels"], "empty", 10.0, None)
    asked: list[int] = []

    def count(weights: int, items: int, steps: int, queries: int, step: int) -> room.Room:
        asked.append(queries)
        return room.count_room(weights, items, steps, queries, step)

    monkeypatch.setattr("tdattr.methods.way_back.count_room", count)
    monkeypatch.setattr(room, "find_free_memory", lambda device: 0)
    remedy = r"lower queries\.attributed, method\.output\.directions, trainer\.metagradient_batch, or train less"
    with pytest.raises(UserError, match=remedy):
        method.check_room(lambda: world, tmp_path)
    assert asked == [12]
    (plan,) = method.work(world).needs
    work, one = plan.cost().work, replace(method, output=PixelsOutput("pixels", 1)).work(world).needs[0].cost().work
    assert work.gradients == 3 * one.gradients and work.bytes == 3 * one.bytes
    (first, *_) = plan.cost().needs[len(world.f1.plans) :]
    assert first.cost().work.gradients == 3 * 7


def test_levels_that_are_not_there_are_refused(world: Context) -> None:
    setup = MethodSetup(world.f1.load(), world.diffusion, world.data, 48, world.train)
    far = ElboOutput("elbo", replace(ELBO, t_max=1000))
    with pytest.raises(UserError, match=r"elbo\.t_max=1000 is beyond the last"):
        Metagradient("metagradient", far, "empty", 10.0, None).check(setup)
