"""Config nodes become typed objects, and what is wrong with one is said in a sentence that names the place."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from tdattr.configs import build, described
from tdattr.errors import UserError
from tdattr.features.torchscript import TorchScript
from tdattr.methods.mucs import MUCS, UnlearnConfig

CONF = Path(__file__).parents[1] / "conf"
GROUPS = ("dataset", "model", "diffusion", "train", "method", "protocol", "trainer", "extractor", "measure")
PLACES = {"extractor": "health.extractor", "measure": "method.measure"}
CHOICES = [(group, path.stem) for group in GROUPS for path in sorted((CONF / group).glob("*.yaml"))]


@dataclass(frozen=True)
class Inner:
    size: int
    share: float


@dataclass(frozen=True)
class Outer:
    name: str
    count: int
    rate: float
    limit: int | None
    flags: list[bool]
    inner: Inner
    anything: Any = None

    def __post_init__(self) -> None:
        if self.count < 0:
            raise UserError(f"outer.count={self.count} is negative.")


def node(**changes: Any) -> DictConfig:
    good = {
        "_target_": f"{__name__}.Outer",
        "name": "x",
        "count": 3,
        "rate": 1,
        "limit": None,
        "flags": [True, False],
        "inner": {"size": 2, "share": 0.5},
    }
    return OmegaConf.create(good | changes)


def without(config: DictConfig, *keys: str) -> DictConfig:
    content = OmegaConf.to_container(config)
    assert isinstance(content, dict)
    place = content
    for key in keys[:-1]:
        place = place[key]
    del place[keys[-1]]
    return OmegaConf.create(content)


def test_a_node_becomes_what_it_names() -> None:
    built = build(node(anything={"a": [1]}), "outer")
    assert built == Outer("x", 3, 1.0, None, [True, False], Inner(2, 0.5), {"a": [1]})
    assert isinstance(built.rate, float)
    assert isinstance(built.inner, Inner)
    assert build(node(), "outer").anything is None
    assert build(node(limit=5), "outer").limit == 5


def test_interpolations_are_followed() -> None:
    config = OmegaConf.create({"elsewhere": {"n": 7}, "outer": node(count="${elsewhere.n}")})
    assert build(config.outer, "outer").count == 7


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"count": "many"}, "count"),
        ({"count": 1.5}, "count"),
        ({"count": None}, "count"),
        ({"rate": "fast"}, "rate"),
        ({"limit": "none at all"}, "limit"),
        ({"flags": ["perhaps"]}, r"flags\[0\]"),
        ({"inner": {"size": "big", "share": 0.5}}, "inner.size"),
        ({"inner": {"size": 2, "share": [0.5]}}, "inner.share"),
    ],
    ids=str,
)
def test_wrong_types_are_named(changes: dict[str, Any], place: str) -> None:
    with pytest.raises(UserError, match=rf"^some\.outer\.{place}: "):
        build(node(**changes), "some.outer")


def test_unknown_keys_are_named() -> None:
    with pytest.raises(UserError, match=r"^some\.outer\.colour: .*colour"):
        build(node(colour="red"), "some.outer")
    with pytest.raises(UserError, match=r"^some\.outer\.inner\.colour: .*colour"):
        build(node(inner={"size": 2, "share": 0.5, "colour": "red"}), "some.outer")


@pytest.mark.parametrize("keys", [("count",), ("name",), ("inner", "size"), ("limit",)], ids=".".join)
def test_missing_values_are_named(keys: tuple[str, ...]) -> None:
    place = ".".join(("some.outer", *keys)).replace(".", r"\.")
    with pytest.raises(UserError, match=rf"^{place} must be given"):
        build(without(node(), *keys), "some.outer")
    marked = node()
    OmegaConf.update(marked, ".".join(keys), "???")
    with pytest.raises(UserError, match=rf"^{place} must be given"):
        build(marked, "some.outer")


def test_what_the_class_itself_refuses_comes_through() -> None:
    with pytest.raises(UserError, match=r"outer.count=-1 is negative"):
        build(node(count=-1), "some.outer")


def test_target_must_be_there_and_exist() -> None:
    with pytest.raises(UserError, match=r"some.outer has no _target_"):
        build(without(node(), "_target_"), "some.outer")
    with pytest.raises(UserError, match=r"some\.outer: .*NoSuchClass"):
        build(node(_target_=f"{__name__}.NoSuchClass"), "some.outer")
    with pytest.raises(UserError, match=r"some\.outer: .*no_such_module"):
        build(node(_target_="no_such_module.Outer"), "some.outer")


def test_a_method_with_nested_nodes() -> None:
    config = OmegaConf.load(CONF / "method" / "mucs.yaml")
    built = build(config, "method")
    assert isinstance(built, MUCS)
    assert isinstance(built.unlearn, UnlearnConfig)
    assert (built.unlearn.weight, built.unlearn.stop, built.score.pairs) == (0.2, 0.95, 100)
    config.unlearn.stop = "late"
    with pytest.raises(UserError, match=r"^method\.unlearn\.stop: .*late"):
        build(config, "method")


def test_description_leaves_out_where_raw_files_lie_and_nothing_else() -> None:
    config = OmegaConf.load(CONF / "dataset" / "image_folder.yaml").source
    config.root = "/somewhere"
    here = described(config)
    config.root = "/elsewhere"
    assert described(config) == here
    assert "/somewhere" not in str(here)
    config.default_root = "/yet/another/place"
    assert described(config) == here
    for change in ({"resolution": 64}, {"_target_": "tdattr.data.cifar10.Cifar10"}):
        assert described(OmegaConf.merge(config, change)) != here


def test_description_is_of_resolved_values() -> None:
    def config(value: int) -> DictConfig:
        return OmegaConf.create({"recipe": {"steps": value}, "train": {"steps": "${recipe.steps}"}})

    assert described(config(5).train)["steps"] == 5
    assert described(config(5).train) != described(config(6).train)


@pytest.mark.parametrize(("group", "choice"), CHOICES)
def test_every_choice_of_every_group_can_be_built(group: str, choice: str) -> None:
    place = PLACES.get(group, group)
    settings = [f"{group}@{place}={choice}" if place != group else f"{group}={choice}"]
    settings += ["dataset.source.root=/x"] * (choice == "image_folder")
    settings += ["method=logo_images"] * (group == "measure")
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", settings)
    node = OmegaConf.select(config, place)
    build(node.source if group == "dataset" else node, place)
    assert node.get("name", choice).startswith(choice)


def test_the_ceiling_has_as_many_seeds_as_gold_and_none_of_them() -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        settings = ["protocol=logo", "method@protocol.ceiling=logo_again", "protocol.gold.repeats=3"]
        config = compose("config", settings)
        alone = compose("config", ["method=logo_again"])
    protocol = build(config.protocol, "protocol")
    assert (list(protocol.gold.seeds), list(protocol.ceiling.seeds)) == ([0, 1, 2], [3, 4, 5])
    assert list(build(alone.method, "method").seeds) == [1]


def test_nodes_with_a_class_of_their_own_are_built_and_described() -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", ["method=features", "extractor@method.extractor=sscd"])
    method = build(config.method, "method")
    assert isinstance(method.extractor, TorchScript) and method.extractor.size == 320
    here = described(config.method)
    assert here["extractor"]["class"] == "tdattr.features.torchscript.TorchScript"
    config.method.extractor.weights = "/elsewhere/file.pt"
    assert described(config.method) == here and "/elsewhere" not in str(here)
    config.method.extractor.size = 288
    assert described(config.method) != here
    config.method.extractor.size = "large"
    with pytest.raises(UserError, match=r"^method\.extractor\.size: "):
        build(config.method, "method")


@pytest.mark.parametrize(
    ("settings", "change"),
    [
        (["method=guda_u"], "method.objective.weights=published_code"),
        (["method=ensemble_d"], "method.weights.condition=1"),
    ],
)
def test_weights_that_are_numbers_or_rules_are_described(settings: list[str], change: str) -> None:
    """Only where a class says what lies at a place is the place left out."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        first, second = (described(compose("config", each).method) for each in (settings, [*settings, change]))
    assert first != second
