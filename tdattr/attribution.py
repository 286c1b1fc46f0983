"""Attribution: the scores of a method for the run's queries, and what a method is given to work with."""

import json
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from omegaconf import DictConfig
from safetensors.torch import save_file

from tdattr.artifacts import Artifact, provenance, shared_out
from tdattr.configs import described
from tdattr.counterfactuals import Models
from tdattr.data.groups import Ids, digest
from tdattr.errors import UserError
from tdattr.features import identities
from tdattr.methods import Build, Context, Member, Method, Trained
from tdattr.methods.resume import resumable
from tdattr.report.progress import track
from tdattr.results import DAMPINGS, GROUPS, load_images, load_scores
from tdattr.stages import Chain


def attributed(chain: Chain, node: DictConfig, method: Method) -> Artifact:
    """The scores of a method for the attributed queries, with the seconds that each took."""
    f1 = chain.pretrained()
    queries = chain.generated(f1)
    inputs = {"model": f1.address, "queries": queries.address}
    config = described(node) | {"seed": chain.cfg.seed, "weights": chain.cfg.weights}
    if identity := identities(method, chain.setting()):
        config["identity"] = identity
    if chain.queries.explained != "attributed":
        config["explained"] = chain.queries.explained
    if getattr(method, "scores_groups", False):
        config["groups"] = {name: digest(ids) for name, ids in Models(chain).groups().items()}
    if getattr(method, "retrains", False):
        config |= {"train": described(chain.cfg.train), "precision": chain.trainer.precision}
    if hasattr(method, "prepare"):  # outside of the artifact's lock, so that jobs can share it out
        method.prepare(context(chain, node, method, f1, queries, []))
    count = chain.queries.count

    def make(folder: Path) -> Mapping[str, Any]:
        partial = folder / "partial"
        partial.mkdir(exist_ok=True)
        for name, other in getattr(method, "used", {}).items():
            attributed(chain, node.members[name], other)  # before the clock starts
        started = time.perf_counter()
        shared: list[Artifact] = []
        built = len(chain.store.built)
        scorer = method.start(context(chain, node, method, f1, queries, shared))
        # what is shared counts in full, whether this run built it or another one had
        cost = {artifact.name: provenance(artifact)["seconds"] for artifact in shared}
        setup = time.perf_counter() - started + sum(cost.values())
        setup -= sum(cost.get(name, 0.0) for name in chain.store.built[built:])
        rows = []
        for query in track(range(count), f"Attributing ({node.name})", count):
            rows.append(resumable(partial / f"{query}.safetensors", lambda q=query: scorer(q)))  # type: ignore[misc]
        if not all(scores.isfinite().all() for scores, _ in rows):
            raise UserError(
                f"{node.name} gave scores that are no numbers: a training or unlearning behind them diverged (lower "
                "its learning rate) or a kernel cannot be inverted (raise its damping)."
            )
        save_file({"scores": torch.stack([scores for scores, _ in rows])}, folder / "scores.safetensors")
        np.save(folder / "ids.npy", chain.ids)
        if getattr(method, "scores_groups", False):
            (folder / GROUPS).write_text(json.dumps(list(config["groups"])))
        if dampings := getattr(method, "dampings", None):
            (folder / DAMPINGS).write_text(json.dumps(dampings))
        table = pd.DataFrame([{"query": query} | facts for query, (_, facts) in enumerate(rows)])
        table.to_csv(folder / "queries.csv", index=False)
        for file in partial.iterdir():
            file.unlink()
        partial.rmdir()
        seconds = float(table["seconds"].mean()) + setup / count
        if "member_seconds" in table:
            seconds += float(table["member_seconds"].mean())
        return {"setup_seconds": setup, "seconds_per_query": seconds}

    return chain.store.get("attribute", 1, config, inputs, make)


def context(
    chain: Chain, node: DictConfig, method: Method, f1: Artifact, queries: Artifact, used: list[Artifact]
) -> Context:
    """What a method may use; the shared artifacts that it asks for are noted in ``used``."""
    places = chain.queries.places

    inputs = {"model": f1.address, "dataset": chain.data.content}

    def complete(config: Mapping[str, Any]) -> dict[str, Any]:
        full = dict(config) | {"weights": chain.cfg.weights, "seed": chain.cfg.seed}
        full["diffusion"] = described(chain.cfg.diffusion)  # its generation schedule may be part of what is computed
        return full

    def shared(stage: str, version: int, config: Mapping[str, Any], make: Build) -> Path:
        used.append(chain.store.get(stage, version, complete(config), inputs, make))
        return used[-1].folder

    def shared_many(stage: str, version: int, wanted: list[tuple[Mapping[str, Any], Build]]) -> list[Trained]:
        found = shared_out(
            [partial(chain.store.offer, stage, version, complete(config), inputs, make) for config, make in wanted]
        )
        used.extend(found)
        return [trained(artifact) for artifact in found]

    def trained(artifact: Artifact) -> Trained:
        return Trained(artifact.address, artifact.folder, lambda: chain.network(artifact))

    def regenerated(removed: Ids) -> torch.Tensor:
        found, artifact = Models(chain).regenerate(removed)
        used.append(artifact)
        return found.images[places]

    def retrained(removals: list[Ids], first: int, repeats: int) -> list[list[Trained]]:
        found = Models(chain).train(removals, repeats, first)
        used.extend(artifact for artifacts in found for artifact in artifacts)
        return [[trained(artifact) for artifact in artifacts] for artifacts in found]

    def member(name: str) -> Member:
        artifact = attributed(chain, node.members[name], method.members[name])  # type: ignore[attr-defined]
        return Member(load_scores(artifact), provenance(artifact)["facts"]["seconds_per_query"])

    return Context(
        data=chain.data,
        ids=chain.ids,
        images=load_images(queries)[places],
        conditions=chain.query_split.condition(chain.query_items[places]),
        items=chain.query_split.items.iloc[chain.query_items[places]],
        diffusion=chain.diffusion,
        f1=lambda: chain.network(f1),
        f0=lambda: chain.fresh_network().eval().requires_grad_(False).to(chain.device),
        train=chain.train,
        trainer=chain.trainer,
        device=chain.device,
        seed=chain.cfg.seed,
        setting=chain.setting(used),
        shared=shared,
        shared_many=shared_many,
        model=trained(f1),
        queries=f"{queries.address}/{chain.queries.explained}",
        groups=Models(chain).groups,
        retrained=retrained,
        regenerated=regenerated,
        member=member,
    )
