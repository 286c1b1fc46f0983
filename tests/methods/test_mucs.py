"""MUCS against its formulas, and the whole of it against a plain loop in bare PyTorch."""

import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from tdattr.configs import build
from tdattr.data.prepared import Prepared
from tdattr.diffusion.edm import EDM
from tdattr.errors import UserError
from tdattr.methods import Context, MethodSetup
from tdattr.methods.mucs import MUCS
from tdattr.methods.shift_config import skew
from tdattr.methods.shift_noise import generation_part
from tdattr.networks import Given
from tdattr.seeding import generator, normal
from tdattr.store import Store
from tdattr.training.config import TrainConfig, TrainerConfig
from tests.contexts import keep
from tests.methods.plain import MLP, loss_of, schedule

YAML = Path(__file__).parents[2] / "conf" / "method" / "mucs.yaml"
SEED = 11
IDS = np.setdiff1d(np.arange(48), [5, 6, 30])
PAIRS, BATCH, NULL_BATCHES = 6, 12, 3


def method(**changes: Any) -> MUCS:
    """The YAML's method, made small; names with dots change values."""
    small = {
        "null_loss.batches": NULL_BATCHES,
        "null_loss.batch_size": BATCH,
        "unlearn.batch_size": BATCH,
        "unlearn.learning_rate_factor": 5.0,
        "unlearn.max_steps": 40,
        "score.pairs": PAIRS,
    }
    config = OmegaConf.load(YAML)
    for name, value in (small | changes).items():
        OmegaConf.update(config, name, value)
    return build(config, "method")


def queries() -> Tensor:
    """Three images that are easy to learn."""
    coarse = torch.tanh(normal(generator(SEED, "test.queries"), 3, 1, 2, 2) * 2)
    return coarse.repeat_interleave(4, 2).repeat_interleave(4, 3)


@pytest.fixture(scope="module")
def trained(tiny_data: Prepared, tiny_dit: Callable[..., nn.Module], edm: EDM) -> nn.Module:
    """A network that has learned the queries, so that there is something to forget; its dropout must not be used."""
    network = tiny_dit(4, spread=0.02, dropout=0.2)
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    x = torch.cat([tiny_data.train.images(IDS), queries().repeat(8, 1, 1, 1)])
    condition = torch.cat([tiny_data.train.condition(IDS), torch.eye(4)[:3].repeat(8, 1)])  # type: ignore[list-item]
    for step in range(100):
        rng = generator(SEED, "test.train", step)
        loss = edm.loss(network, x, edm.training_levels(rng, len(x)), normal(rng, *x.shape), Given(condition)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.requires_grad_(False)


class World:
    """A context whose store is real and which remembers the networks that it handed out."""

    def __init__(self, context: Context, store: Store, handed: list[nn.Module]) -> None:
        self.context, self.store, self.handed = context, store, handed


@pytest.fixture
def world(
    make_context: Callable[..., Context],
    trained: nn.Module,
    tiny_dit: Callable[..., nn.Module],
    tiny_train: Callable[..., TrainConfig],
    tiny_trainer: Callable[..., TrainerConfig],
    tmp_path: Path,
) -> World:
    store, handed = Store(tmp_path, "cpu"), []

    def f1() -> nn.Module:
        handed.append(deepcopy(trained))
        return handed[-1]

    context = make_context(
        ids=IDS,
        images=queries(),
        conditions=torch.eye(4)[:3],
        f1=f1,
        f0=lambda: tiny_dit(4, dropout=0.2),
        train=tiny_train(learning_rate=2e-3, weight_decay=0.05),
        trainer=tiny_trainer(scoring_batch=20),
        seed=SEED,
        plan=keep(store, model="f1"),
    )
    return World(context, store, handed)


class Dense:
    """MUCS as a plain loop: everything in memory, one network, one optimiser, no framework."""

    def __init__(self, world: World, trained: nn.Module) -> None:
        self.context, self.trained = world.context, trained
        split = self.context.data.train
        self.x = torch.from_numpy(np.array(split.pixels)).permute(0, 3, 1, 2).float() / 127.5 - 1
        self.c = torch.from_numpy(np.array(split.conditions))[:, 0]
        self.null = np.mean([self.null_batch(index) for index in range(NULL_BATCHES)])
        rng = generator(SEED, "mucs.score")
        schedule = 142 * PAIRS // 100
        ramp = torch.arange(PAIRS) / (schedule - 1)
        self.sigma = (80 ** (1 / 7) + ramp * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
        self.noise = normal(rng, PAIRS, 1, 8, 8)

    @staticmethod
    def levels(rng: np.random.Generator, count: int) -> Tensor:
        return (normal(rng, count) * 1.2 - 1.2).exp()

    def training_batch(self, rng: np.random.Generator) -> tuple[Tensor, ...]:
        chosen = rng.choice(IDS, BATCH, replace=False)
        return self.x[chosen], self.levels(rng, BATCH), normal(rng, BATCH, 1, 8, 8), self.c[chosen]

    def null_batch(self, index: int) -> float:
        with torch.no_grad():
            return float(loss_of(self.context.f0(), *self.training_batch(generator(SEED, "mucs.null", index))).mean())

    def unlearned(
        self, query: int, most: int, stop: float = 0.95, check_first: bool = False
    ) -> tuple[nn.Module, int, float]:
        """The unlearned network, the steps that it took, and the query's last clamped loss."""
        network = deepcopy(self.trained).eval()
        weights = [parameter for name, parameter in network.named_parameters() if name in MLP]
        for weight in weights:
            weight.requires_grad_(True)
        optimizer = torch.optim.AdamW(weights, lr=2e-3 * 5.0, weight_decay=0.05)
        steps, forgotten = 0, 0.0
        while steps < most:
            rng = generator(SEED, "mucs.unlearn", query, steps)
            retain = loss_of(network, *self.training_batch(rng)).mean()
            x = self.context.queries.images[query].expand(BATCH, -1, -1, -1)
            c = torch.eye(4)[query].expand(BATCH, -1)
            forget = loss_of(network, x, self.levels(rng, BATCH), normal(rng, BATCH, 1, 8, 8), c)
            forget = forget.clamp(max=self.null).mean()
            forgotten = forget.item()
            if check_first and forgotten >= stop * self.null:
                break
            optimizer.zero_grad()
            (retain - 0.2 * forget).backward()
            optimizer.step()
            steps += 1
            if forgotten >= stop * self.null:
                break
        return network, steps, forgotten

    def losses(self, network: nn.Module) -> Tensor:
        """Every item at every pair."""
        rows = []
        with torch.no_grad():
            for index in IDS:
                x, c = self.x[index].expand(PAIRS, -1, -1, -1), self.c[index].expand(PAIRS, -1)
                rows.append(loss_of(network, x, self.sigma, self.noise, c))
        return torch.stack(rows)

    def scores(self, network: nn.Module) -> Tensor:
        before, after = self.losses(self.trained), self.losses(network)
        return ((after - before) / (after.abs() + before.abs() + 1e-3)).mean(1)


def test_generation_part_is_the_noisy_end_of_the_schedule(edm: EDM) -> None:
    for pairs, share, points in ((100, 0.7, 142), (6, 0.7, 8), (10, 1.0, 10), (3, 0.5, 6)):
        levels = generation_part(edm, pairs, share)
        i = np.arange(pairs)
        expected = (80 ** (1 / 7) + i / (points - 1) * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
        np.testing.assert_allclose(levels, expected, rtol=1e-5)


def test_skew() -> None:
    rng = np.random.default_rng(0)
    before, after = rng.exponential(size=(2, 7, 5))
    expected = ((after - before) / (np.abs(after) + np.abs(before) + 1e-3)).mean(1)
    found = skew(torch.from_numpy(before), torch.from_numpy(after), 1e-3)
    np.testing.assert_allclose(found.mean(1), expected)
    assert skew(torch.ones(1, 2), torch.tensor([[3.0, 1.0]]), 0.0).mean(1).tolist() == [0.25]  # (2/4 + 0/2) / 2
    assert skew(torch.zeros(1, 2), torch.zeros(1, 2), 1e-3).mean(1).tolist() == [0]


def test_null_loss_is_that_of_a_network_that_says_nothing(world: World) -> None:
    x = world.context.data.train.images(IDS).double()
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    s = np.exp(1.2 * nodes - 1.2)
    # D = c_skip (x + s n): the mean over n of the weighted square is (s^2 E[x^2] + sd^4) / (sd^2 (s^2 + sd^2))
    at = (s**2 * float((x**2).mean()) + 0.5**4) / (0.25 * (s**2 + 0.25))
    expected = float((weights * at).sum() / weights.sum())
    found = method(**{"null_loss.batches": 60, "null_loss.batch_size": 40}).estimate_null_loss(world.context)
    assert found == pytest.approx(expected, rel=0.02)


def test_the_null_loss_is_that_at_the_levels_of_the_unlearning(world: World) -> None:
    x = world.context.data.train.images(IDS).double()
    s = schedule(1000, 1000).double()
    s = s[s >= s[499]]  # most of the noisier half of all draws
    expected = float(((s**2 * float((x**2).mean()) + 0.5**4) / (0.25 * (s**2 + 0.25))).mean())
    along = {"unlearn.levels": "generation", "unlearn.schedule_share": 0.5}
    found = method(**along, **{"null_loss.batches": 60, "null_loss.batch_size": 40}).estimate_null_loss(world.context)
    assert found == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("check", ["after", "before"])
def test_the_whole_against_a_plain_loop(world: World, trained: nn.Module, check: str) -> None:
    scorer = method(**{"unlearn.check": check}).start(world.context)
    dense = Dense(world, trained)
    taken = []
    for query in (2, 0):
        scored = scorer(query)
        network, steps, forgotten = dense.unlearned(query, 40, check_first=check == "before")
        assert scored.facts["unlearning_steps"] == steps
        assert scored.facts["capped"] == 0
        assert scored.facts["forgotten"] == pytest.approx(forgotten / dense.null, rel=1e-4)
        assert scored.scores.shape == (len(IDS),)
        assert scored.scores.std() > 1e-3
        torch.testing.assert_close(scored.scores, dense.scores(network), atol=1e-5, rtol=0)
        taken.append(steps)
    assert min(taken) > 1
    assert max(taken) < 40


def test_the_cap_is_reported(world: World, trained: nn.Module) -> None:
    scored = method(**{"unlearn.stop": 1.1, "unlearn.max_steps": 3}).start(world.context)(1)
    assert (scored.facts["unlearning_steps"], scored.facts["capped"]) == (3, 1)
    assert scored.facts["forgotten"] <= 1
    network, steps, _ = Dense(world, trained).unlearned(1, 3, 1.1)
    assert steps == 3
    torch.testing.assert_close(scored.scores, Dense(world, trained).scores(network), atol=1e-5, rtol=0)


def test_checking_before_saves_the_step_that_finds_the_goal_reached(world: World) -> None:
    goal_met_at_once = {"unlearn.stop": 0.0}
    after = method(**goal_met_at_once, **{"unlearn.check": "after"}).start(world.context)(0)
    before = method(**goal_met_at_once, **{"unlearn.check": "before"}).start(world.context)(0)
    assert (after.facts["unlearning_steps"], before.facts["unlearning_steps"]) == (1, 0)
    assert after.facts["capped"] == before.facts["capped"] == 0
    assert before.scores.abs().max() < 1e-5 < after.scores.abs().max()


@pytest.mark.parametrize("part", ["mlp", "block", "all"])
def test_nothing_but_the_chosen_part_is_unlearned(world: World, trained: nn.Module, part: str) -> None:
    method(**{"unlearn.trainable": part, "unlearn.stop": 1.1, "unlearn.max_steps": 2}).start(world.context)(0)
    unlearned = world.handed[-1].state_dict()
    changed = {name for name, value in trained.state_dict().items() if not torch.equal(value, unlearned[name])}
    assert changed.issuperset(MLP)
    if part == "mlp":
        assert changed == set(MLP)
    elif part == "block":
        assert {"blocks.0.attn.qkv.weight", "blocks.0.modulation.bias", "condition.0.bias"} < changed
        assert all(name.startswith(("blocks.", "condition.")) for name in changed)
    else:
        assert {"sigma.0.weight", "embed.weight", "unpatch.bias"} < changed


def test_f1_itself_is_left_alone(world: World, trained: nn.Module) -> None:
    before = deepcopy(trained.state_dict())
    method(**{"unlearn.max_steps": 2}).start(world.context)(0)
    assert all(torch.equal(value, before[name]) for name, value in trained.state_dict().items())


def test_the_losses_of_f1_are_computed_once(world: World) -> None:
    mucs = method(**{"unlearn.max_steps": 1})
    scorer = mucs.start(world.context)
    assert len(world.store.built) == 1
    assert len(world.handed) == 1
    first = [scorer(query).scores for query in range(3)]
    assert len(world.store.built) == 1
    assert len(world.handed) == 1 + 3
    again = mucs.start(world.context)  # as a run that was interrupted does
    assert len(world.store.built) == 1
    assert len(world.handed) == 4
    assert torch.equal(again(1).scores, first[1])


def test_other_pairs_are_other_losses(world: World) -> None:
    for changes in ({}, {"score.pairs": 5}, {"score.schedule_share": 0.9}):
        method(**changes).start(world.context)
    assert len(world.store.built) == 3


def test_a_query_does_not_depend_on_those_before_it(world: World) -> None:
    mucs = method(**{"unlearn.max_steps": 2})
    scorer = mucs.start(world.context)
    in_order = [scorer(query).scores for query in range(3)]
    assert torch.equal(mucs.start(world.context)(2).scores, in_order[2])
    assert not torch.allclose(in_order[0], in_order[1], atol=1e-3)


def test_scores_do_not_depend_on_the_scoring_batch(world: World) -> None:
    mucs = method(**{"unlearn.max_steps": 2})
    expected = mucs.start(world.context)(0).scores
    for size in (1, 1000):
        trainer = replace(world.context.trainer, scoring_batch=size)
        fresh = Store(world.store.root / str(size), "cpu")
        found = mucs.start(replace(world.context, trainer=trainer, plan=keep(fresh)))(0).scores
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_what_cannot_work_is_refused_before_training(make_setup: Callable[..., MethodSetup]) -> None:
    method().check(make_setup(items=BATCH))
    for name in ("unlearn.batch_size", "null_loss.batch_size"):
        with pytest.raises(UserError, match=r"13 different training items .* there are 12: lower method.unlearn.batch"):
            method(**{name: 13}).check(make_setup(items=12))
    with pytest.raises(UserError, match=r"no part 'head'"):
        method(**{"unlearn.trainable": "head"}).check_network(make_setup().network)
    with pytest.raises(UserError, match=r"method.unlearn.check=never is unknown: choose before or after"):
        method(**{"unlearn.check": "never"})
    for share in (0.0, 1.1, -0.5):
        with pytest.raises(UserError, match=r"method.score.schedule_share="):
            method(**{"score.schedule_share": share})


def test_published_figures() -> None:
    config = build(OmegaConf.load(YAML), "method")
    assert (config.null_loss.batches, config.null_loss.batch_size) == (20, 100)
    unlearn = config.unlearn
    assert (unlearn.weight, unlearn.batch_size, unlearn.learning_rate_factor, unlearn.stop) == (0.2, 100, 0.1, 0.95)
    assert (unlearn.trainable, unlearn.check) == ("mlp", "after")
    assert (config.score.pairs, config.score.schedule_share, config.score.epsilon) == (100, 0.7, 1e-3)
    assert math.floor(config.score.pairs / config.score.schedule_share) == 142
