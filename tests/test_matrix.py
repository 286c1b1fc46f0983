"""Every diffusion variant with every network of ``conf`` on the tiny data, and every method with each of both: what
combines freely, runs.

New files in ``conf/diffusion`` and ``conf/method`` are taken up by themselves, as are models called ``*_tiny``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import cycle
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import load_file
from torch import Tensor

from tdattr.codecs.pixels import Pixels
from tdattr.configs import build
from tdattr.counterfactuals import NEEDS, Generated, Trained
from tdattr.data.prepared import Prepared
from tdattr.diffusion import Diffusion
from tdattr.diffusion.edm import EDM
from tdattr.errors import UserError
from tdattr.features import Setting
from tdattr.ids import Ids
from tdattr.methods import Context, Member, Method, MethodSetup
from tdattr.networks import Given, Network
from tdattr.scores import Scores
from tdattr.search_path import CONF
from tdattr.seeding import generator, normal
from tdattr.store import Store
from tdattr.training.config import AugmentationConfig, TrainConfig, TrainerConfig
from tdattr.training.teacher import Teacher
from tests.contexts import NoCounterfactuals, keep
from tests.diffusion.fakes import VARIANTS

BASE = ("dataset=digits", "train.augmentation.enabled=true")  # as the tiny data: 8 x 8 gray, groups by label
SMALL = {  # set wherever a node has the key; a method that takes long needs an entry for what makes it so
    "diffusion": {"steps": 3},
    "model": {
        "blocks": 1,
        "width": 16,
        "embedding_width": 8,
        "channels": [4, 8],
        "attention": [False, True],
        "norm_groups": 4,
    },
    "method": {
        "null_loss.batches": 2,
        "null_loss.batch_size": 8,
        "unlearn.batch_size": 8,
        "unlearn.max_steps": 3,
        "unlearn.stop": 2.0,  # never reached
        "score.pairs": 4,
        "gradients.draws": 2,
        "output.draws": 2,
        "output.elbo.stride": 400,
        "checkpoints": 2,
        "draws": 6,
        "batch_size": 3,
        "fisher.epochs": 1,
        "rate": 1e-8,  # after so few steps the MLPs hardly count, and their Fisher information is next to nothing
        "gradients.projection.dimension": 8,
        "extractor.steps": 2,
        "extractor.batch_size": 8,
    },
}
QUERIES = 2
# objectives that need prompts or objects (tests/unlearning/test_anchored.py)
ANCHORED = {"awss", "uniform", "style_removed", "matched_retain", "matched_retain_published_code"}
TIMESTEPS = ("ddpm", "vp")  # the variants that can tell a network timesteps
IDS = np.setdiff1d(np.arange(14), [3, 7])


@cache
def composed(*overrides: str) -> DictConfig:
    """The config with those overrides and everything in it made small."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", [*BASE, *overrides])
    for group, values in SMALL.items():
        for key, value in values.items():
            if OmegaConf.select(config, f"{group}.{key}") is not None:
                OmegaConf.update(config, f"{group}.{key}", value)
    return config


def choices(group: str, pattern: str = "*") -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob(f"{pattern}.yaml"))


MODELS = [name for name in choices("model", "*_tiny") if name != "sd_tiny"]  # it has files: tests/e2e


def needs_weights(method: str) -> bool:
    """Whether the method, or one of its members, looks at images with a network that must be fetched."""
    node = composed(f"method={method}").method
    parts = [node, *node.get("members", {}).values()]
    return any(OmegaConf.select(part, "extractor.weights") is not None for part in parts)


def scores_groups(method: str) -> bool:
    """Whether the method needs unlearned or retrained models of groups."""
    return get_class(composed(f"method={method}").method._target_).scores_groups


PROMPTED = {"guda_c"}  # method=guda_u with objectives that need prompts: tests/e2e/test_guda_c.py
OF_GROUPS = [method for method in choices("method") if scores_groups(method) and method not in PROMPTED]
METHODS = [method for method in choices("method") if not needs_weights(method) and not scores_groups(method)]
OF_FEATURES = [method for method in choices("method") if needs_weights(method) and not scores_groups(method)]


@dataclass(frozen=True)
class Pair:
    """A variant and a network that it has trained for a few steps on the tiny data."""

    name: str
    diffusion: Diffusion
    make: Callable[[], Network]
    trained: Network
    facts: Mapping[str, float]
    train: TrainConfig


def params(pairs: list[tuple[str, str]]) -> list[Any]:
    """Those of a fixture, of which one is without the marker ``slow``: every pair takes seconds."""
    return [
        pytest.param(pair, id="-".join(pair), marks=() if pair == (PLAIN, "edm") else pytest.mark.slow)
        for pair in pairs
    ]


PLAIN = "dit_tiny"
ALL = [(model, variant) for model in MODELS for variant in VARIANTS]
# every model and every variant: what a method does with a network has to do with the one or the other
COVER = [(PLAIN, variant) for variant in VARIANTS if variant not in TIMESTEPS]
COVER += [(name, variant) for name, variant in zip([m for m in MODELS if m != PLAIN], cycle(TIMESTEPS), strict=False)]
covering = pytest.mark.parametrize("pair", params(COVER), indirect=True, scope="module")


def test_methods_meet_every_model_and_variant() -> None:
    assert {model for model, _ in COVER} == {*MODELS} and {variant for _, variant in COVER} == {*VARIANTS}


@pytest.fixture(scope="module", params=params(ALL))
def pair(
    request: pytest.FixtureRequest,
    tiny_data: Prepared,
    tiny_train: Callable[..., TrainConfig],
    tiny_trainer: Callable[..., TrainerConfig],
    augmentation: Callable[..., AugmentationConfig],
    tmp_path_factory: pytest.TempPathFactory,
) -> Pair:
    """Trained by the real training, with augmentation and condition dropout."""
    from tdattr.training.pretrain import pretrain

    model, variant = request.param
    config = composed(f"diffusion={variant}", f"model={model}")
    diffusion, network = build(config.diffusion, "diffusion"), build(config.model, "model")
    if network.c_noise == "timestep" and variant not in TIMESTEPS:
        with pytest.raises(UserError, match=f"model={model} is told timesteps: use diffusion=ddpm or diffusion=vp"):
            network.check_diffusion(diffusion)
        pytest.skip("refused")
    network.check_diffusion(diffusion)
    train = tiny_train(steps=4, augmentation=augmentation(), validation_draws=1)

    def make() -> Network:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return network.build(1, 8, tiny_data.condition_size)

    folder = tmp_path_factory.mktemp(f"{model}-{variant}")
    ids = np.arange(len(tiny_data.train))
    facts = pretrain(make(), tiny_data, ids, diffusion, train, tiny_trainer(), 3, folder, "test")
    trained = make()
    trained.load_state_dict(load_file(folder / "ema.safetensors"))
    return Pair(folder.name, diffusion, make, trained.eval().requires_grad_(False), facts, train)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """What methods compute once for all queries, and share with each other."""
    return Store(tmp_path_factory.mktemp("artifacts"), "cpu")


@pytest.fixture
def context(
    pair: Pair, store: Store, tiny_data: Prepared, setting: Setting, make_context: Callable[..., Context]
) -> Context:
    """What a method is given: two generated images and what they were conditioned on."""

    def f1() -> Network:
        network = pair.make()
        network.load_state_dict(pair.trained.state_dict())
        return network.eval().requires_grad_(False)

    images = replace(setting, plan=keep(store, dataset=tiny_data.content))
    plain = make_context(
        ids=IDS,
        images=generated(pair),
        conditions=torch.eye(4)[:QUERIES],
        diffusion=pair.diffusion,
        f0=lambda: pair.make().eval().requires_grad_(False),
        initial=pair.make,
        train=pair.train,
        seed=11,
        setting=images,
        plan=keep(store, model=pair.name),
    )
    return replace(plain, f1=Trained(pair.name, f1))


def generated(pair: Pair, guidance: float | None = 2.0) -> Tensor:
    """As many pictures as there are queries, each from its own generator."""
    rngs = [generator(11, "query", number) for number in range(QUERIES)]
    with torch.inference_mode():
        x = pair.diffusion.sample(pair.trained, rngs, (1, 8, 8), Given(torch.eye(4)[:QUERIES]), guidance)
    return Pixels("pixels").decode(x)


@cache
def method(name: str) -> Method:
    return build(composed(f"method={name}").method, "method")


def test_two_steps_on_one_batch_lower_its_loss(pair: Pair, tiny_data: Prepared) -> None:
    x, condition = tiny_data.train.images(np.arange(16)), tiny_data.train.condition(np.arange(16))
    rng = generator(0, "test.matrix")
    level, noise = pair.diffusion.training_levels(rng, 16), normal(rng, 16, 1, 8, 8)
    network = pair.make()
    optimizer = torch.optim.Adam(network.parameters(), 2e-3)
    losses = []
    for _ in range(3):
        loss = pair.diffusion.loss(network, x, level, noise, Given(condition)).mean()
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert np.isfinite(losses).all()
    assert losses[2] < losses[1] < losses[0]


def test_training_ends_in_weights_with_a_finite_loss(pair: Pair) -> None:
    assert np.isfinite(pair.facts["validation_loss"])
    fresh = pair.make().state_dict()
    changed = [name for name, value in pair.trained.state_dict().items() if not torch.equal(value, fresh[name])]
    assert len(changed) > len(fresh) / 2


@pytest.mark.parametrize("guidance", [None, 2.0])
def test_pictures_are_finite_and_repeatable(pair: Pair, guidance: float | None) -> None:
    images = generated(pair, guidance)
    assert images.shape == (QUERIES, 1, 8, 8)
    assert images.isfinite().all()
    assert images.abs().max() <= 1
    assert not torch.equal(images[0], images[1])
    assert torch.equal(images, generated(pair, guidance))


@covering
@pytest.mark.parametrize("output", choices("output"))
def test_outputs_of_queries_have_derivatives(output: str, context: Context) -> None:
    node = build(composed("method=metagradient", f"output@method.output={output}").method, "method").output
    node.check(setup_of(context))
    derivatives = node.load(context)
    assert len(derivatives) == QUERIES * node.size and derivatives.isfinite().all()
    assert (derivatives.std(dim=1) > 0).all()
    network = context.f1.load()
    assert node.evaluate(context, network).shape == (QUERIES, node.size)
    assert node.differentiate(context, network, 1).shape == (node.size, derivatives.shape[1])


@covering
@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize("name", METHODS)
def test_methods_give_finite_scores(name: str, context: Context) -> None:
    attribution = method(name)
    attribution.check(setup_of(context))
    models = NoCounterfactuals(attribution.needs)
    declared = "float32" if "losses" in attribution.needs else None
    scorer = attribution.start(replace(context, counterfactuals=models, precision_of_losses=declared))
    for query in range(QUERIES):
        scored = scorer(query)
        assert scored.scores.shape == (len(IDS),)
        assert scored.scores.isfinite().all()
        assert scored.scores.std() > 0
        assert np.isfinite(list(scored.facts.values())).all()
        if name == "mucs":
            assert (scored.facts["unlearning_steps"], scored.facts["capped"]) == (3, 1)
    assert models.asked == attribution.needs - {"losses"}
    if declared:  # no more than it needs
        with pytest.raises(TypeError, match="losses of training items were asked for"):
            attribution.start(replace(context, counterfactuals=models, precision_of_losses=None))(0)


@pytest.mark.parametrize("name", OF_FEATURES)
def test_methods_that_need_weights_ask_for_what_they_declare(name: str, make_context: Callable[..., Context]) -> None:
    """With another extractor, and members whose scores are there."""
    other = ["extractor@method.extractor=classifier"] if "extractor" in composed(f"method={name}").method else []
    attribution = build(composed(f"method={name}", *other).method, "method", Method)

    def member(role: str) -> Member:
        return Member(Scores(normal(generator(1, f"test.{role}"), QUERIES, len(IDS)), IDS), 0.0, QUERIES * [{}])

    models = NoCounterfactuals(attribution.needs)
    scorer = attribution.start(make_context(ids=IDS, member=member, counterfactuals=models))
    assert scorer(1).scores.shape == (len(IDS),) and scorer(1).scores.isfinite().all()
    assert models.asked == attribution.needs


def small_method(*overrides: str) -> Method:
    """A method of groups, made small."""
    node = composed(*overrides).method
    for key, value in {"unlearn.steps": 2, "unlearn.batch_size": 4, "elbo.stride": 300, "orders": 2}.items():
        if key.split(".")[0] in node:
            OmegaConf.update(node, key, value)
    return build(node, "method", Method)


def other_models(context: Context, needs: frozenset[str]) -> NoCounterfactuals:
    """Three groups, and for every removal and seed a model, and images, a little different from F1's."""

    def network(name: str) -> Network:
        changed, rng = context.f1.load(), generator(11, f"test.{name}")
        for value in changed.parameters():
            value += 0.01 * normal(rng, *value.shape)
        return changed

    def train(removals: list[Ids], *, repeats: int, first: int) -> list[list[Trained]]:
        names = [
            [f"{context.f1.address}/without-{len(ids)}-{sum(ids)}/{seed}" for seed in range(first, first + repeats)]
            for ids in removals
        ]
        return [[Trained(name, partial(network, name)) for name in row] for row in names]

    def regenerate(removals: list[Ids]) -> list[Generated]:
        images = context.queries.images
        return [Generated((images + 0.01 * number).clamp(-1, 1), str(number)) for number, _ in enumerate(removals, 1)]

    def teacher(config: Teacher) -> Trained:
        return Trained("teacher", lambda: build(composed("model=dit_tiny").model, "model").build(1, 8, 3))

    parts = {name: IDS[place::3] for place, name in enumerate("abc")}
    return NoCounterfactuals(needs, groups=lambda: parts, train=train, regenerate=regenerate, teacher=teacher)


@covering
@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize("name", OF_GROUPS)
def test_methods_of_groups_give_finite_scores_and_ask_for_what_they_declare(name: str, context: Context) -> None:
    attribution = small_method(f"method={name}")
    attribution.check(setup_of(context))
    models = other_models(context, attribution.needs)
    scorer = attribution.start(replace(context, counterfactuals=models))
    scores = torch.stack([scorer(query).scores for query in range(QUERIES)])
    assert scores.shape == (QUERIES, 3) and scores.isfinite().all() and scores.std() > 0
    assert models.asked == attribution.needs


@pytest.mark.parametrize("name", choices("method"))
def test_methods_declare_needs_that_there_are(name: str) -> None:
    needs = build(composed(f"method={name}").method, "method", Method).needs
    assert isinstance(needs, frozenset) and needs <= {*NEEDS, "losses"}
    assert "groups" in needs or not scores_groups(name)


def setup_of(context: Context) -> MethodSetup:
    """What a method may check before this context is there."""
    return MethodSetup(context.f1.load(), context.diffusion, context.data, len(context.ids), context.train)


def refusal(attempt: Callable[..., object], *arguments: object) -> str:
    """What the user is told."""
    with pytest.raises(UserError) as error:
        attempt(*arguments)
    return str(error.value)


def test_what_makes_no_sense_is_said_in_one_sentence(
    tiny_data: Prepared,
    edm: EDM,
    tiny_dit: Callable[..., Network],
    tiny_train: Callable[..., TrainConfig],
) -> None:
    unconditional = replace(tiny_data, train=replace(tiny_data.train, conditions=None))
    said = [refusal(build(composed(f"model={model}").model, "model").build, 1, 9, 0) for model in MODELS]
    said += [
        refusal(method("condition").check, MethodSetup(tiny_dit(0), edm, unconditional, 48, tiny_train())),
    ]
    for sentence in said:
        assert sentence.endswith(".")
        assert ". " not in sentence
    assert len(set(said)) == len(said) - 1  # the two U-Nets say the same


@covering
@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize("objective", [name for name in choices("objective") if name not in ANCHORED])
def test_every_objective_unlearns_groups(objective: str, context: Context) -> None:
    """With every variant and every network, to finite scores that differ."""
    guda = small_method("method=guda_u", f"objective@method.objective={objective}")
    guda.check(setup_of(context))
    scorer = guda.start(replace(context, counterfactuals=other_models(context, guda.needs)))
    scores = torch.stack([scorer(query).scores for query in range(QUERIES)])
    assert scores.shape == (QUERIES, 3)
    assert scores.isfinite().all()
    assert scores.std() > 0
    assert scorer(0).facts == {"training_steps": 6.0}  # too few to say how the retained loss grew
