"""MUCS's options one by one against a plain loop, and the ablations that set them."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from tdattr.configs import build
from tdattr.diffusion.edm import EDM
from tdattr.errors import UserError
from tdattr.methods import MethodSetup
from tdattr.methods.instance_weights import ExponentialWeights, InstanceWeights, SkipMostSimilar
from tdattr.methods.mucs import MUCS
from tdattr.seeding import generator, normal
from tdattr.training.augmentation import augment
from tdattr.training.config import AugmentationConfig, TrainConfig
from tdattr.unlearning.draws import generation_draw
from tdattr.unlearning.mirrored import MirroredBatches
from tests.methods.plain import MLP, Rows, loss_of, schedule, training_levels
from tests.methods.shifts import IDS, PAIRS, SEED, World, dense

ROOT = Path(__file__).parents[2]
BATCH, STEPS, SHARPNESS, SKIPPED = 5, 3, 2.0, 0.4
OPTIONS: dict[str, dict[str, Any]] = {
    "none": {},
    "levels": {"levels": "generation", "schedule_share": 1.0},
    "part of the levels": {"levels": "generation", "schedule_share": 0.6},
    "shared_noise": {"shared_noise": True},
    "augment": {"augment": True},
    "exponential weights": {"instance_weights": ExponentialWeights(Rows(), SHARPNESS)},
    "instance_weights": {"instance_weights": SkipMostSimilar(Rows(), SKIPPED)},
    "stop": {"stop": None},
}
OPTIONS["all"] = {name: value for option in OPTIONS.values() for name, value in option.items()}
ABLATIONS: dict[str, dict[str, Any]] = {
    "augment": {"method.unlearn.augment": True, "train.augmentation.enabled": True},
    "auto_schedule": {"method.score.schedule_share": "auto"},
    "auto_unlearn_levels": {"method.unlearn.levels": "generation", "method.unlearn.schedule_share": "auto"},
    "block": {"method.unlearn.trainable": "block"},
    "fresh_noise": {"method.score.consistent": False},
    "full_schedule": {"method.score.schedule_share": 1.0},
    "moved_pairs": {"method.score.schedule_share": 1.0, "method.score.kept": "moved"},
    "no_null_loss": {"method.unlearn.stop": None, "method.unlearn.max_steps": 109},
    "shared_noise": {"method.unlearn.shared_noise": True},
    "subtraction": {"method.score.form": "difference", "method.score.epsilon": None},
    "training_levels": {"method.score.levels": "training", "method.score.schedule_share": None},
    "unlearn_levels": {"method.unlearn.levels": "generation", "method.unlearn.schedule_share": 1.0},
    "weight_0.1": {"method.unlearn.weight": 0.1},
    "weight_0.3": {"method.unlearn.weight": 0.3},
}


def method(**changes: Any) -> MUCS:
    """The YAML's method, made small, its goal out of reach; names change values of ``unlearn``."""
    config = OmegaConf.load(ROOT / "conf" / "method" / "mucs.yaml")
    small = {"batch_size": BATCH, "max_steps": STEPS, "learning_rate_factor": 30.0, "stop": 1.1}
    OmegaConf.update(config, "unlearn", small)
    OmegaConf.update(config, "null_loss", {"batches": 2, "batch_size": BATCH})
    OmegaConf.update(config, "score.pairs", PAIRS)
    built = build(config, "method")
    return replace(built, unlearn=replace(built.unlearn, **changes))


@pytest.fixture
def strong(world: World, augmentation: Callable[..., AugmentationConfig], tiny_dit: Callable[..., nn.Module]) -> World:
    """With an F0, and a training that augmented often."""
    train = replace(world.context.train, augmentation=augmentation(probability=0.4))
    return replace(world, context=replace(world.context, train=train, f0=lambda: tiny_dit(4)))


def weights_of(world: World, rule: InstanceWeights, query: int, chosen: np.ndarray, given: Tensor) -> Tensor:
    """From the cosines of the mean rows, with a mean of 1."""
    image = world.context.queries.images[query].mean((0, 2))
    items = torch.from_numpy(world.context.data.train.pixels[chosen] / 127.5 - 1).mean((2, 3))
    similar = torch.cosine_similarity(items, image[None].double()).numpy()
    if isinstance(rule, ExponentialWeights):
        found = np.exp(SHARPNESS * similar)
    else:  # conditions are one-hot, but not of length 1
        classes = given.double().numpy()
        similar = similar + np.sqrt(np.maximum(classes[:, query] / np.linalg.norm(classes, axis=1), 0))
        lower, upper = np.sort(similar)[2:4]
        found = (similar <= lower + 0.4 * (upper - lower)).astype(float)  # 0.6 of the way from the first to the fifth
        assert found.sum() == 3
    return torch.from_numpy(found / found.mean()).float()


def unlearned(world: World, wanted: MUCS, query: int) -> nn.Module:
    """A copy of F1 after a plain loop."""
    options, train = wanted.unlearn, world.context.data.train
    null = float("inf") if options.stop is None else wanted.estimate_null_loss(world.context)
    network = deepcopy(world.f1)
    optimizer = torch.optim.AdamW(
        [network.get_parameter(name).requires_grad_(True) for name in MLP], 3e-2, weight_decay=0.01
    )

    def losses(x: Tensor, sigma: Tensor, noise: Tensor, given: Tensor, rng: np.random.Generator) -> Tensor:
        x, label = augment(x, world.context.train.augmentation, rng) if options.augment else (x, None)
        return loss_of(network, x, sigma, noise, given, label)

    def noised(rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        if options.levels == "generation":
            drawn = rng.integers(1000, size={1.0: BATCH, 0.6: 8}[options.schedule_share])  # 5 / 0.6 = 8.3
            kept = sorted(sorted(range(len(drawn)), key=lambda index: (drawn[index], index))[:BATCH])
            return schedule(1000, 1000)[drawn[kept]], normal(rng, BATCH, 1, 8, 8)
        return training_levels(rng, BATCH), normal(rng, BATCH, 1, 8, 8)

    for step in range(STEPS):
        rng = generator(SEED, "mucs.unlearn", query, step)
        chosen = rng.choice(IDS, BATCH, replace=False)
        given = torch.from_numpy(np.array(train.conditions)[chosen, 0])
        first, second = noised(rng), noised(rng)
        retain = losses(train.images(chosen), *first, given, rng)
        if options.instance_weights is not None:
            retain = retain * weights_of(world, options.instance_weights, query, chosen, given)
        copies, given = world.context.queries.x[query].expand(BATCH, -1, -1, -1), torch.eye(4)[query].expand(BATCH, -1)
        forget = losses(copies, *(first if options.shared_noise else second), given, rng)
        optimizer.zero_grad()
        (retain.mean() - 0.2 * forget[forget < null].sum() / BATCH).backward()  # the others are at the null loss
        optimizer.step()
    return network.requires_grad_(False)


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_against_a_plain_loop(strong: World, name: str) -> None:
    small = method(**OPTIONS[name])
    scored = small.start(strong.context)(2)
    network = unlearned(strong, small, 2)
    expected = dense(strong, network, 2, small.score)
    torch.testing.assert_close(scored.scores, expected, atol=2e-5, rtol=0)
    if name != "none":
        assert (expected - dense(strong, unlearned(strong, method(), 2), 2, small.score)).abs().max() > 1e-3


def test_without_a_null_loss_nothing_but_the_number_of_steps_ends_it(world: World) -> None:
    for steps in (1, STEPS):
        facts = method(stop=None, max_steps=steps).start(world.context)(0).facts  # F0 is not even asked for
        assert facts == {"unlearning_steps": steps}


def test_a_batch_with_every_option(world: World, edm: EDM, augmentation: Callable[..., AugmentationConfig]) -> None:
    rule = ExponentialWeights(Rows(), SHARPNESS)
    similar = rule.similarities(world.context)
    assert similar.shape == (4, 48)
    fixed = (world.context.data.train, np.arange(48), world.context.queries.images[1], torch.eye(4)[1], 40, 3, 1)
    plain = MirroredBatches(*fixed, edm.training_levels)[0]
    weigh = partial(rule.of_batch, similar[1], torch.eye(4)[1])
    changes = {"augmentation": augmentation(probability=0.3), "weigh": weigh}
    other = MirroredBatches(*fixed, generation_draw(edm), shared_noise=True, **changes)[0]
    for before, after in ((plain.retain, other.retain), (plain.forget, other.forget)):
        indices = ((after.level[:, None] / schedule(1000, 1000) - 1).abs() < 1e-5).nonzero()[:, 1]
        assert len(indices) == 40 and indices.double().mean() == pytest.approx(500, abs=5 * 289 / 40**0.5)
        assert before.given.augmentation is None and 0 < after.given.augmentation.float().mean() < 1
    for name in ("level", "noise"):
        assert torch.equal(getattr(other.forget, name), getattr(other.retain, name))
        assert not torch.isin(getattr(plain.forget, name), getattr(plain.retain, name)).any()
    assert not torch.equal(other.retain.given.augmentation, other.forget.given.augmentation)
    assert other.loss_weights.mean() == pytest.approx(1) and other.loss_weights.std() > 0.01


@cache
def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("config", list(overrides))


def flat(node: Any, path: str = "") -> dict[str, Any]:
    """Unresolved values by their dotted names."""
    if not isinstance(node, dict) or not node:
        return {path[:-1]: node}
    return {name: value for key, inner in node.items() for name, value in flat(inner, f"{path}{key}.").items()}


def changes(*overrides: str) -> dict[str, Any]:
    """What differs from MUCS as it is."""
    before, after = (flat(OmegaConf.to_container(composed(*chosen))) for chosen in ((), overrides))
    return {name: after.get(name) for name in before | after if after.get(name, "") != before.get(name, "")}


@pytest.mark.parametrize("name", ABLATIONS)
def test_an_ablation_changes_what_it_names_and_nothing_else(name: str) -> None:
    assert changes(f"ablation={name}") == ABLATIONS[name] | {"ablation": name}
    assert isinstance(build(composed(f"ablation={name}").method, "method"), MUCS)


def test_exponential_weights_of_any_sharpness_are_finite() -> None:
    rule = ExponentialWeights(Rows(), 1000.0)
    weights = rule.weigh(torch.tensor([0.9, 0.9, -0.9, 0.0]), None, None)
    torch.testing.assert_close(weights, torch.tensor([2.0, 2.0, 0.0, 0.0]))


@pytest.mark.parametrize("extractor", ["dino", "classifier"])
def test_instance_weights_with_any_extractor(extractor: str) -> None:
    place = "method.unlearn.instance_weights"
    for ablation in ("instance_weights", "exponential_weights"):
        overrides = [f"ablation={ablation}", f"extractor@{place}.extractor={extractor}"]
        found = changes(*overrides)
        assert {name for name in found if not name.startswith(place)} == {"ablation"}
        weights = build(composed(*overrides).method, "method").unlearn.instance_weights
        assert weights.extractor.name == extractor
        kind = SkipMostSimilar if ablation == "instance_weights" else ExponentialWeights
        assert weights == kind(weights.extractor, 0.1 if kind is SkipMostSimilar else 1.0)


def test_the_most_similar_tenth_is_skipped() -> None:
    rule = SkipMostSimilar(Rows(), 0.1)
    similar = torch.tensor([0.3, -0.9, 0.8, 0.1, 0.2, 0.2, 0.2, 0.7, -0.1, 0.0])
    expected = torch.full((10,), 10 / 9)
    expected[2] = 0
    torch.testing.assert_close(rule.weigh(similar, None, None), expected)
    given = torch.tensor([[0.0, 1.0]]).repeat(10, 1)
    given[7] = torch.tensor([2.0, 0.0])  # of any length
    given[2] = torch.tensor([-1.0, 0.0])  # below 0 nothing is taken off
    expected = expected.roll(5)
    torch.testing.assert_close(rule.weigh(similar, given, torch.tensor([0.5, 0.0])), expected)
    assert torch.equal(rule.weigh(torch.ones(10), None, None), torch.ones(10))


def test_the_ablations_are_known_and_those_of_table_2_are_there() -> None:
    files = {path.stem for path in (ROOT / "conf" / "ablation").iterdir()}
    assert files == {*ABLATIONS, "instance_weights", "exponential_weights", "none"}
    published = pd.read_csv(ROOT / "tdattr" / "report" / "papers" / "mucs" / "table_2.csv")["ablation"].dropna()
    assert set(published) <= files


def test_bad_values_are_refused(
    make_setup: Callable[..., MethodSetup],
    tiny_dit: Callable[..., nn.Module],
    tiny_train: Callable[..., TrainConfig],
    augmentation: Callable[..., AugmentationConfig],
) -> None:
    for key, words in (("check", "before or after"), ("levels", "training or generation")):
        config = OmegaConf.load(ROOT / "conf" / "method" / "mucs.yaml")
        OmegaConf.update(config, f"unlearn.{key}", "odd")
        with pytest.raises(UserError, match=rf"method.unlearn.{key}=odd is unknown: choose {words}"):
            build(config, "method")
    for levels, share in (("training", 0.5), ("generation", None)):
        with pytest.raises(UserError, match=r"^method\.unlearn\.schedule_share"):
            method(levels=levels, schedule_share=share)
    augmented = tiny_train(augmentation=augmentation())
    method(augment=True).check(make_setup(items=BATCH, train=augmented))
    # MUCS's DiTs have the class whether they were trained with augmented items or not
    for changes in ({}, {"train": augmented, "network": tiny_dit(4, augmentation_label=False)}):
        with pytest.raises(UserError, match=r"augment=true needs a network trained with train.augmentation.enabled"):
            method(augment=True).check(make_setup(items=BATCH, **changes))
