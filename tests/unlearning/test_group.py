"""The unlearning of a group: its batches, its plan and its rates, and the whole of it against a plain loop."""

import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import Tensor, nn

from tdattr import checkpoints
from tdattr.configs import typed
from tdattr.data.prepared import Prepared
from tdattr.diffusion.edm import EDM
from tdattr.errors import UserError
from tdattr.networks import NOTHING
from tdattr.training.config import TrainConfig, TrainerConfig
from tdattr.unlearning import group, resume
from tdattr.unlearning.draws import UnlearnBatch
from tdattr.unlearning.group import GroupBatches, GroupUnlearnConfig, order, unlearn_group
from tdattr.unlearning.objectives import Losses, Objective, Step, UnlearnContext
from tdattr.unlearning.objectives.erasediff import EraseDiff
from tdattr.unlearning.saliency import Saliency
from tests.conftest import CONF
from tests.contexts import unused

FORGOTTEN = np.array([1, 4, 5, 9, 13, 20, 21, 30, 31, 40, 44, 47])
RETAINED = np.setdiff1d(np.arange(48), [*FORGOTTEN, 2, 3, 25])  # 33
SETS = {"retain": RETAINED, "forget": FORGOTTEN}
SIZE, SEED = 4, 9
Make = Callable[..., GroupBatches]


@pytest.fixture
def batches(tiny_data: Prepared, edm: EDM, tiny_train: Callable[..., TrainConfig]) -> Make:
    def make(**changes: Any) -> GroupBatches:
        train = tiny_train(mirror=changes.pop("mirror", True), condition_dropout=changes.pop("dropout", 0.3))
        return replace(GroupBatches(tiny_data.train, RETAINED, FORGOTTEN, edm, SIZE, train, SEED, False), **changes)

    return make


def values(batch: UnlearnBatch) -> list[Tensor]:
    """All tensors in it."""
    found = list[Tensor]()
    batch.apply(lambda value: found.append(value) or value)  # type: ignore[func-returns-value]
    return found


def equal(first: UnlearnBatch, second: UnlearnBatch) -> bool:
    return all(torch.equal(one, other) for one, other in zip(values(first), values(second), strict=True))


def test_every_item_once_per_epoch_of_its_own_set(batches: Make) -> None:
    made = batches()
    for role, ids in SETS.items():
        steps = len(ids) // SIZE
        epochs = [[getattr(made[e * steps + i], role).ids for i in range(steps)] for e in range(3)]  # type: ignore[index]
        assert all(len(part) == SIZE for epoch in epochs for part in epoch)
        orders = [torch.cat(epoch).tolist() for epoch in epochs]
        for each in orders:
            assert len(set(each)) == len(each) == steps * SIZE
            assert set(each) <= set(ids.tolist())
        assert len({tuple(each) for each in orders}) == 3
        assert len(orders[0]) > len(ids) - SIZE  # nothing but what fills no batch is left out


def test_items_come_with_their_images_conditions_and_their_own_noise(batches: Make, tiny_data: Prepared) -> None:
    made, split = batches(), tiny_data.train
    mirrored, dropped, levels, noise = [], [], [], []
    for step in range(60):
        for role in SETS:
            part = getattr(made[step], role)
            assert part.given.augmentation is None and part.given.drop is not None
            plain = split.images(part.ids.numpy())
            for x, image in zip(part.x, plain, strict=True):
                mirrored.append(torch.equal(x, image.flip(2)))
                assert mirrored[-1] or torch.equal(x, image)
            assert part.mirrored.tolist() == mirrored[-SIZE:]
            assert torch.equal(part.given.condition, split.condition(part.ids.numpy()))
            dropped += part.given.drop.tolist()
            levels += part.level.tolist()
            noise.append(part.noise)
    count = 60 * 2 * SIZE
    assert len(set(levels)) == count
    assert torch.pdist(torch.cat(noise).flatten(1)).min() > 1
    assert np.mean(np.log(levels)) == pytest.approx(-1.2, abs=5 * 1.2 / count**0.5)
    assert np.mean(mirrored) == pytest.approx(0.5, abs=2.5 / count**0.5)
    assert np.mean(dropped) == pytest.approx(0.3, abs=2.5 / count**0.5)
    assert abs(np.corrcoef(mirrored, dropped)[0, 1]) < 5 / count**0.5
    plain = batches(mirror=False, dropout=0.0)[0].retain
    assert not plain.mirrored.any()
    assert torch.equal(plain.x, split.images(plain.ids.numpy())) and not plain.given.drop.any()
    assert batches(split=replace(split, conditions=None))[0].forget.given == NOTHING


def test_a_batch_depends_on_its_step_and_the_seed_alone(batches: Make) -> None:
    made = batches()
    straight = [made[step] for step in range(20)]
    order.cache_clear()
    assert all(equal(batches()[step], straight[step]) for step in (19, 3, 11))
    other = batches(seed=SEED + 1)[3]
    for role in SETS:
        one, two = getattr(other, role), getattr(straight[3], role)
        assert not torch.isin(one.level, two.level).any()
        assert not torch.equal(one.ids, two.ids)


def test_a_small_set_gives_small_batches(batches: Make) -> None:
    made = batches(forgotten=FORGOTTEN[:3], batch_size=8)
    for step in range(4):
        assert sorted(made[step].forget.ids.tolist()) == FORGOTTEN[:3].tolist()
        assert len(made[step].forget.noise) == 3
        assert len(made[step].retain.ids) == 8


def test_coupled_batches_of_two_groups_differ_in_what_was_removed_alone(batches: Make) -> None:
    everything = np.union1d(RETAINED, FORGOTTEN)
    other = everything[::5]
    first = batches(coupled=True)
    second = batches(coupled=True, retained=np.setdiff1d(everything, other), forgotten=other)
    redrawn = 0
    for step in range(30):
        one, two = first[step].retain, second[step].retain
        assert not np.isin(one.ids, FORGOTTEN).any() and not np.isin(two.ids, other).any()
        assert torch.equal(one.noise, two.noise) and torch.equal(one.level, two.level)
        differ = one.ids != two.ids
        redrawn += int(differ.sum())
    assert 0.3 < redrawn / (30 * SIZE) < 0.6  # the share of items that either lacks
    assert len({int(each) for step in range(11) for each in first[step].retain.ids}) > 0.6 * len(RETAINED)


def config(**changes: Any) -> GroupUnlearnConfig:
    settings = ["dataset=cifar10", "method=guda_u"]  # whose recipe has the published values
    with initialize_config_dir(str(CONF), version_base="1.3"):
        node = compose("config", settings).method.unlearn
    given = OmegaConf.to_container(node, resolve=True)
    return typed(GroupUnlearnConfig, given | changes, "method.unlearn")  # type: ignore[operator]


def test_the_number_of_steps() -> None:
    published = config()
    assert (published.length, published.unit, published.points, published.choose(None)) == (30, "epoch", [30], 30)
    assert published.count_steps(30, 45000, 5000) == 30 * 39
    assert published.count_steps(1, 5000, 45000) == 39
    assert published.count_steps(4, 1000, 100) == 4
    assert published.count_steps(1, 1000, 256) == 2
    steps = config(epochs=None, steps=7, kept=[2])
    assert (steps.length, steps.unit, steps.points) == (7, "step", [2, 7])
    assert steps.count_steps(7, 45000, 5000) == 7


def test_the_rate() -> None:
    published = config()
    assert published.learning_rate * published.factor(45000, 5000)(1169) == pytest.approx(2.34e-6)
    short = {"epochs": None, "steps": 24}
    factor = config(**short, schedule_steps=None, warmup_steps=4).factor(9, 9)
    assert [factor(step) for step in range(5)] == pytest.approx([0.25, 0.5, 0.75, 1, 1])
    assert [factor(step) for step in (9, 14, 19, 24, 400)] == pytest.approx(
        [(1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2, 0, 0]
    )
    assert config(**short, schedule_steps=44, warmup_steps=4).factor(9, 9)(24) == pytest.approx(0.5)
    constant = config(**short, schedule="constant", warmup_steps=2).factor(9, 9)
    assert [constant(step) for step in range(4)] == [0.5, 1, 1, 1]
    assert config(schedule="constant", warmup_steps=0).factor(9, 9)(0) == 1


def test_the_rate_is_planned_for_all_epochs_however_many_are_kept() -> None:
    planned = [config(schedule_steps=None, warmup_steps=0, kept=kept).factor(1000, 256) for kept in ([10], [])]
    assert [factor(30) for factor in planned] == pytest.approx([0.5, 0.5])  # of 60 steps


def test_bad_values() -> None:
    choices: list[dict[str, Any]] = [{"optimizer": "sgd"}, {"schedule": "linear"}, {"retain": "both"}]
    for change in choices:
        with pytest.raises(UserError, match=rf"^method\.unlearn\.{next(iter(change))}=.* is unknown: choose"):
            config(**change)
    for kept in ([31], [30, 60]):
        with pytest.raises(UserError, match=r"^method\.unlearn\.kept=.* must be some of the 30 epochs"):
            config(kept=kept)
    for lengths in ({"steps": 7}, {"epochs": None}):  # the recipe's epochs would count silently, or nothing
        with pytest.raises(UserError, match=r"^method\.unlearn\.epochs.*: give one of them"):
            config(**lengths)


class Run(Objective):
    """Unlearns with an objective that notes what it is given."""

    name = "noted"

    def __init__(self, context: UnlearnContext, train: TrainConfig, trainer: TrainerConfig) -> None:
        self.context, self.train, self.trainer = context, train, trainer
        self.batches, self.modes = list[UnlearnBatch](), list[bool]()
        self.window: tuple[float, float] | None = None

    check = unused

    def level_window(self) -> tuple[float, float] | None:
        return self.window

    def loss(self, network: nn.Module, batch: UnlearnBatch) -> Tensor:
        kept, gone = (self.context.diffusion.loss(network, *getattr(batch, role).inputs[:3]).mean() for role in SETS)
        return kept - 0.1 * gone

    def begin(self, context: UnlearnContext) -> Step:
        def step(network: nn.Module, batch: UnlearnBatch) -> Losses:
            self.batches.append(batch)
            self.modes.append(network.training)
            loss = self.loss(network, batch)
            return Losses(loss, retain=loss)

        return step

    def framework(self, network: nn.Module, config: GroupUnlearnConfig) -> list[dict[str, float]]:
        self.kept = dict[int, dict[str, Tensor]]()

        def keep(point: int) -> None:
            self.kept[point] = deepcopy(network.state_dict())

        with TemporaryDirectory() as folder:
            return unlearn_group(network, self, self.context, config, self.train, self.trainer, keep, Path(folder))

    def plain(self, network: nn.Module, config: GroupUnlearnConfig, steps: int) -> nn.Module:
        made = GroupBatches(
            self.context.split, RETAINED, FORGOTTEN, self.context.diffusion, SIZE, self.train, SEED, False
        )
        kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[config.optimizer]
        optimizer = kind(network.requires_grad_(True).parameters(), lr=1.0, weight_decay=config.weight_decay)
        for step in range(steps):
            optimizer.param_groups[0]["lr"] = config.learning_rate * config.factor(len(RETAINED), len(FORGOTTEN))(step)
            optimizer.zero_grad()
            self.loss(network, made[step]).backward()
            if config.clip is not None:
                torch.nn.utils.clip_grad_norm_(network.parameters(), config.clip)
            optimizer.step()
        return network


@pytest.fixture
def run(
    tiny_data: Prepared, edm: EDM, tiny_train: Callable[..., TrainConfig], tiny_trainer: Callable[..., TrainerConfig]
) -> Run:
    context = UnlearnContext(edm, tiny_data.train, RETAINED, FORGOTTEN, unused, torch.device("cpu"), SEED, "loss")
    return Run(context, tiny_train(mirror=True), tiny_trainer())


def small(**changes: Any) -> GroupUnlearnConfig:
    given = {
        "epochs": None if changes.get("steps") else 2,
        "batch_size": SIZE,
        "learning_rate": 1e-3,
        "weight_decay": 0.1,
        "dropout": False,
    }
    return config(**(given | {"schedule_steps": 9, "warmup_steps": 2} | changes))


def moved(network: nn.Module, start: nn.Module) -> Tensor:
    pairs = zip(network.parameters(), start.parameters(), strict=True)
    return torch.cat([(now - then).flatten() for now, then in pairs]).detach()


@pytest.mark.parametrize(
    "changes",
    [{}, {"optimizer": "adam", "weight_decay": 0.0}, {"clip": 1e-7}, {"schedule": "constant", "steps": 3}],
)
def test_against_a_plain_loop(run: Run, tiny_dit: Callable[..., nn.Module], changes: dict[str, Any]) -> None:
    start = tiny_dit(4, spread=0.1, dropout=0.5)
    network, wanted, steps = deepcopy(start), small(**changes), changes.get("steps", 2 * 3)
    written = run.framework(network, wanted)
    expected = moved(run.plain(deepcopy(start), wanted, steps), start)
    assert float((moved(network, start) - expected).norm()) < 2e-3 * float(expected.norm())
    assert run.modes == [False] * steps
    assert [row["step"] for row in written] == list(range(steps)) and set(written[0]) == {"step", "retain"}
    assert not any(parameter.requires_grad for parameter in network.parameters()) and not network.training


def test_clipping_limits_the_update(run: Run, tiny_dit: Callable[..., nn.Module]) -> None:
    lengths = []
    for clip in (None, 1e-9):  # far below the 1e-8 that Adam adds to the root of a squared gradient
        network = tiny_dit(4, spread=0.1)
        run.framework(network, small(clip=clip, weight_decay=0.0))
        lengths.append(float(moved(network, tiny_dit(4, spread=0.1)).norm()))
    assert lengths[1] < 0.01 * lengths[0]


def test_dropout_is_on_where_it_is_wanted(run: Run, tiny_dit: Callable[..., nn.Module]) -> None:
    off, on = (tiny_dit(4, spread=0.1, dropout=0.5) for _ in range(2))
    run.framework(off, small(dropout=False, steps=2))
    run.framework(on, small(dropout=True, steps=2))
    assert run.modes == [False, False, True, True]
    assert equal(run.batches[1], run.batches[3])
    assert not torch.equal(moved(on, off), torch.zeros(()).expand_as(moved(on, off)))
    assert not on.training


def test_the_log_of_a_long_unlearning_is_short_and_has_the_last_step(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group, "LOGGED_STEPS", 5)

    class Pixelwise(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, x: Tensor, *_: Any) -> Tensor:
            return self.scale * x

    steps = 14
    written = [row["step"] for row in run.framework(Pixelwise(), small(steps=steps))]
    assert written == [*range(0, steps, 2), steps - 1]


def test_a_loss_that_is_no_number_ends_it(run: Run, tiny_dit: Callable[..., nn.Module]) -> None:
    run.loss = lambda network, batch: Run.loss(run, network, batch) * math.inf  # type: ignore[method-assign]
    with pytest.raises(UserError, match=r": the loss is not finite at step 0; lower the learning rate"):
        run.framework(tiny_dit(), small())


def test_the_objective_says_between_which_levels_batches_are_drawn(
    run: Run, tiny_dit: Callable[..., nn.Module]
) -> None:
    run.window = (0.2, 0.4)
    run.framework(tiny_dit(4), small(steps=3))
    levels = torch.cat([getattr(batch, role).level for batch in run.batches for role in SETS])
    assert len(levels) == 3 * 2 * SIZE and 0.2 <= float(levels.min()) <= float(levels.max()) <= 0.4


@pytest.mark.parametrize(("changes", "kept"), [({"epochs": 3}, [1]), ({"steps": 9}, [3])])
def test_weights_are_kept_along_the_way(
    run: Run, tiny_dit: Callable[..., nn.Module], changes: dict[str, Any], kept: list[int]
) -> None:
    """As those of an unlearning with the same plan that ends there."""
    network, wanted = tiny_dit(4, spread=0.1), small(**changes, kept=kept)
    run.framework(network, wanted)
    several = run.kept
    assert list(several) == wanted.points and len(run.batches) == 9
    for point, steps in zip(wanted.points, (3, 9), strict=True):
        expected = moved(run.plain(tiny_dit(4, spread=0.1), wanted, steps), tiny_dit(4, spread=0.1))
        at_point = tiny_dit(4, spread=0.1)
        at_point.load_state_dict(several[point])
        assert float((moved(at_point, tiny_dit(4, spread=0.1)) - expected).norm()) < 2e-3 * float(expected.norm())
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in several[wanted.length].items())


@pytest.mark.parametrize("killed_at", [1, 4, 8])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"dropout": True, "mask": Saliency("saliency", 0.5, 2)},
        {"optimizer": "adam", "weight_decay": 0.0, "clip": 0.1},
    ],
)
def test_an_interrupted_unlearning_ends_at_the_same_weights(
    run: Run,
    tiny_dit: Callable[..., nn.Module],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    killed_at: int,
    changes: dict[str, Any],
) -> None:
    """Under an objective that draws noise of its own, step after step."""
    caplog.set_level("INFO")
    monkeypatch.setattr(checkpoints, "INTERVAL_SECONDS", 0.0)
    objective, mask = EraseDiff("erasediff", 0.5), changes.get("mask")
    wanted = replace(small(steps=9, kept=[3], **(changes | {"mask": None})), mask=mask)

    def unlearn(folder: Path, end: int | None = None) -> tuple[dict[int, dict[str, Tensor]], Any]:
        folder.mkdir(exist_ok=True)
        network = tiny_dit(4, spread=0.1, dropout=0.5)

        def keep(point: int) -> None:
            kept[point] = deepcopy(network.state_dict())

        with monkeypatch.context() as patch:
            write = resume.Checkpoints.write

            def die(self: Any, steps: int, *rest: Any) -> None:
                if steps == end:
                    raise KeyError("killed")
                write(self, steps, *rest)

            patch.setattr(resume.Checkpoints, "write", die)
            return kept, unlearn_group(network, objective, run.context, wanted, run.train, run.trainer, keep, folder)

    kept: dict[int, dict[str, Tensor]] = {}
    _, log = unlearn(tmp_path / "whole")
    whole, kept = kept, {}
    with pytest.raises(KeyError):
        unlearn(tmp_path / "killed", killed_at)
    assert unlearn(tmp_path / "killed")[1] == log
    assert (f"Unlearning resumes after {killed_at - 1} of 9 steps." in caplog.text) == (killed_at > 1)
    assert kept.keys() == whole.keys() == {3, 9}
    assert all(torch.equal(value, kept[point][name]) for point in whole for name, value in whole[point].items())
