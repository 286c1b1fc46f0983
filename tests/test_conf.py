"""Everything in ``conf`` becomes typed objects, and recipes reach what reads them."""

import json
from dataclasses import fields, replace

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from tdattr.codecs import Codec
from tdattr.configs import Node, build, describe, walk
from tdattr.data.prepared import Counts, Source
from tdattr.diffusion import Diffusion
from tdattr.errors import UserError
from tdattr.features import Extractor
from tdattr.features.text import TextEncoder
from tdattr.features.torchscript import TorchScript
from tdattr.loggers import Logger
from tdattr.methods import Method
from tdattr.metrics.similarity import Measure
from tdattr.networks import NetworkConfig
from tdattr.pipeline.dataset import DatasetConfig, read_dataset
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


UNSIGNED = {"pixel", "condition", "features", "clip", "dino", "group_similarity", "dtrak", "das"}


@pytest.mark.parametrize("method", [choice for group, choice in CHOICES if group == "method"])
def test_a_method_that_compares_calls_nothing_below_zero_harmful(method: str) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        built = build(compose("config", [f"method={method}"]).method, "method", Method)
    assert built.signed == (method not in UNSIGNED)


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
            as_before = {name for name, value in part.added.items() if getattr(part, name) == value}
            assert part.describe().keys() == {"class", *known} - set(part.unaddressed) - as_before


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


def test_descriptors_are_compared_by_the_clip_that_goes_with_the_model() -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        tiny = compose("config", ["experiment=guda_c_glyphs", "method=guda_c", "model.weights=own"])
        large = compose("config", ["experiment=guda_unlearncanvas", "method=guda_c"])
        other = compose("config", ["method=guda_c"])  # whose model has none of its own
        chosen = compose("config", ["model=sd_tiny", "method=guda_c", "text@method.objective.text=clip_l14_openai"])
    assert tiny.method.objective.text.weights == "own/clip"
    for config in (large, other, chosen):
        assert config.method.objective.text.weights == "openai/clip-vit-large-patch14"


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
