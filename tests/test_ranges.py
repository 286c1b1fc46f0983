"""NaN, infinity and numbers out of range are refused at every field, and the message names the override."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from itertools import zip_longest
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from tdattr import configs
from tdattr.configs import build, typed
from tdattr.errors import UserError
from tdattr.metrics.choice import build_measure, complete_measures
from tdattr.pipeline.dataset import read_dataset
from tdattr.pipeline.open import open_workspace
from tdattr.ranges import Count, Part, PartOrZero, Positive, Range, alternatives
from tests.conftest import CONF

pytestmark = pytest.mark.slow  # every number of every class
NAN, INFINITY = float("nan"), float("inf")
TEXT = "must be a text, in quotes where it looks like anything else"
MAY_BE_NEGATIVE = {  # all others refuse -1
    ("SmoothnessConfig", "least"),
    ("EDM", "p_mean"),
    ("Flow", "logit_mean"),
    ("ExponentialWeights", "sharpness"),
    ("Pixel", "zero"),
    ("ReTrack", "window"),
}
GROUPS = {  # a choice of each goes into one command, at this place; and what some choices need beside them
    "dataset": "dataset",
    "model": "model",
    "diffusion": "diffusion",
    "protocol": "protocol",
    "codec": "codec",
    "logger": "logger",
    "extractor": "extractor@health.extractor",
    "method": "method",
}
BESIDE = {  # the same beside a method
    "objective": ("guda_u", "objective@method.objective"),
    "mask": ("guda_u", "mask@method.unlearn.mask"),
    "output": ("metagradient", "output@method.output"),
}
NEEDED = {
    "image_folder": ["dataset.source.root=/x", "recipe@dataset.recipe=cpu"],  # its own needs the images
    "diffusers": ["model.path=/x"],
    "several": ["+logger@logger.loggers.none=none"],
}


def composed(*settings: str, name: str = "config") -> DictConfig:
    """A composed config; the folder of a run, which only a command has, is not needed."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose(name, list(settings))
    complete_measures(config)
    if "save_dir" in config.logger:
        config.logger.save_dir = "folder"
    return config


def one_per_class(group: str) -> list[str]:
    """A choice of the group for every class that its choices configure."""
    classes: dict[str, str] = {}
    for path in sorted((CONF / group).glob("*.yaml")):
        if target := re.search(r"_target_: (\S+)", path.read_text()):
            classes.setdefault(target[1], path.stem)
    return list(classes.values())


def commands() -> Iterator[list[str]]:
    """Few commands that together hold every class."""
    for together in zip_longest(*map(one_per_class, GROUPS)):
        chosen = [(place, choice) for place, choice in zip(GROUPS.values(), together, strict=True) if choice]
        needed = [setting for _, choice in chosen for setting in NEEDED.get(choice, [])]
        yield [f"{place}={choice}" for place, choice in chosen] + needed
    for group, (method, place) in BESIDE.items():
        yield from ([f"method={method}", f"{place}={choice}"] for choice in one_per_class(group))
    yield from ([f"ablation={choice}"] for choice in one_per_class("ablation"))
    yield ["+text@dataset.text=tokens"]  # another text encoder is coco's, and the third may compare words
    yield ["method=guda_c", "objective@method.objective=awss", "text@method.objective.text=pipeline"]
    yield ["accuracy=classifier"]


@pytest.fixture(scope="module")
def nodes() -> dict[type, tuple[dict[str, Any], str]]:
    """Every class that a choice of conf/ configures: values that are good, and a place where it stands."""
    seen: dict[type, tuple[dict[str, Any], str]] = {}

    def note(cls: type, values: Any, path: str, *find: Any) -> Any:
        seen.setdefault(cls, (values, path))
        return typed(cls, values, path, *find)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(configs, "typed", note)
        patch.setattr("tdattr.pipeline.dataset.typed", note)
        for settings in commands():
            config = composed(*settings)
            read_dataset(config.dataset)
            for name in config:
                if name != "dataset" and OmegaConf.is_dict(config[name]) and "_target_" in config[name]:
                    build(config[name], str(name))
        for name in config.measures:
            build_measure(config.measures, str(name))
        build(composed(name="noisy_groups").noise, "noise")
        build(composed(name="base").base, "base")
        build(composed(name="build_bank").bank, "bank")
    return seen


def numeric(hint: Any) -> bool:
    """Whether a field may hold a number, or a list or dictionary of them."""
    kinds = alternatives(hint)
    inside = [get_args(kind)[-1] for kind in kinds if get_origin(kind) in (list, dict)]
    choices = [type(choice) for kind in kinds if get_origin(kind) is Literal for choice in get_args(kind)]
    return bool({int, float} & {*kinds, *inside, *choices})


def spoiled(value: Any, bad: Any) -> Any:
    """``bad`` in place of a number, or of each in a list or dictionary."""
    if isinstance(value, list):
        return [bad] * max(1, len(value))
    return dict.fromkeys(value, bad) if isinstance(value, dict) else bad


def test_every_class_that_conf_names_is_seen(nodes: dict[type, Any]) -> None:
    named = {
        target for path in CONF.rglob("*.yaml") for target in re.findall(r"_target_: (tdattr\.\S+)", path.read_text())
    }
    named.remove("tdattr.plan_notice.Notice")  # of Hydra's node, and without values
    assert named - {f"{cls.__module__}.{cls.__qualname__}" for cls in nodes} == set()
    assert all(is_dataclass(cls) for cls in nodes)


@pytest.mark.parametrize("bad", [NAN, INFINITY, -INFINITY, -1, True, "much"], ids=str)
def test_no_numeric_field_of_conf_takes_what_is_no_number_for_it(nodes: dict[type, Any], bad: Any) -> None:
    tried = 0
    for cls, (values, path) in nodes.items():
        hints = get_type_hints(cls)
        for name in (entry.name for entry in fields(cls) if numeric(hints[entry.name])):
            if bad == -1 and bad is not True and (cls.__name__, name) in MAY_BE_NEGATIVE:
                continue
            place = f"{path}.{name}".removeprefix(".")
            whole = [[bad, 1.0]] if (cls.__name__, name) == ("ReTrack", "window") else [spoiled(values.get(name), bad)]
            for value in whole:
                with pytest.raises(UserError) as caught:
                    typed(cls, values | {name: value}, path)
                message = str(caught.value)
                assert message.startswith(place) and message.endswith(".") and "\n" not in message, message
            tried += 1
    assert tried > 150


@pytest.mark.parametrize(
    ("name", "field", "bad", "good"),
    [
        ("LDS", "subsets", 2, 3),
        ("LDS", "share", 1.0, 0.99),
        ("LeaveKOut", "k", 0, 1),
        ("TrainConfig", "ema", 1.0, 0.0),
        ("TrainConfig", "steps", 0, 1),
        ("TrainConfig", "weight_decay", -5, 0),
        ("TrainerConfig", "workers", -1, 0),
        ("QueriesConfig", "controls", -1, 0),
        ("QueriesConfig", "guidance", -0.5, 0),
        ("VP", "timesteps", 1, 2),
        ("ElboConfig", "timesteps", 1, 2),
        ("FisherConfig", "damping", -0.1, 0),
        ("MirrorConfig", "weight", -0.1, 0),
        ("SkipMostSimilar", "share", 1.0, 0.9),
        ("Saliency", "share", 1.1, 1.0),
        ("Saliency", "batches", 0, None),
        ("Classifier", "shift", 1.0, 0.0),
        ("CelebA", "subset_seed", 2**32, 2**32 - 1),
        ("ItemsConfig", "test", -1, 0),
        ("Mixtures", "groups", 1, 128),
        ("Glyphs", "held_out", 21, 20),
        ("Shapley", "orders", 1, 2),
        ("Pixel", "zero", -1.1, -1.0),
    ],
)
def test_bounds(nodes: dict[type, Any], name: str, field: str, bad: Any, good: Any) -> None:
    """Those that papers or mathematics give, each with the nearest value that is allowed."""
    cls, (values, path) = next((cls, node) for cls, node in nodes.items() if cls.__name__ == name)
    with pytest.raises(UserError, match=rf"^{path}\.{field}={bad}"):
        typed(cls, values | {field: bad}, path)
    typed(cls, values | {field: good}, path)


def leaves(config: Any, path: str = "") -> Iterator[str]:
    """The dotted names of all numbers of a composed config."""
    for key in config:
        if OmegaConf.is_dict(config[key]):
            yield from leaves(config[key], f"{path}{key}.")
        elif isinstance(config[key], (int, float)) and not isinstance(config[key], bool):
            yield f"{path}{key}"


@pytest.mark.parametrize("settings", [[], ["method=guda_u", "protocol=logo"]], ids=str)
def test_a_workspace_with_a_number_that_is_none_is_not_opened(settings: list[str]) -> None:
    """From the whole config, as a command has it: nothing is computed before there is a workspace."""
    config = composed(*settings, "logger=none")
    read = [name for name in leaves(config) if not name.startswith(("elbo.", "measures."))]  # read with what uses them
    assert len(read) > 60
    for name in read:
        spoiled_config = config.copy()
        OmegaConf.update(spoiled_config, name, NAN)
        with pytest.raises(UserError) as caught:
            open_workspace(spoiled_config)
        assert str(caught.value).startswith(name), name


@dataclass(frozen=True)
class Sizes:
    count: Count
    rate: Positive
    optional: Part | None
    several: list[PartOrZero]
    named: dict[str, Positive]
    choice: Positive | Literal["auto", "none"] | None
    free: float
    text: str | None
    texts: list[str]
    flag: bool
    anything: Any = None


GOOD = {
    "count": 3,
    "rate": 1,
    "optional": None,
    "several": [0, 0.5],
    "named": {"a": 1},
    "choice": "auto",
    "free": -2,
    "text": 5,
    "texts": ["a", 7],
    "flag": "yes",
}


def test_good_values_become_what_the_fields_say() -> None:
    sizes = typed(Sizes, GOOD, "node")
    assert sizes == Sizes(3, 1.0, None, [0.0, 0.5], {"a": 1.0}, "auto", -2.0, "5", ["a", "7"], True)
    assert [type(value) for value in (sizes.rate, sizes.free, *sizes.several)] == [float] * 4
    assert typed(Sizes, GOOD | {"choice": 0.5, "optional": 0.5, "flag": 0}, "node").choice == 0.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"count": 0}, "node.count=0 must be at least 1."),
        ({"rate": 0}, "node.rate=0.0 must be above 0."),
        ({"rate": NAN}, "node.rate=nan must be above 0."),
        ({"rate": "nan"}, "node.rate=nan must be above 0."),
        ({"rate": INFINITY}, "node.rate=inf must be above 0."),
        ({"optional": 1}, "node.optional=1.0 must be above 0 and below 1, or null."),
        ({"several": [0.5, 1]}, "node.several[1]=1.0 must be at least 0 and below 1."),
        ({"named": {"a": 1, "b": -1}}, "node.named.b=-1.0 must be above 0."),
        ({"choice": 0}, "node.choice=0.0 must be above 0, or null, or auto, or none."),
        ({"free": NAN}, "node.free=nan must be a finite number."),
        ({"free": -INFINITY}, "node.free=-inf must be a finite number."),
        ({"anything": {"a": [1, NAN]}}, "node.anything.a[1]=nan must be a finite number."),
        ({"text": True}, f"node.text=True {TEXT} (\"node.text='…'\")."),
        ({"text": 1.5}, f"node.text=1.5 {TEXT} (\"node.text='…'\")."),
        ({"text": NAN}, f"node.text=nan {TEXT} (\"node.text='…'\")."),
        ({"texts": ["a", 1.1]}, f"node.texts[1]=1.1 {TEXT} (\"node.texts[1]='…'\")."),
        ({"flag": 5}, "node.flag=5 must be true or false."),
        ({"flag": -1}, "node.flag=-1 must be true or false."),
    ],
    ids=str,
)  # fmt: skip
def test_other_values_are_refused_in_one_sentence(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        typed(Sizes, GOOD | change, "node")
    assert str(caught.value) == message


def test_ranges() -> None:
    assert 10**400 in Range(least=1) and 10**400 not in Range(most=1)
    assert all(value in Range() for value in (-3, 0.0, 1e308)) and not any(
        value in Range() for value in (NAN, math.inf)
    )
    assert [value in Range(above=0, most=1) for value in (0, 1e-9, 1, 1.001)] == [False, True, True, False]
    assert [value in Range(least=0, below=1) for value in (-1e-9, 0, 0.999, 1)] == [False, True, True, False]
    assert str(Range(least=0, below=2**32)) == "at least 0 and below 4294967296"
    assert get_type_hints(Sizes)["count"] is int and get_origin(Count) is Annotated
