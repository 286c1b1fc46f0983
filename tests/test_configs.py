"""Config nodes become typed objects, and what is wrong with one is said in a sentence that names the place."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from tdattr.configs import Node, build, describe, typed, walk
from tdattr.diffusion import Diffusion
from tdattr.errors import UserError
from tdattr.methods import Method
from tdattr.methods.ensemble import Ensemble
from tdattr.methods.mucs import MUCS, MirrorConfig
from tdattr.pipeline.workspace import HealthConfig
from tdattr.protocols import Protocol
from tests.conftest import CONF


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


def described(config: DictConfig) -> Any:
    """What the object of a node is addressed by."""
    return describe(build(config, "node"))


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


def test_target_must_be_there_and_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"some.outer has no _target_"):
        build(without(node(), "_target_"), "some.outer")
    with pytest.raises(UserError, match=r"some\.outer\._target_=.*NoSuchClass cannot be imported .*PYTHONPATH"):
        build(node(_target_=f"{__name__}.NoSuchClass"), "some.outer")
    with pytest.raises(UserError, match=r"some\.outer\._target_=no_such_module.* PYTHONPATH"):
        build(node(_target_="no_such_module.Outer"), "some.outer")
    (tmp_path / "silent_fault.py").write_text("raise AssertionError")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=r"cannot be imported \(AssertionError: AssertionError\)"):
        build(node(_target_="silent_fault.Outer"), "some.outer")


def test_a_method_with_nested_nodes() -> None:
    config = OmegaConf.load(CONF / "method" / "mucs.yaml")
    built = build(config, "method")
    assert isinstance(built, MUCS)
    assert isinstance(built.unlearn, MirrorConfig)
    assert (built.unlearn.weight, built.unlearn.stop, built.score.pairs) == (0.2, 0.95, 100)
    config.unlearn.stop = "late"
    with pytest.raises(UserError, match=r"^method\.unlearn\.stop: .*late"):
        build(config, "method")


@dataclass(frozen=True)
class Plain:
    """No node: nothing of it is left out."""

    name: str
    place: str


@dataclass(frozen=True)
class Leaf(Node):
    """A node of which the place of a file is left out too."""

    unaddressed: ClassVar = ("name", "place")

    name: str = "leaf"
    place: str = "/somewhere"
    size: int = 3


@dataclass(frozen=True)
class Tree(Node):
    """A node with others inside, which leaves out its name alone."""

    name: str
    leaf: Leaf
    another: Leaf | None
    plain: Plain
    branches: dict[str, Leaf]
    sizes: tuple[int, ...] = (1, 2)
    extra: Any = None


@dataclass(frozen=True)
class Recoded(Leaf):
    """A node whose code was changed once."""

    code_version: ClassVar[int] = 2


@dataclass(frozen=True)
class Whole(Node):
    """A node of which nothing is left out."""

    unaddressed: ClassVar[tuple[str, ...]] = ()

    name: str


def tree(**changes: Any) -> Tree:
    return replace(Tree("tree", Leaf(), None, Plain("plain", "/here"), {"left": Leaf(size=4)}), **changes)


def test_the_version_of_the_code_is_in_the_description_once_it_is_raised() -> None:
    assert describe(Recoded()) == {"class": f"{__name__}.Recoded 2", "size": 3}
    assert describe(tree(leaf=Recoded()))["leaf"]["class"] == f"{__name__}.Recoded 2"


def test_a_description_leaves_out_what_is_unaddressed_and_nothing_else() -> None:
    leaf = {"class": f"{__name__}.Leaf", "size": 3}
    assert describe(tree()) == tree().describe()
    assert describe(tree(extra={1: [Leaf(), None]}, another=Leaf(size=5))) == {
        "class": f"{__name__}.Tree",
        "leaf": leaf,
        "another": leaf | {"size": 5},
        "plain": {"class": f"{__name__}.Plain", "name": "plain", "place": "/here"},
        "branches": {"left": leaf | {"size": 4}},
        "sizes": [1, 2],
        "extra": {"1": [leaf, None]},
    }
    for same in (tree(name="other"), tree(leaf=Leaf("x", "/elsewhere")), tree(branches={"left": Leaf("x", "y", 4)})):
        assert describe(same) == describe(tree())
    for other in (
        tree(leaf=Leaf(size=4)),
        tree(another=Leaf()),
        tree(plain=Plain("other", "/here")),
        tree(plain=Plain("plain", "/there")),
        tree(branches={}),
        tree(branches={"right": Leaf(size=4)}),
        tree(sizes=(2, 1)),
        tree(extra=0),
    ):
        assert describe(other) != describe(tree())
    assert describe(Whole("x")) == {"class": f"{__name__}.Whole", "name": "x"}
    assert describe(Leaf()) != describe(Whole("leaf")) and describe(Leaf) is Leaf
    assert json.loads(json.dumps(describe(tree()))) == describe(tree())


def test_all_nodes_inside_are_walked() -> None:
    inside = dict(walk(tree(another=Leaf(size=5))))
    assert inside == {"leaf": Leaf(), "another": Leaf(size=5), "branches.left": Leaf(size=4)}
    outer = tree(branches={"deep": tree(), "none": None})
    assert list(dict(walk(outer))) == ["leaf", "branches.deep", "branches.deep.leaf", "branches.deep.branches.left"]
    assert list(walk(Leaf())) == []


@dataclass(frozen=True)
class Holder:
    """No node, with one inside."""

    leaf: Leaf


def test_nodes_inside_of_what_is_no_node_are_walked_too() -> None:
    inside = dict(walk(tree(extra=[Holder(Leaf(size=6)), {"a": Leaf(size=7)}])))
    assert (inside["extra.0.leaf"], inside["extra.1.a"]) == (Leaf(size=6), Leaf(size=7))
    settings = ["ablation=instance_weights", "extractor@method.unlearn.instance_weights.extractor=classifier"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        method = build(compose("config", settings).method, "method")
    assert "unlearn.instance_weights.extractor" in dict(walk(method))  # whose identity belongs into the address


def test_the_place_of_raw_files_is_not_described() -> None:
    config = OmegaConf.load(CONF / "dataset" / "image_folder.yaml").source
    config.root = "/somewhere"
    here = describe(build(config, "dataset.source"))
    config.root = "/elsewhere"
    assert describe(build(config, "dataset.source")) == here
    assert "/somewhere" not in str(here)
    for change in ({"resolution": 64}, {"held_out": 5}, {"captions": "captions.csv"}):
        assert describe(build(OmegaConf.merge(config, change), "dataset.source")) != here


def test_a_description_is_of_resolved_values() -> None:
    def described(value: int) -> Any:
        config = OmegaConf.create({"recipe": {"count": value}, "outer": node(count="${recipe.count}")})
        return describe(build(config.outer, "outer"))

    assert described(5)["count"] == 5 and described(5) == describe(build(node(count=5), "outer"))
    assert described(5) != described(6)


def test_a_class_of_another_kind_is_refused_in_one_sentence() -> None:
    config = OmegaConf.load(CONF / "method" / "random.yaml")
    assert isinstance(build(config, "method", Method), Method)
    with pytest.raises(UserError, match=r"^method\._target_ must name a Diffusion, which Random is not\.$"):
        build(config, "method", Diffusion)
    with pytest.raises(UserError, match=r"^some\.outer\._target_ must name a dataclass, which UserError is not\.$"):
        build(node(_target_="tdattr.errors.UserError"), "some.outer", Method)
    with pytest.raises(UserError, match=r"^protocol=lds must be a group of settings, not a single value\.$"):
        build("lds", "protocol", Protocol)
    health = {"samples": 2, "extractor": dict(config), "far": 0.25}
    with pytest.raises(UserError, match=r"^health\.extractor\._target_ must name a Extractor, which Random is not\.$"):
        typed(HealthConfig, health, "health")
    extractor = {"_target_": "tdattr.features.torchscript.TorchScript"}
    members = {"members": {"a": extractor}, "weights": {"a": 1.0}}
    with pytest.raises(UserError, match=r"^method\.members\.a\._target_ must name a Method, which TorchScript is not"):
        typed(Ensemble, {"name": "ensemble"} | members, "method")


@dataclass(frozen=True)
class Choosing:
    """Fields of which only some values are good."""

    must: Literal["one", "two", "three"]
    may: Literal["one", "two"] | None
    alone: Literal["only"] = "only"
    later: Literal["a", "b"] | None = None
    leaf: Leaf | None = None


def test_choices() -> None:
    good = {"must": "two", "may": None}
    assert typed(Choosing, good, "place") == Choosing("two", None)
    assert typed(Choosing, good | {"may": "one", "later": "b"}, "place") == Choosing("two", "one", later="b")
    for change, words in (
        ({"must": "four"}, "must=four is unknown: choose one, two or three"),
        ({"must": 1}, "must=1 is unknown: choose one, two or three"),
        ({"may": "three"}, "may=three is unknown: choose one or two"),
        ({"may": ""}, "may= is unknown: choose one or two"),
        ({"alone": "other"}, "alone=other is unknown: choose only"),
        ({"later": "c"}, "later=c is unknown: choose a or b"),
    ):
        with pytest.raises(UserError, match=rf"^place\.{words}\.$"):
            typed(Choosing, good | change, "place")
    with pytest.raises(UserError, match=r"^place\.must: "):
        typed(Choosing, good | {"must": None}, "place")
    with pytest.raises(UserError, match=r"^place\.may must be given: it has no default\.$"):
        typed(Choosing, {"must": "one"}, "place")


@dataclass(frozen=True)
class Sharing:
    """A number or a choice."""

    must: float | Literal["auto", "none"]
    may: float | Literal["auto"] | None


def test_a_number_or_a_choice() -> None:
    good = {"must": "none", "may": None}
    assert typed(Sharing, good, "place") == Sharing("none", None)
    numbers = typed(Sharing, {"must": 1, "may": "auto"}, "place")
    assert numbers == Sharing(1.0, "auto") and isinstance(numbers.must, float)  # 1 and 1.0 would have two addresses
    for change, words in (
        ({"must": "odd"}, r"must: .*'odd'.* it may also be auto or none\."),
        ({"may": "none"}, r"may: .*'none'.* it may also be auto\."),
        ({"must": None}, r"must: .*it may also be auto or none\."),
        ({"must": [0.5]}, r"must: .*"),
        ({"must": "???"}, r"must must be given: it has no default\."),
    ):
        with pytest.raises(UserError, match=rf"^place\.{words}$"):
            typed(Sharing, good | change, "place")


def test_a_node_that_may_be_missing() -> None:
    good = {"must": "two", "may": None}
    target = {"_target_": f"{__name__}.Leaf"}
    assert typed(Choosing, good | {"leaf": target | {"size": 7}}, "place").leaf == Leaf(size=7)
    assert typed(Choosing, good | {"leaf": None}, "place").leaf is None
    for plain in (5, "leaf", {"size": 7}, [target]):
        with pytest.raises(
            UserError, match=r"^place\.leaf=.* must be a group of settings with a _target_, not a single"
        ):
            typed(Choosing, good | {"leaf": plain}, "place")
    with pytest.raises(UserError, match=r"^place\.leaf\._target_ must name a Leaf, which Whole is not\.$"):
        typed(Choosing, good | {"leaf": {"_target_": f"{__name__}.Whole", "name": "x"}}, "place")
    with pytest.raises(UserError, match=r"^place\.leaf\.colour: .*colour"):
        typed(Choosing, good | {"leaf": target | {"colour": "red"}}, "place")
