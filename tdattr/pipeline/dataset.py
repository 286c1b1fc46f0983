"""The ``dataset`` node as a typed object: its raw files, its recipe, and what is said about its items."""

import logging
from dataclasses import dataclass, replace

from omegaconf import DictConfig, OmegaConf

from tdattr.codecs import Codec
from tdattr.configs import build, typed
from tdattr.data.prepared import Counts, Source
from tdattr.errors import UserError
from tdattr.features.text import TextEncoder
from tdattr.networks import NetworkConfig
from tdattr.training.recipe import AUTO, Recipe
from tdattr.wording import counted

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DatasetConfig:
    """The ``dataset`` node; every dataset's YAML has these keys and no other."""

    name: str
    source: Source
    recipe: Recipe  # what the train, method and queries nodes read
    text: TextEncoder | None  # makes the conditions out of the prompts
    counts: Counts | None  # how many items there must be
    groups: str | None  # a field of the items, field:expression, or the path of a manifest
    labels: str | None  # a field that method=condition compares where the model is unconditional


def read_dataset(node: DictConfig, listed: Source | None = None) -> DatasetConfig:
    """The ``dataset`` node of a composed config; ``listed``: its source, where that is there already. Raises UserError
    for an unknown or missing key, also of the recipe."""
    dataset: DatasetConfig = typed(DatasetConfig, OmegaConf.to_container(node, resolve=True), "dataset")
    return dataset if listed is None else replace(dataset, source=listed)


def derive_recipe(cfg: DictConfig) -> Source | None:
    """Put numbers in place of every ``auto`` of the recipe, by its rule. Gives the source, which has listed its files
    for this and need not do so again; None where there is no ``auto``.

    The raw files are listed and one image is read; nothing is prepared. Raises UserError where there is no rule, and
    what the source or the model raises.
    """
    recipe: Recipe = build(cfg.dataset.recipe, "dataset.recipe", Recipe)
    values = {str(name): value for name, value in cfg.dataset.recipe.items()}
    values |= {f"unlearn.{name}": value for name, value in cfg.dataset.recipe.unlearn.items()}
    names = [name for name, value in values.items() if value == AUTO]
    if not names:
        return None
    if recipe.rule is None:
        raise UserError(
            f"dataset.recipe.{names[0]}=auto needs a rule: give a number, or choose recipe@dataset.recipe=own."
        )
    source: Source = build(cfg.dataset.source, "dataset.source", Source)
    model, codec = build(cfg.model, "model", NetworkConfig), build(cfg.codec, "codec", Codec)
    items, parameters = source.count("train"), count_parameters(source, model, codec)
    given = {name: value for name, value in values.items() if value != AUTO}
    derived = recipe.rule.derive(items, parameters, given, model.has_base, cfg.train.lora.rank is not None)
    numbers = {name: derived[name] for name in names}
    for name, value in numbers.items():
        OmegaConf.update(cfg, f"dataset.recipe.{name}", value)
    log.info(
        "The recipe for %s and a network of %.2f M parameters: %s",
        counted(items, "training item"),
        parameters / 1e6,
        ", ".join(f"{name}={value:g}" for name, value in numbers.items()),
    )
    return source


def count_parameters(source: Source, model: NetworkConfig, codec: Codec) -> int:
    """How many parameters the network has for x of images as the source's first one that can be read; the width of what
    a text encoder makes is left out."""
    for example in source.samples():
        try:
            image = example.read()
        except UserError:  # the preparation names it, and all others
            continue
        condition = 0 if example.condition is None else example.condition.shape[-1]
        side = min(image.shape[:2])
        channels, resolution = codec.shape((image.shape[2], side, side))[:2]
        return model.count_parameters(channels, resolution, condition)
    raise UserError("None of the training images can be read: run tdattr-prepare to see why.")
