"""The ``dataset`` node as a typed object: its raw files, its recipe, and what is said about its items."""

from dataclasses import dataclass

from omegaconf import DictConfig, OmegaConf

from tdattr.configs import typed
from tdattr.data.prepared import Counts, Source
from tdattr.features.clip import ClipText
from tdattr.training.recipe import Recipe


@dataclass(frozen=True)
class DatasetConfig:
    """The ``dataset`` node; every dataset's YAML has these keys and no other."""

    name: str
    source: Source
    recipe: Recipe  # what the train, method and queries nodes read
    text: ClipText | None  # makes the conditions out of the prompts
    counts: Counts | None  # how many items there must be
    groups: str | None  # a field of the items, or the path of a manifest
    labels: str | None  # a field that method=condition compares where the model is unconditional


def read_dataset(node: DictConfig) -> DatasetConfig:
    """The ``dataset`` node of a composed config. Raises UserError for an unknown or missing key, also of the recipe."""
    dataset: DatasetConfig = typed(DatasetConfig, OmegaConf.to_container(node, resolve=True), "dataset")
    return dataset
