"""Which schema each folder of ``conf`` has, and the files of a whole config."""

from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, get_type_hints

from omegaconf import OmegaConf

from tdattr.bank.config import BankConfig
from tdattr.base_model import BaseConfig
from tdattr.codecs import Codec
from tdattr.configs import Node, import_class
from tdattr.data.noisy_groups import Noise
from tdattr.diffusion import Diffusion
from tdattr.features import Extractor
from tdattr.features.text import TextEncoder
from tdattr.loggers import Logger
from tdattr.methods import Method
from tdattr.methods.output import Output
from tdattr.metrics.aggregation import AggregateConfig
from tdattr.metrics.similarity import Measure
from tdattr.metrics.unlearning_accuracy import UnlearningAccuracy
from tdattr.networks import NetworkConfig
from tdattr.pipeline.dataset import DatasetConfig
from tdattr.pipeline.open import TopConfig
from tdattr.pipeline.workspace import HealthConfig, RemoveConfig
from tdattr.protocols import Protocol
from tdattr.queries import QueriesConfig
from tdattr.ranges import alternatives
from tdattr.schemas.comments import Names, read_comments
from tdattr.schemas.values import DRAFT, Definitions, Schema
from tdattr.scoring.elbo import ElboConfig
from tdattr.scoring.gradients import GradientConfig
from tdattr.training.config import TrainConfig, TrainerConfig
from tdattr.training.recipe import Recipe
from tdattr.unlearning.objectives import Objective
from tdattr.unlearning.saliency import Saliency

GROUPS: dict[str, type] = {  # folders of conf, at the top or in another one, and what their files configure
    "accuracy": UnlearningAccuracy,
    "aggregate": AggregateConfig,
    "codec": Codec,
    "dataset": DatasetConfig,
    "diffusion": Diffusion,
    "elbo": ElboConfig,
    "extractor": Extractor,
    "gradients": GradientConfig,
    "logger": Logger,
    "mask": Saliency,
    "measure": Measure,
    "method": Method,
    "model": NetworkConfig,
    "objective": Objective,
    "output": Output,
    "protocol": Protocol,
    "recipe": Recipe,
    "text": TextEncoder,
    "train": TrainConfig,
    "trainer": TrainerConfig,
}
WHOLE = "config"  # the schema of the files at the top and of these folders, which say a whole config or a part of it
SHARED = "definitions"
WHOLE_FOLDERS = ("ablation", "experiment")
OTHERS = ("hydra", "prompts", "local")  # Hydra's own, files of another kind, and a user's settings of launchers


@dataclass(frozen=True)
class WholeConfig(TopConfig):
    """A run: a dataset, a model trained on it, queries that it generates, a method that attributes them, and a protocol
    that checks the attribution."""

    dataset: DatasetConfig
    model: NetworkConfig
    diffusion: Diffusion
    codec: Codec
    train: TrainConfig
    trainer: TrainerConfig
    elbo: ElboConfig
    method: Method
    protocol: Protocol
    accuracy: UnlearningAccuracy | None
    logger: Logger
    queries: QueriesConfig
    health: HealthConfig
    remove: RemoveConfig
    metrics: list[str] | Literal["auto"]
    measures: dict[str, Any]
    plan: bool
    sweep: Literal["attached", "detached"]
    ablation: str | None
    paths: dict[str, str]
    hydra: dict[str, Any]
    base: BaseConfig  # of tdattr-base
    bank: BankConfig  # of tdattr-bank
    folder: str
    noise: Noise  # of tdattr-groups
    manifest: str


def make_schemas(conf: Path) -> dict[str, Schema]:
    """The schema of each group and of a whole config, and what they share, by their names; ``conf``: the folder whose
    comments describe keys, and whose files say which classes there are."""
    files = [path for path in sorted(conf.rglob("*.yaml")) if path.relative_to(conf).parts[0] not in OTHERS]
    classes = {target: import_class(target, path.stem) for path in files for target in find_targets(load(path))}
    comments: dict[type, dict[str, str]] = {}
    for path in files:
        said = read_comments(path)
        for cls, key, names in attribute(load(path), GROUPS.get(path.parent.name, WholeConfig), classes, ()):
            if names in said:
                comments.setdefault(cls, {}).setdefault(key, said[names])
    definitions = Definitions(classes, comments)
    references = {
        name: definitions.nodes(cls) if issubclass(cls, Node) else definitions.dataclass(cls)
        for name, cls in {**GROUPS, WHOLE: WholeConfig}.items()
    }
    schemas: dict[str, Schema] = {
        name: {"$schema": DRAFT, "allOf": [{"$ref": f"{SHARED}.json{reference}"}]}
        for name, reference in references.items()
    }
    return schemas | {SHARED: {"$schema": DRAFT, "definitions": definitions.made}}


def load(path: Path) -> Any:
    """What a YAML file holds, with nothing put in; numbers as OmegaConf reads them."""
    return OmegaConf.to_container(OmegaConf.load(path))


def find_targets(values: Any) -> Iterator[str]:
    """The classes that a config names."""
    if isinstance(values, dict):
        if str(values.get("_target_", "")).startswith("tdattr."):
            yield values["_target_"]
        for value in values.values():
            yield from find_targets(value)


def attribute(values: Any, hint: Any, classes: dict[str, type], names: Names) -> Iterator[tuple[type, str, Names]]:
    """Of every key in a config the class that has it, by the types of the fields that lead to it, and all names on the
    way. What a file says of a base of nodes without a ``_target_`` is nobody's."""
    if not isinstance(values, dict):
        return
    target = classes.get(str(values.get("_target_")))
    kinds = alternatives(hint) if target is None else (target,)
    cls = next((kind for kind in kinds if isinstance(kind, type) and is_dataclass(kind)), None)
    hints = {} if cls is None else {entry.name: get_type_hints(cls)[entry.name] for entry in fields(cls)}
    for key, value in values.items():
        if cls is not None and key in hints:
            yield cls, key, (*names, key)
            yield from attribute(value, hints[key], classes, (*names, key))
