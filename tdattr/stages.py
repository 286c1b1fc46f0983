"""The chain: dataset -> pretrain -> generate -> attribute -> evaluate. Every stage asks the store for its artifact."""

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from omegaconf import DictConfig
from safetensors.torch import load_file, save_file
from torch import nn

from tdattr.artifacts import Artifact, Store, provenance
from tdattr.configs import build, described
from tdattr.data import groups
from tdattr.data.prepared import Prepared, digest, load, prepare
from tdattr.diffusion import Diffusion
from tdattr.errors import UserError
from tdattr.methods import Context, Method
from tdattr.methods.resume import resumable
from tdattr.protocols import Evaluation, Generated, Verdict
from tdattr.report.progress import track
from tdattr.results import load_images, load_scores
from tdattr.seeding import generator, torch_seed
from tdattr.training.config import TrainConfig, TrainerConfig
from tdattr.training.pretrain import WEIGHTS, pretrain
from tdattr.training.weights import check_weights

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class QueriesConfig:
    """The ``queries`` node: how many images F1 generates to be explained, and how."""

    attributed: int
    controls: int
    guidance: float | None
    batch_size: int

    def __post_init__(self) -> None:
        if self.attributed < 1 or self.controls < 0 or self.batch_size < 1:
            raise UserError(
                "queries.attributed and queries.batch_size must be at least 1, queries.controls at least 0."
            )


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
        self.model = build(cfg.model, "model")
        self.source = build(cfg.dataset.source, "dataset.source")
        self.method: Method = build(cfg.method, "method")
        self.protocol: Evaluation = build(cfg.protocol, "protocol")
        self.queries: QueriesConfig = build(cfg.queries, "queries")
        self.reference: Method = build(cfg.protocol.reference, "protocol.reference")
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
        """The prepared dataset, every file checked."""
        return load(self.prepared.folder)

    @cached_property
    def prepared(self) -> Artifact:
        """The dataset's artifact, built from its raw files where that has not been done."""
        config = described(self.cfg.dataset.source)
        name = self.cfg.dataset.name

        def make(folder: Path) -> None:
            prepare(self.source, folder, name)

        return self.store.get("dataset", 1, config, self.source.fingerprint(), make)

    @cached_property
    def removed(self) -> groups.Ids:
        """The ids that even F1 does not see (``remove.groups`` and ``remove.ids``)."""
        return groups.chosen(self.data, str(self.cfg.dataset.groups), self.remove.groups, self.remove.ids)

    @cached_property
    def ids(self) -> groups.Ids:
        """The ids that F1 is trained on."""
        return np.setdiff1d(np.arange(len(self.data.train)), self.removed)

    def check(self) -> None:
        """Everything that can be wrong, before the first training step. Raises UserError."""
        found = groups.groups(self.data, str(self.cfg.dataset.groups))
        sizes = ", ".join(f"{name} {len(members)}" for name, members in found.items())
        log.info(
            "%s: N = %d training items, %d test items", self.cfg.dataset.name, len(self.data.train), len(self.data.test)
        )
        log.info("Groups by %s: %s", self.cfg.dataset.groups, sizes)
        if len(self.removed):
            log.info("F1 is trained without %d items; %d are left.", len(self.removed), len(self.ids))
        self.protocol.check(len(self.ids), self.queries.attributed)
        network = self.fresh_network()
        if self.cfg.checkpoint is not None:
            check_weights(Path(self.cfg.checkpoint), network)
        self.method.check(network, len(self.ids))
        self.reference.check(network, len(self.ids))
        if self.train.selection == "best" and not len(self.data.test):
            raise UserError(
                "train.selection=best needs a test split, which this dataset has not: use train.selection=last."
            )
        if self.train.batch_size % self.trainer.devices:
            raise UserError(f"train.batch_size must be a multiple of trainer.devices={self.trainer.devices}.")
        log.info("The network has %.2f M trainable parameters.", sum(p.numel() for p in network.parameters()) / 1e6)

    # -- pretrain: F1 and every counterfactual model -------------------------------------------------------------

    def fresh_network(self) -> nn.Module:
        """The network at its initialisation for this seed: F0, and where every training starts."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(torch_seed(self.cfg.seed, "initialisation"))
            return self.model.build(self.data.channels, self.data.resolution, self.data.condition_size)

    def pretrained(self, without: groups.Ids | None = None) -> Artifact:
        """F1, or the model trained from the same initialisation without some more ids."""
        counterfactual = without is not None and len(without) > 0
        ids = self.ids if without is None else np.setdiff1d(self.ids, without)
        removed = len(self.data.train) - len(ids)
        label = f"Retraining without {removed} items" if counterfactual else "Training F1"
        train = described(self.cfg.train)
        if self.train.selection == "last":  # then these change nothing
            train = {name: value for name, value in train.items() if name not in ("epoch_steps", "validation_draws")}
        if not removed:
            train["coupled"] = True  # both orders are the same one where nothing is removed
        diffusion = described(self.cfg.diffusion)
        config = {
            "model": described(self.cfg.model),
            "diffusion": {name: value for name, value in diffusion.items() if name not in self.diffusion.sampling},
            "train": train,
            "precision": self.trainer.precision,
            "seed": self.cfg.seed,
            "ids": groups.digest(ids),
        }
        if self.cfg.checkpoint is not None and not counterfactual:
            return self.imported(config)

        def make(folder: Path) -> Mapping[str, Any]:
            log.info("%s: %d steps of %d on %d items", label, self.train.steps, self.train.batch_size, len(ids))
            return pretrain(
                self.fresh_network(),
                self.data,
                ids,
                self.diffusion,
                self.train,
                self.trainer,
                self.cfg.seed,
                folder,
                label,
                None if counterfactual else self.logger,
            )

        return self.store.get("pretrain", 1, config, {"dataset": self.data.content}, make)

    def imported(self, config: Mapping[str, Any]) -> Artifact:
        """The user's own weights as F1 (``checkpoint=…``)."""
        path = Path(self.cfg.checkpoint)

        def make(folder: Path) -> None:
            for name in WEIGHTS:
                save_file(load_file(path), folder / f"{name}.safetensors")

        return self.store.get("checkpoint", 1, config, {"checkpoint": digest(path), "dataset": self.data.content}, make)

    def network(self, artifact: Artifact) -> nn.Module:
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
            network = self.network(model)
            shape = (self.data.channels, self.data.resolution, self.data.resolution)
            count = len(self.query_items)
            images = []
            starts = range(0, count, self.queries.batch_size)
            for start in track(starts, "Generating", len(starts)):
                numbers = range(start, min(start + self.queries.batch_size, count))
                condition = self.query_split.condition(self.query_items[list(numbers)])
                rngs = [generator(cfg.seed, "query", number) for number in numbers]
                with torch.inference_mode():
                    condition = None if condition is None else condition.to(self.device)
                    images.append(self.diffusion.sample(network, rngs, shape, condition, guidance).float().cpu())
            save_file({"images": torch.cat(images)}, folder / "images.safetensors")
            items = self.query_split.items.iloc[self.query_items].rename(columns={"id": "condition_from"})
            roles = ["attributed" if number < self.queries.attributed else "control" for number in range(count)]
            items.insert(0, "role", roles)
            items.insert(0, "query", range(count))
            items.to_csv(folder / "queries.csv", index=False)

        return self.store.get("generate", 1, config, {"model": model.address}, make)

    # -- attribute -----------------------------------------------------------------------------------------------

    def attributed(self, node: DictConfig, method: Method) -> Artifact:
        """The scores of a method for the attributed queries, with the seconds that each took."""
        f1 = self.pretrained()
        queries = self.generated(f1)
        inputs = {"model": f1.address, "queries": queries.address}
        config = described(node) | {"seed": self.cfg.seed, "weights": self.cfg.weights}
        count = self.queries.attributed

        def make(folder: Path) -> Mapping[str, Any]:
            partial = folder / "partial"
            partial.mkdir(exist_ok=True)
            started = time.perf_counter()
            shared: list[Artifact] = []
            built = len(self.store.built)
            scorer = method.start(self.context(f1, queries, shared))
            # what is shared counts in full, whether this run built it or another one had
            cost = {artifact.name: provenance(artifact)["seconds"] for artifact in shared}
            setup = time.perf_counter() - started + sum(cost.values())
            setup -= sum(cost.get(name, 0.0) for name in self.store.built[built:])
            rows = []
            for query in track(range(count), f"Attributing ({node.name})", count):
                rows.append(resumable(partial / f"{query}.safetensors", lambda q=query: scorer(q)))  # type: ignore[misc]
            if not all(scores.isfinite().all() for scores, _ in rows):
                raise UserError(
                    f"{node.name} gave scores that are no numbers: lower its learning rate, then run again."
                )
            save_file({"scores": torch.stack([scores for scores, _ in rows])}, folder / "scores.safetensors")
            np.save(folder / "ids.npy", self.ids)
            table = pd.DataFrame([{"query": query} | facts for query, (_, facts) in enumerate(rows)])
            table.to_csv(folder / "queries.csv", index=False)
            for file in partial.iterdir():
                file.unlink()
            partial.rmdir()
            seconds = float(table["seconds"].mean()) + setup / count
            return {"setup_seconds": setup, "seconds_per_query": seconds}

        return self.store.get("attribute", 1, config, inputs, make)

    def context(self, f1: Artifact, queries: Artifact, used: list[Artifact]) -> Context:
        """What a method may use; the shared artifacts that it asks for are noted in ``used``."""
        count = self.queries.attributed

        def shared(stage: str, version: int, config: Mapping[str, Any], make: Callable[[Path], None]) -> Path:
            inputs = {"model": f1.address, "dataset": self.data.content}
            full = dict(config) | {"weights": self.cfg.weights, "seed": self.cfg.seed}
            full["diffusion"] = described(self.cfg.diffusion)  # its generation schedule may be part of what is computed
            used.append(self.store.get(stage, version, full, inputs, make))
            return used[-1].folder

        return Context(
            data=self.data,
            ids=self.ids,
            images=load_images(queries)[:count],
            conditions=self.query_split.condition(self.query_items[:count]),
            diffusion=self.diffusion,
            f1=lambda: self.network(f1),
            f0=lambda: self.fresh_network().eval().requires_grad_(False).to(self.device),
            train=self.train,
            trainer=self.trainer,
            device=self.device,
            seed=self.cfg.seed,
            shared=shared,
        )

    # -- evaluate ------------------------------------------------------------------------------------------------

    def original(self) -> Generated:
        """The queries as F1 generated them."""
        return Generated(load_images(self.generated(self.pretrained())), self.queries.attributed)

    def regenerate(self, removed: groups.Ids) -> tuple[Generated, Artifact]:
        """Retrain without those ids and generate the queries again from their own seeds."""
        artifact = self.generated(self.pretrained(without=removed))
        return Generated(load_images(artifact), self.queries.attributed), artifact

    def evaluated(self) -> dict[str, Any]:
        """Run the whole chain and return the content of ``summary.json``."""
        cfg = self.cfg
        f1 = self.pretrained()
        queries = self.generated(f1)
        attribution = self.attributed(cfg.method, self.method)
        node = cfg.protocol.reference
        reference = self.attributed(node, self.reference)
        inputs = {"scores": attribution.address, "reference": reference.address}
        inputs |= {"counterfactuals": groups.digest(self.ids)}

        def make(folder: Path) -> None:
            verdict: Verdict = self.protocol.evaluate(load_scores(attribution), load_scores(reference), self)
            pd.DataFrame(verdict.table).to_csv(folder / "queries.csv", index=False)
            content = {"summary": verdict.summary, "artifacts": verdict.artifacts}
            (folder / "verdict.json").write_text(json.dumps(content, indent=2))

        config = described(cfg.protocol) | {"train": described(cfg.train), "precision": self.trainer.precision}
        evaluation = self.store.get("evaluate", 1, config, inputs, make)
        verdict = json.loads((evaluation.folder / "verdict.json").read_text())
        return {
            "dataset": cfg.dataset.name,
            "model": cfg.model.name,
            "diffusion": cfg.diffusion.name,
            "method": cfg.method.name,
            "protocol": cfg.protocol.name,
            "seed": cfg.seed,
            "num_items": len(self.ids),
            "num_queries": self.queries.attributed,
            **verdict["summary"],
            "seconds_per_query": provenance(attribution)["facts"]["seconds_per_query"],
            "device": provenance(attribution)["device"],
            "artifacts": {
                "dataset": self.prepared.name,
                "model": f1.name,
                "queries": queries.name,
                "scores": attribution.name,
                "reference": reference.name,
                "evaluation": evaluation.name,
                **verdict["artifacts"],
            },
        }


def pick_device(accelerator: str) -> str:
    """The torch device of a Lightning accelerator name. Raises UserError for one that is not there."""
    there = {"cpu": True, "gpu": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if accelerator == "auto":
        accelerator = next(name for name in ("gpu", "mps", "cpu") if there[name])
    if not there.get(accelerator):
        raise UserError(f"trainer.accelerator={accelerator} is not available here: use trainer=default or another one.")
    return "cuda" if accelerator == "gpu" else accelerator
