"""Evaluation: what is checked before the first training step, and the whole chain from there to a summary."""

import json
import logging
from pathlib import Path
from typing import Any

import pandas as pd

from tdattr.artifacts import Artifact, provenance
from tdattr.attribution import attributed
from tdattr.configs import described
from tdattr.counterfactuals import Models
from tdattr.data import groups
from tdattr.errors import UserError
from tdattr.features import Extractor, extractors, identities
from tdattr.health import examine
from tdattr.metrics.similarity import Measure
from tdattr.protocols import Verdict
from tdattr.results import load_scores
from tdattr.stages import Chain
from tdattr.training.weights import check_weights

log = logging.getLogger(__name__)
SHOWN_GROUPS = 32


def check(chain: Chain) -> None:
    """Everything that can be wrong, before the first training step; weights before the dataset is prepared.

    Raises UserError.
    """
    setting = chain.setting()
    assert chain.measures  # finding them raises
    methods = [chain.method, *chain.others.values()]
    looking = [*methods, *([chain.health] if chain.health.samples else [])]
    for node in looking:
        identities(node, setting)
    log.info(
        "%s: N = %d training items, %d test items", chain.cfg.dataset.name, len(chain.data.train), len(chain.data.test)
    )
    if chain.cfg.dataset.groups is not None:
        found = groups.groups(chain.data, chain.cfg.dataset.groups)
        sizes = [f"{name} {len(members)}" for name, members in found.items()]
        more = f" and {len(sizes) - SHOWN_GROUPS} more" if len(sizes) > SHOWN_GROUPS else ""
        log.info("Groups by %s: %s%s", chain.cfg.dataset.groups, ", ".join(sizes[:SHOWN_GROUPS]), more)
    if len(chain.removed):
        log.info("F1 is trained without %d items; %d are left.", len(chain.removed), len(chain.ids))
    chain.protocol.check(len(chain.ids), chain.queries.count)
    check_groups(chain)
    check_seeds(chain)
    if any(getattr(method, "dampings", None) for method in chain.others.values()):
        raise UserError("damping=grid is for the method that is judged: give the others one value.")
    if getattr(chain.method, "dampings", None) and not chain.protocol.takes_grid:
        raise UserError("method.damping=grid is for choosing a value with protocol=lds: give one value here.")
    if chain.queries.explained == "controls" and not chain.protocol.takes_controls:
        raise UserError("queries.explained=controls is for protocol=lds: leave it out here.")
    network = chain.fresh_network()
    if chain.cfg.checkpoint is not None:
        check_weights(Path(chain.cfg.checkpoint), network, chain.diffusion)
    for method in methods:
        if hasattr(method, "elbo"):
            method.elbo.terms(chain.diffusion)
        method.check(network, chain.data, len(chain.ids))
    if chain.train.selection == "best" and not len(chain.data.test):
        raise UserError(
            "train.selection=best needs a test split, which this dataset has not: use train.selection=last."
        )
    if chain.train.batch_size % chain.trainer.devices:
        raise UserError(f"train.batch_size must be a multiple of trainer.devices={chain.trainer.devices}.")
    loadable: list[Extractor | Measure] = [part for node in looking for _, part in extractors(node)]
    for part in [*loadable, *chain.measures.values()]:
        part.load(setting)  # and forgotten again: what is damaged is found now
    log.info("The network has %.2f M trainable parameters.", sum(p.numel() for p in network.parameters()) / 1e6)


def check_seeds(chain: Chain) -> None:
    """Retraining must not be judged by other means over some of the same trainings. Raises UserError."""
    own, gold = (set(getattr(each, "seeds", ())) for each in (chain.method, chain.others.get("gold")))
    if own & gold and own != gold:
        raise UserError(
            f"method={chain.cfg.method.name} retrains under some of the seeds that protocol.gold is a mean over, so "
            f"that they agree by construction: set method.first={max(gold) + 1}."
        )


def check_groups(chain: Chain) -> None:
    """Whether the protocol can judge what the method scores, and whether there are groups that can be left out."""
    scores_groups = getattr(chain.method, "scores_groups", False)
    protocol = chain.protocol
    if scores_groups and not protocol.takes_groups:
        raise UserError(
            f"method={chain.cfg.method.name} scores groups, protocol={chain.cfg.protocol.name} judges training items: "
            "use protocol=logo or protocol=truth."
        )
    if not protocol.takes_groups:
        return
    if chain.cfg.dataset.groups is None:
        raise UserError("Groups are needed here: set dataset.groups to a field of the items or a manifest.")
    found = Models(chain).groups()
    if len(found) < 2:
        raise UserError(
            f"dataset.groups={chain.cfg.dataset.groups} gives {len(found)} group of the items that F1 sees: leaving it "
            "out would leave nothing, so choose groups of which there are at least two."
        )
    if hasattr(protocol, "check_data"):
        protocol.check_data(Models(chain))
    alone = [name for name, ids in found.items() if len(ids) == 1]
    if alone:
        raise UserError(
            f"Group {alone[0]!r} has a single item, whose removal cannot be told from chance: leave it out with "
            "remove.groups, or give dataset.groups larger groups."
        )


def facts(attribution: Artifact) -> dict[str, float]:
    """The means over the queries of what a method noted, for example how many steps it unlearned."""
    table = pd.read_csv(attribution.folder / "queries.csv").drop(columns=["query", "seconds"])
    return {str(name): float(value) for name, value in table.mean().items()}


def evaluated(chain: Chain) -> tuple[dict[str, Any], list[str]]:
    """Run the whole chain; return the content of ``summary.json`` and what to print."""
    cfg = chain.cfg
    f1 = chain.pretrained()
    health = examine(chain, f1)
    queries = chain.generated(f1)
    attribution = attributed(chain, cfg.method, chain.method)
    inputs = {"scores": attribution.address, "counterfactuals": groups.digest(chain.ids)}
    others = {role: attributed(chain, cfg.protocol[role], method) for role, method in chain.others.items()}
    inputs |= {role: artifact.address for role, artifact in others.items()}

    if hasattr(chain.protocol, "prepare"):  # outside of the artifact's lock, so that jobs can share it out
        chain.protocol.prepare(load_scores(attribution), Models(chain))

    def make(folder: Path) -> None:
        known = {role: load_scores(artifact) for role, artifact in others.items()}
        verdict: Verdict = chain.protocol.evaluate(load_scores(attribution), known, Models(chain))
        pd.DataFrame(verdict.table).to_csv(folder / "queries.csv", index=False)
        found = {"title": verdict.title} | verdict.summary
        content = {"summary": found, "artifacts": verdict.artifacts, "lines": verdict.lines}
        (folder / "verdict.json").write_text(json.dumps(content, indent=2))

    setting = chain.setting()
    config = described(cfg.protocol) | {"train": described(cfg.train), "precision": chain.trainer.precision}
    config["measures"] = {
        name: described(cfg.measures[name]) | {"identity": dict(measure.identity(setting))}
        for name, measure in chain.measures.items()
    }
    if chain.protocol.takes_groups:
        config["groups"] = {name: groups.digest(ids) for name, ids in Models(chain).groups().items()}
    evaluation = chain.store.get("evaluate", 4, config, inputs, make)
    verdict = json.loads((evaluation.folder / "verdict.json").read_text())
    summary = {
        "dataset": cfg.dataset.name,
        "model": cfg.model.name,
        "diffusion": cfg.diffusion.name,
        "method": cfg.method.name,
        "protocol": cfg.protocol.name,
        "seed": cfg.seed,
        "num_items": len(chain.ids),
        "num_queries": chain.queries.count,
        **health,
        **verdict["summary"],
        "facts": facts(attribution),
        "seconds_per_query": provenance(attribution)["facts"]["seconds_per_query"],
        "device": provenance(attribution)["device"],
        "artifacts": {
            "dataset": chain.prepared.name,
            "model": f1.name,
            "queries": queries.name,
            "scores": attribution.name,
            **{role: artifact.name for role, artifact in others.items()},
            "evaluation": evaluation.name,
            **verdict["artifacts"],
        },
    }
    return summary, verdict["lines"]
