"""Config nodes become typed objects, and what is wrong with one is said in a sentence that names the place."""

import json
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from tdattr.codecs import Codec
from tdattr.configs import Node, build, describe, typed, walk
from tdattr.data.prepared import Counts, Source
from tdattr.diffusion import Diffusion
from tdattr.errors import UserError
from tdattr.features import Extractor
from tdattr.features.text import TextEncoder
from tdattr.features.torchscript import TorchScript
from tdattr.loggers import Logger
from tdattr.methods import Method
from tdattr.methods.ensemble import Ensemble
from tdattr.methods.mucs import MUCS, MirrorConfig
from tdattr.metrics.similarity import Measure
from tdattr.networks import NetworkConfig
from tdattr.pipeline.dataset import DatasetConfig, read_dataset
from tdattr.pipeline.workspace import HealthConfig
from tdattr.protocols import Protocol
from tdattr.training.config import TrainConfig, TrainerConfig
from tdattr.training.recipe import Recipe
from tdattr.unlearning.objectives import Objective
from tdattr.unlearning.saliency import Saliency
from tests.conftest import CONF

KINDS: dict[str, type] = {
    "dataset": Source,
    "recipe": Recipe,
    "model": NetworkConfig,
    "diffusion": Diffusion,
    "codec": Codec,
    "train": TrainConfig,
    "method": Method,
    "objective": Objective,
    "mask": Saliency,
    "protocol": Protocol,
    "trainer": TrainerConfig,
    "extractor": Extractor,
    "measure": Measure,
    "text": TextEncoder,
    "logger": Logger,
}
PLACES = {
    "dataset": "dataset.source",
    "recipe": "dataset.recipe",
    "extractor": "health.extractor",
    "measure": "method.measure",
    "objective": "method.objective",
    "mask": "method.unlearn.mask",
    "text": "dataset.text",
}
BESIDES = {  # what must be chosen too, so that there is such a place
    "measure": ["method=logo_images"],
    "objective": ["method=guda_u"],
    "mask": ["method=guda_u"],
    "text": ["dataset=coco"],
}
CHOICES = [(group, path.stem) for group in KINDS for path in sorted((CONF / group).glob("*.yaml"))]
CHOICES.remove(("recipe", "default"))  # what the others start from
CHOICES.remove(("diffusion", "diffusers"))  # of which most is adopted from a checkpoint
CHOICES.remove(("logger", "several"))  # holds others


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


@pytest.mark.parametrize(("group", "choice"), CHOICES)
def test_every_choice_of_every_group_can_be_built_and_described(group: str, choice: str) -> None:
    place = PLACES.get(group, group)
    at = "" if group in ("dataset", place) else f"@{place}"
    settings = [*BESIDES.get(group, []), f"{group}{at}={choice}"]
    settings += ["dataset.source.root=/x"] * (choice == "image_folder")
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", settings)
    chosen = OmegaConf.select(config, place)
    if group == "logger" and "save_dir" in chosen:
        chosen.save_dir = "somewhere"  # a run knows its own folder, a composed config does not
    if group == "dataset":
        read_dataset(config.dataset)
    built = build(chosen, place, KINDS[group])
    assert chosen.get("name", choice).startswith(choice) or group == "logger"
    assert json.loads(json.dumps(describe(built))) == describe(built)
    for part in [built, *(part for _, part in walk(built))] if isinstance(built, Node) else []:
        known = {entry.name for entry in fields(part)}
        assert set(part.unaddressed) - {"name"} <= known  # a misspelled one would be described
        if type(part).describe is Node.describe:
            assert part.describe().keys() == {"class", *known} - set(part.unaddressed)


def test_a_teacher_is_trained_as_f1_until_it_is_told_otherwise() -> None:
    """Every value of the train node, those that will be added too."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        settings = ["method=guda_u", "objective@method.objective=esd", "train.steps=17", "train.mirror=true"]
        config = compose("config", [*settings, "train.augmentation.scale=0.7", "train.clip=3"])
        changed = compose("config", [*settings, "method.objective.teacher.train.steps=5"])
    teacher = build(config.method, "method").objective.teacher
    assert teacher.train == build(config.train, "train") and teacher.model is None
    assert build(changed.method, "method").objective.teacher.train == replace(build(changed.train, "train"), steps=5)
    assert changed.train.steps == 17


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
    here = describe(method)
    assert here["extractor"]["class"] == "tdattr.features.torchscript.TorchScript"
    config.method.extractor.weights = "/elsewhere/file.pt"
    assert describe(build(config.method, "method")) == here and "/elsewhere" not in str(here)
    config.method.extractor.size = 288
    assert describe(build(config.method, "method")) != here
    config.method.extractor.size = "large"
    with pytest.raises(UserError, match=r"^method\.extractor\.size: "):
        build(config.method, "method")


@pytest.mark.parametrize(
    ("settings", "change"),
    [
        (["method=guda_u"], "method.objective.weighting=published_code"),
        (["method=ensemble_d"], "method.weights.condition=1"),
    ],
)
def test_weights_that_are_numbers_or_rules_are_described(settings: list[str], change: str) -> None:
    """Only where a class says what lies at a place is the place left out."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        configs = [compose("config", each).method for each in (settings, [*settings, change])]
    first, second = (describe(build(config, "method")) for config in configs)
    assert first != second


def dataset(*settings: str) -> DatasetConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return read_dataset(compose("config", settings).dataset)


def test_a_recipe_is_chosen_and_its_values_reach_what_reads_them() -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose(
            "config",
            ["dataset=glyph_digits", "recipe@dataset.recipe=dtrak", "dataset.recipe.guidance=1.5", "method=guda_u"],
        )
    assert (config.train.epochs, config.train.schedule, config.train.mirror) == (200, "cosine", False)  # letters
    assert (config.queries.guidance, config.method.unlearn.learning_rate) == (1.5, 1.0e-5)
    recipe = read_dataset(config.dataset).recipe
    assert (recipe.batch_size, recipe.guidance, recipe.unlearn.epochs) == (128, 1.5, 30)
    assert recipe.unlearn.weight_by_size and config.method.weight_by_size  # families differ in size
    assert dataset("dataset=glyph_digits").recipe.unlearn.steps == 150


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("+dataset.recipe.stepz=3", r"^dataset\.recipe\.stepz: .*stepz"),
        ("+dataset.recipe.unlearn.rate=3", r"^dataset\.recipe\.unlearn\.rate: .*rate"),
        ("dataset.recipe.ema=slow", r"^dataset\.recipe\.ema: .*slow"),
        ("dataset.recipe.schedule=linear", r"^dataset\.recipe\.schedule=linear is unknown: choose constant or cosine"),
        ("dataset.recipe.batch_size=null", r"^dataset\.recipe\.batch_size: "),
        ("+dataset.label=object", r"^dataset\.label: .*label"),
        ("~dataset.groups", r"^dataset\.groups must be given"),
        ("dataset.counts=5", r"^dataset\.counts=5 must be a group of settings"),
        ("dataset.counts={valid: 3}", r"^dataset\.counts\.valid: .*valid"),
        ("dataset.text=words", r"^dataset\.text=words must be a group of settings"),
        (
            "dataset.source.condition=colour",
            r"condition=colour is unknown: choose none, object, style, family or prompt",
        ),
    ],
)
def test_what_is_wrong_with_a_dataset_or_its_recipe_is_one_sentence(change: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        dataset("dataset=glyphs", change)
    assert "\n" not in str(caught.value)


def test_the_recipe_that_others_start_from_is_not_complete() -> None:
    with pytest.raises(UserError, match=r"^dataset\.recipe\.steps must be given"):
        dataset("dataset=glyphs", "recipe@dataset.recipe=default")


def test_counts_may_leave_a_split_open() -> None:
    assert dataset("dataset=glyphs").counts is None
    assert dataset("dataset=glyphs", "dataset.counts={train: 5}").counts == Counts(train=5, test=None)
    assert dataset("dataset=cifar2").counts == Counts(5000, 1000)


def test_choices_may_be_numbers() -> None:
    config = OmegaConf.load(CONF / "dataset" / "fashion_mnist.yaml").source
    config.default_root = None
    assert build(OmegaConf.merge(config, {"resolution": 32}), "dataset.source").resolution == 32
    with pytest.raises(UserError, match=r"^dataset\.source\.resolution=64 is unknown: choose 28 or 32"):
        build(OmegaConf.merge(config, {"resolution": 64}), "dataset.source")
    with pytest.raises(UserError, match=r"^dataset\.source\.resolution: .*large"):
        build(OmegaConf.merge(config, {"resolution": "large"}), "dataset.source")


def test_networks_take_no_value_from_the_dataset() -> None:
    for path in (CONF / "model").glob("*.yaml"):
        assert "dataset" not in str(OmegaConf.to_container(OmegaConf.load(path), resolve=False)), path
