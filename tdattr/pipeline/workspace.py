"""The workspace: one composed config as typed objects, the store, the device, and the dataset once it is asked for."""

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Shaped
from omegaconf import DictConfig

from tdattr.codecs import Codec
from tdattr.configs import Settings, name_class
from tdattr.costs import NUMBER_BYTES, Cost, Work
from tdattr.data import groups
from tdattr.data.conditions import name_conditions
from tdattr.data.names import compose
from tdattr.data.preparation import UNREADABLE, check_counts, prepare
from tdattr.data.prepared import SPLITS, Prepared, Split, load
from tdattr.diffusion import Diffusion
from tdattr.errors import UserError
from tdattr.features import Extractor, Setting
from tdattr.features.text import TextEncoder
from tdattr.ids import Ids
from tdattr.methods import Method
from tdattr.metrics.choice import choose_measures
from tdattr.metrics.similarity import Measure
from tdattr.metrics.unlearning_accuracy import UnlearningAccuracy
from tdattr.networks import Network, NetworkConfig
from tdattr.networks.lora import describe_adapter
from tdattr.pipeline.dataset import DatasetConfig
from tdattr.pipeline.encode import attach_latents
from tdattr.pipeline.pictures import digest_split, list_pictures, open_pictures
from tdattr.pipeline.prompted import FILE, make_split, plan_conditions, read_prompts
from tdattr.protocols import Protocol
from tdattr.queries import QueriesConfig
from tdattr.ranges import CountOrZero, Probability
from tdattr.recorder import Recorder
from tdattr.store import Artifact, Build, Plan, Store
from tdattr.training.config import ALL, TrainConfig, TrainerConfig
from tdattr.training.keep_base import keep_base

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class HealthConfig(Settings):
    """The ``health`` node: images that F1 generates to be compared with the training items as a whole; 0: none.
    A warning comes where more than the share ``far`` of the queries is unlike the data."""

    samples: CountOrZero
    extractor: Extractor | None
    far: Probability

    def __post_init__(self) -> None:
        if self.samples == 1:
            raise UserError(f"health.samples={self.samples} must be 0 (no check) or at least 2.")
        if self.samples and self.extractor is None:
            raise UserError("health.samples needs an extractor: choose one with extractor@health.extractor=<name>.")

    def unread(self) -> dict[str, str]:
        """The extractor, where nothing is compared."""
        return {} if self.samples else {"extractor": "samples=0"}


@dataclass(frozen=True)
class RemoveConfig:
    """The ``remove`` node: what not even F1 sees; items by their ids or names."""

    groups: list[str]
    ids: list[CountOrZero | str]


@dataclass(eq=False)
class Workspace(Settings):
    """What every stage works in. Opening it checks the config; nothing is computed before it is asked for."""

    first: ClassVar[str] = "F1"  # what a training without further removals gives, for messages
    section: ClassVar[str] = "train"  # under which its losses are recorded

    cfg: DictConfig  # as composed, for what is shown and stored of a run
    seed: int
    weights: str  # raw or ema: which weights of a trained model generate and are scored
    checkpoint: Path | None  # the user's own weights as F1
    until: str  # the last stage of a run
    dataset: DatasetConfig
    codec: Codec
    model: NetworkConfig
    diffusion: Diffusion
    train: TrainConfig
    trainer: TrainerConfig
    queries: QueriesConfig
    method: Method
    protocol: Protocol
    health: HealthConfig
    remove: RemoveConfig
    device: torch.device
    store: Store
    accuracy: UnlearningAccuracy | None = None  # what F1 and the models without a group are classified by
    workers: int = 1  # processes that a command shares its work among
    absent: bool = False  # the device is not here, so that nothing can be measured on it: of a plan
    attributed_groups: list[str] | None = None  # the names of the groups that are attributed; None: all
    recorder: Recorder = field(
        default_factory=Recorder
    )  # lets others see how the run goes; results do not depend on it

    def unread(self) -> dict[str, str]:
        """The names of groups, where no group is scored, left out, looked at or a query's."""
        looked_at = self.accuracy is not None or self.attributed_groups in (self.queries.where or {}).values()
        if looked_at or self.method.scores_groups or self.protocol.judges_groups:
            return {}
        return {"attributed_groups": f"protocol={self.cfg.protocol.name}"}

    # -- the dataset ---------------------------------------------------------------------------------------------

    @cached_property
    def prepared(self) -> Plan:
        """The dataset's artifact, built from its raw files where that has not been done."""
        source, text = self.dataset.source, self.dataset.text
        config, inputs = source.describe(), dict(source.fingerprint())
        if text is not None:
            config |= {"text": text.describe()}
            inputs |= {f"text/{name}": value for name, value in text.identity().items()}

        def make(folder: Path) -> None:
            if text is not None:
                text.check(prompt for split in SPLITS for item in source.examples(split) for prompt in item.prompts)
            encode = None if text is None else text.load(self.device)
            prepare(source, folder, self.dataset.name, encode, self.dataset.counts)

        return self.store.plan("dataset", 2, config, inputs, make, cost=self.cost_of_data, like=name_class(source))

    def cost_of_data(self) -> Cost:
        """What preparing the dataset takes: every image is read once."""
        return Cost(Work(looks=sum(self.dataset.source.count(split) for split in SPLITS)), what=self.dataset.name)

    @cached_property
    def data(self) -> Prepared:
        """The prepared dataset, every file and the number of items checked. What networks see of it is not encoded
        before it is asked for."""
        folder = self.prepared.get().folder
        data = load(folder)
        check_counts(data.facts["count"], self.dataset.counts, self.dataset.name)
        if left_out := data.facts.get("unreadable"):
            log.warning("Images that cannot be read are left out: %d, listed in %s.", left_out, folder / UNREADABLE)
        return self.attach_latents(data)

    def attach_latents(self, data: Prepared) -> Prepared:
        """A dataset of the run's items with what its networks see of them."""
        return attach_latents(data, self.prepared, self.codec, self.store, self.device)

    @property
    def inputs(self) -> dict[str, str]:
        """What stands for the items in the address of what networks make of them: the dataset and, where x is made of
        them, the latents."""
        latents = self.data.train.plan_x(mirrored=False)
        return {"dataset": self.data.content} | ({"latents": latents[0].address} if latents else {})

    @cached_property
    def removed(self) -> Ids:
        """The ids that even F1 does not see (``remove.groups`` and ``remove.ids``)."""
        return groups.select_removed(self.data, self.dataset.groups, self.remove.groups, self.remove.ids)

    @property
    def held_out(self) -> tuple[Split, Ids]:
        """Items that F1 is not trained on: those of the test split or, where there is none, those that are removed,
        which may be none either."""
        test = self.data.test
        return (test, np.arange(len(test))) if len(test) else (self.data.train, self.removed)

    @cached_property
    def ids(self) -> Ids:
        """The ids that F1 is trained on."""
        return np.setdiff1d(np.arange(len(self.data.train)), self.removed)

    @cached_property
    def groups(self) -> dict[str, Ids]:
        """The groups of the training items, of those that F1 sees; the same for all of a run."""
        every = groups.find_groups(self.data, self.dataset.groups)
        seen = {name: np.intersect1d(ids, self.ids) for name, ids in every.items()}
        return {name: ids for name, ids in seen.items() if len(ids)}

    @cached_property
    def attributed(self) -> dict[str, Ids]:
        """Those of the groups that are left out and scored one by one. Raises UserError for a name that is none of
        them."""
        if self.attributed_groups is None:
            return self.groups
        wanted = {compose(name) for name in self.attributed_groups}
        known = {compose(name): name for name in self.groups}
        unknown = sorted(wanted - known.keys())
        if unknown:
            raise UserError(
                f"attributed_groups names {unknown[0]!r}, which is no group of items that F1 sees; the groups by "
                f"{self.dataset.groups} are {', '.join(self.groups)}."
            )
        return {name: self.groups[name] for key, name in known.items() if key in wanted}

    @cached_property
    def has_dropout(self) -> bool:
        """Whether a training draws dropout masks."""
        return self.skeleton().has_dropout

    def skeleton(self) -> Network:
        """The network without numbers, for what its size alone decides; it is not kept."""
        channels, resolution = self.x_shape[:2]
        return self.outline_network(channels, resolution, self.data.condition_size)

    def outline_network(self, channels: int, resolution: int, condition: int) -> Network:
        """The same for any x and conditions of any length. Raises UserError where the network does not fit them."""
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            network = self.model.build(channels, resolution, condition)
            keep_base(network, self.train)
        return network

    @cached_property
    def adapter(self) -> dict[str, Any]:
        """What stands for ``train.lora`` in addresses; nothing where all weights are trained."""
        lora = self.train.lora
        return {} if lora.rank is None else describe_adapter(self.model.outline(), lora)

    @cached_property
    def weight_bytes(self) -> int:
        """What the weights of the network, or those of its adapter, take on the disk."""
        return sum(value.numel() for value in self.skeleton().state_dict().values()) * NUMBER_BYTES

    @cached_property
    def size(self) -> str:
        """A digest of what decides how long a pass through the network takes on a device."""
        shape: list[Any] = [*self.x_shape[:2], self.data.condition_size, self.trainer.precision, self.trainer.devices]
        shape += [self.adapter] if self.adapter else []
        shape += [self.train.trainable] if self.train.trainable != ALL else []
        return hashlib.sha256(json.dumps([self.model.describe(), shape]).encode()).hexdigest()[:16]

    @property
    def x_shape(self) -> tuple[int, ...]:
        """The shape of what the network sees of one item: channels, height and width."""
        return self.codec.shape((self.data.channels, self.data.resolution, self.data.resolution))

    @cached_property
    def prompts(self) -> list[dict[str, str]]:
        """The prompts of queries that are given in place of items, each with what else is known of it; none: none."""
        return read_prompts(self.queries)

    @cached_property
    def pictures(self) -> dict[str, Path]:
        """The files of the user's own pictures that are explained, by name; none: F1 generates the queries."""
        return list_pictures(self.queries.images)

    @cached_property
    def query_split(self) -> Split:
        """Where queries take their conditions from: the user's pictures, given prompts, the test split, or the training
        split where there is no other. Raises UserError for pictures that cannot be read, or do not say what they
        show."""
        if self.pictures:
            return open_pictures(self)
        if self.prompts:
            assert self.dataset.text is not None  # check_prompts
            return make_split(self.prompts, self.encode(self.prompts, self.dataset.text), self.data)
        return self.data.test if len(self.data.test) else self.data.train

    def encode(self, rows: list[dict[str, str]], text: TextEncoder) -> Shaped[np.ndarray, "row *condition"]:
        """The conditions of these prompts, which are stored."""
        return np.asarray(np.load(plan_conditions(self.store, rows, text, self.device).get().folder / FILE))

    @cached_property
    def pictures_digest(self) -> str:
        """What stands for the user's pictures in addresses."""
        return digest_split(self.query_split)

    @cached_property
    def query_conditions(self) -> dict[str, int]:
        """The items that queries can take their conditions from by name."""
        return name_conditions(self.query_split)

    # -- what looks at images ------------------------------------------------------------------------------------

    def setting(self, used: list[Artifact] | None = None) -> Setting:
        """What feature extractors and measures may use; artifacts that they ask for are noted in ``used``."""

        def plan(stage: str, version: int, config: Mapping[str, Any], build: Build) -> Plan:
            plan = self.store.plan(stage, version, config, {"dataset": self.data.content}, build)
            if used is not None:
                used.append(plan.artifact)
            return plan

        return Setting(
            prepared=lambda: self.data,
            device=self.device,
            batch_size=self.trainer.feature_batch,
            seed=self.seed,
            download=True,
            plan=plan,
        )

    @cached_property
    def measures(self) -> dict[str, Measure]:
        """The measures of similarity that the run takes (``metrics``)."""
        return choose_measures(self.cfg.metrics, self.cfg.measures, self.setting())
