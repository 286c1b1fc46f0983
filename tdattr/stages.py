"""The chain: dataset -> pretrain -> generate. Every stage asks the store for its artifact.

What attributes and what judges stand in ``attribution`` and ``evaluation``.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from omegaconf import DictConfig
from safetensors.torch import load_file, save_file
from torch import Tensor

from tdattr.artifacts import Artifact, Store
from tdattr.codecs.pixels import Pixels
from tdattr.configs import build, described
from tdattr.data import groups
from tdattr.data.groups import Ids
from tdattr.data.prepared import Prepared, check_counts, digest, load, prepare
from tdattr.diffusion import Diffusion
from tdattr.errors import UserError
from tdattr.features import Setting
from tdattr.features.clip import ClipText
from tdattr.methods import Method
from tdattr.metrics.choice import choose_measures
from tdattr.metrics.similarity import Measure
from tdattr.networks import Given, Network, NetworkConfig
from tdattr.protocols import Evaluation
from tdattr.report.progress import track
from tdattr.seeding import generator, torch_seed
from tdattr.training.config import WEIGHTS, TrainConfig, TrainerConfig
from tdattr.training.weights import trained_for

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class QueriesConfig:
    """The ``queries`` node: how many images F1 generates to be explained, and how."""

    attributed: int
    controls: int
    guidance: float | None
    batch_size: int
    explained: str

    def __post_init__(self) -> None:
        if self.explained not in ("attributed", "controls"):
            raise UserError(f"queries.explained={self.explained} is unknown: choose attributed or controls.")
        if self.explained == "controls" and self.controls < 1:
            raise UserError("queries.explained=controls needs queries.controls of at least 1.")
        if self.attributed < 1 or self.controls < 0 or self.batch_size < 1:
            raise UserError(
                "queries.attributed and queries.batch_size must be at least 1, queries.controls at least 0."
            )

    @property
    def places(self) -> slice:
        """Which of the generated images a method explains."""
        first = slice(0, self.attributed)
        return first if self.explained == "attributed" else slice(self.attributed, self.attributed + self.controls)

    @property
    def count(self) -> int:
        """How many images a method explains."""
        return self.places.stop - self.places.start


@dataclass(frozen=True)
class HealthConfig:
    """The ``health`` node: images that F1 generates to be compared with the training items as a whole; 0: none."""

    samples: int
    extractor: Any  # an Extractor

    def __post_init__(self) -> None:
        if self.samples < 0 or self.samples == 1:
            raise UserError(f"health.samples={self.samples} must be 0 (no check) or at least 2.")


@dataclass(frozen=True)
class RemoveConfig:
    """The ``remove`` node: what not even F1 sees."""

    groups: list[str]
    ids: list[int]


@dataclass
class Chain:
    """The stages of one composed config. Building it checks the config; nothing is computed before it is asked for."""

    cfg: DictConfig
    logger: Any = None

    def __post_init__(self) -> None:
        cfg = self.cfg
        self.train: TrainConfig = build(cfg.train, "train")
        self.trainer: TrainerConfig = build(cfg.trainer, "trainer")
        self.diffusion: Diffusion = build(cfg.diffusion, "diffusion")
        self.model: NetworkConfig = build(cfg.model, "model")
        self.source = build(cfg.dataset.source, "dataset.source")
        self.method: Method = build(cfg.method, "method")
        self.protocol: Evaluation = build(cfg.protocol, "protocol")
        self.queries: QueriesConfig = build(cfg.queries, "queries")
        self.others: dict[str, Method] = {
            role: getattr(self.protocol, role)
            for role in self.protocol.others
            if getattr(self.protocol, role) is not None
        }
        self.health: HealthConfig = build(cfg.health, "health")
        self.text: ClipText | None = build(cfg.dataset.text, "dataset.text") if cfg.dataset.get("text") else None
        if self.health.samples and not hasattr(self.health.extractor, "identity"):
            raise UserError("health.samples needs an extractor: choose one with extractor@health.extractor=<name>.")
        self.model.check_diffusion(self.diffusion)
        self.remove: RemoveConfig = build(cfg.remove, "remove")
        if not isinstance(cfg.seed, int) or cfg.seed < 0:
            raise UserError(f"seed={cfg.seed} must be a whole number, 0 or larger.")
        if cfg.weights not in WEIGHTS:
            raise UserError(f"weights={cfg.weights} is unknown: choose one of {', '.join(WEIGHTS)}.")
        if self.trainer.threads is not None:
            torch.set_num_threads(self.trainer.threads)
        self.device = torch.device(pick_device(self.trainer.accelerator))
        device_name = torch.cuda.get_device_name() if self.device.type == "cuda" else self.device.type
        self.store = Store(Path(cfg.paths.artifacts), device_name)

    # -- the dataset ---------------------------------------------------------------------------------------------

    @cached_property
    def data(self) -> Prepared:
        """The prepared dataset, every file and the number of items checked."""
        data = load(self.prepared.folder)
        check_counts(data.facts["count"], self.cfg.dataset.get("counts"), self.cfg.dataset.name)
        return data

    @cached_property
    def prepared(self) -> Artifact:
        """The dataset's artifact, built from its raw files where that has not been done."""
        cfg = self.cfg.dataset
        config, inputs = described(cfg.source), self.source.fingerprint()
        if self.text is not None:
            config |= {"text": described(cfg.text)}
            inputs |= {f"text/{name}": value for name, value in self.text.identity().items()}

        def make(folder: Path) -> None:
            encode = None if self.text is None else self.text.load(self.device)
            prepare(self.source, folder, cfg.name, encode, cfg.get("counts"))

        return self.store.get("dataset", 1, config, inputs, make)

    @cached_property
    def removed(self) -> Ids:
        """The ids that even F1 does not see (``remove.groups`` and ``remove.ids``)."""
        return groups.chosen(self.data, self.cfg.dataset.groups, self.remove.groups, self.remove.ids)

    @cached_property
    def ids(self) -> Ids:
        """The ids that F1 is trained on."""
        return np.setdiff1d(np.arange(len(self.data.train)), self.removed)

    @cached_property
    def groups(self) -> dict[str, Ids]:
        """The groups of the training items, of those that F1 sees; the same for all of a run."""
        every = groups.groups(self.data, self.cfg.dataset.groups)
        found = {name: np.intersect1d(ids, self.ids) for name, ids in every.items()}
        return {name: ids for name, ids in found.items() if len(ids)}

    # -- what looks at images ------------------------------------------------------------------------------------

    def setting(self, used: list[Artifact] | None = None) -> Setting:
        """What feature extractors and measures may use; artifacts that they ask for are noted in ``used``."""

        def shared(
            stage: str, version: int, config: Mapping[str, Any], make: Callable[[Path], Mapping[str, Any] | None]
        ) -> Path:
            artifact = self.store.get(stage, version, config, {"dataset": self.data.content}, make)
            if used is not None:
                used.append(artifact)
            return artifact.folder

        return Setting(
            prepared=lambda: self.data,
            groups=lambda by: groups.groups(self.data, by),
            device=self.device,
            batch_size=self.trainer.feature_batch,
            seed=self.cfg.seed,
            download=True,
            shared=shared,
        )

    @cached_property
    def measures(self) -> dict[str, Measure]:
        """The measures of similarity that the run takes (``metrics``)."""
        return choose_measures(self.cfg.metrics, self.cfg.measures, self.setting())

    # -- pretrain: F1 and every counterfactual model -------------------------------------------------------------

    def fresh_network(self, seed: int | None = None) -> Network:
        """The network at its initialisation for this seed (the run's): F0, and where every training starts."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(torch_seed(self.cfg.seed if seed is None else seed, "initialisation"))
            return self.model.build(self.data.channels, self.data.resolution, self.data.condition_size)

    def pretrained(self, without: Ids | None = None) -> Artifact:
        """F1, or the model trained from the same initialisation without some more ids."""
        artifact = self.training(without, self.cfg.seed, wait=True)
        assert artifact is not None
        return artifact

    def training(self, without: Ids | None, seed: int, wait: bool) -> Artifact | None:
        """A training under any seed; None where another job is at it and this one shall not ``wait``."""
        counterfactual = without is not None and len(without) > 0
        ids = self.ids if without is None else np.setdiff1d(self.ids, without)
        removed = len(self.data.train) - len(ids)
        label = f"Retraining without {removed} items" if counterfactual else "Training F1"
        train = described(self.cfg.train)
        if self.train.selection == "last":  # then these change nothing
            train = {name: value for name, value in train.items() if name not in ("epoch_steps", "validation_draws")}
        plain = {"schedule": "constant", "clip": None}  # left out, as before there was anything else
        train = {name: value for name, value in train.items() if name not in plain or value != plain[name]}
        if not removed:
            train["coupled"] = True  # both orders are the same one where nothing is removed
        diffusion = described(self.cfg.diffusion)
        config = {
            "model": described(self.cfg.model) | dict(self.model.identity()),
            "diffusion": {name: value for name, value in diffusion.items() if name not in self.diffusion.sampling},
            "train": train,
            "precision": self.trainer.precision,
            "seed": seed,
            "ids": groups.digest(ids),
        }
        if (self.cfg.checkpoint is not None or self.model.has_weights) and not counterfactual:
            return self.imported(config)

        def make(folder: Path) -> Mapping[str, Any]:
            from tdattr.training.pretrain import pretrain  # Lightning takes seconds to import

            log.info("%s: %d steps of %d on %d items", label, self.train.steps, self.train.batch_size, len(ids))
            return pretrain(
                self.fresh_network(seed),
                self.data,
                ids,
                self.diffusion,
                self.train,
                self.trainer,
                seed,
                folder,
                label,
                None if counterfactual else self.logger,
            )

        return self.store.offer("pretrain", 1, config, {"dataset": self.data.content}, make, wait)

    def imported(self, config: Mapping[str, Any]) -> Artifact:
        """The user's own weights as F1 (``checkpoint=…``)."""
        path = self.cfg.checkpoint
        inputs = self.model.identity() if path is None else {"checkpoint": digest(Path(path))}

        def make(folder: Path) -> None:
            sizes = self.data.channels, self.data.resolution, self.data.condition_size
            network = self.model.pretrained(*sizes) if path is None else None
            weights = load_file(path) if network is None else network.state_dict()
            for name in WEIGHTS:
                save_file(weights, folder / f"{name}.safetensors", metadata=trained_for(self.diffusion))

        return self.store.get("checkpoint", 1, config, {**inputs, "dataset": self.data.content}, make)

    def network(self, artifact: Artifact) -> Network:
        """A new copy of a trained network, in evaluation mode on the device."""
        network = self.fresh_network()
        network.load_state_dict(load_file(artifact.folder / f"{self.cfg.weights}.safetensors"))
        return network.eval().requires_grad_(False).to(self.device)

    # -- generate ------------------------------------------------------------------------------------------------

    @cached_property
    def query_items(self) -> np.ndarray:
        """For each query, the item of the test split (of the training split where there is no other) it takes its
        condition from: a permutation of them under this seed, the attributed queries first (MUCS code; METHODS §5)."""
        count = self.queries.attributed + self.queries.controls
        pool = len(self.query_split)
        return np.resize(generator(self.cfg.seed, "queries").permutation(pool), count)

    @property
    def query_split(self) -> Any:
        """Where conditions for queries come from."""
        return self.data.test if len(self.data.test) else self.data.train

    def generated(self, model: Artifact) -> Artifact:
        """The run's queries as that model generates them, each from its own seed."""
        cfg = self.cfg
        guidance = self.queries.guidance if self.data.condition_size else None
        config = {
            "diffusion": described(cfg.diffusion),
            "attributed": self.queries.attributed,
            "controls": self.queries.controls,
            "guidance": guidance,
            "weights": cfg.weights,
            "seed": cfg.seed,
        }

        def make(folder: Path) -> None:
            count = len(self.query_items)
            rngs = [generator(cfg.seed, "query", number) for number in range(count)]
            images = self.sampled(model, rngs, self.query_split.condition(self.query_items), "Generating")
            save_file({"images": images}, folder / "images.safetensors")
            items = self.query_split.items.iloc[self.query_items].rename(columns={"id": "condition_from"})
            roles = ["attributed" if number < self.queries.attributed else "control" for number in range(count)]
            items.insert(0, "role", roles)
            items.insert(0, "query", range(count))
            items.to_csv(folder / "queries.csv", index=False)

        return self.store.get("generate", 1, config, {"model": model.address}, make)

    def sampled(
        self, model: Artifact, rngs: list[np.random.Generator], conditions: Tensor | None, description: str
    ) -> Float[Tensor, "image channel height width"]:
        """An image for each generator and condition, ``queries.batch_size`` at a time, with the queries' guidance."""
        network, codec = self.network(model), Pixels()
        guidance = self.queries.guidance if self.data.condition_size else None
        shape = (self.data.channels, self.data.resolution, self.data.resolution)
        starts = range(0, len(rngs), self.queries.batch_size)
        images = []
        for start in track(starts, description, len(starts)):
            part = slice(start, start + self.queries.batch_size)
            given = Given(None if conditions is None else conditions[part]).to(self.device)
            with torch.inference_mode():
                x = self.diffusion.sample(network, rngs[part], shape, given, guidance)
                images.append(codec.decode(x).float().cpu())
        return torch.cat(images)


def pick_device(accelerator: str) -> str:
    """The torch device of a Lightning accelerator name. Raises UserError for one that is not there."""
    there = {"cpu": True, "gpu": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if accelerator == "auto":
        accelerator = next(name for name in ("gpu", "mps", "cpu") if there[name])
    if not there.get(accelerator):
        raise UserError(f"trainer.accelerator={accelerator} is not available here: use trainer=default or another one.")
    return "cuda" if accelerator == "gpu" else accelerator
