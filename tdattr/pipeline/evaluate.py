"""Evaluate: a protocol's verdict on the scores of a method."""

import logging
import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from tdattr.costs import NO_WORK, Cost
from tdattr.files import to_json
from tdattr.ids import digest_ids
from tdattr.metagradients.describe import tell_smoothness
from tdattr.metrics.comparison import warn_few
from tdattr.pipeline.attribute import attribute, describe_needs, other_methods, read_noted
from tdattr.pipeline.counterfactuals import WorkspaceCounterfactuals
from tdattr.pipeline.generate import generate, load_queries
from tdattr.pipeline.plausibility import Look, look_at, plan_plausibility, say
from tdattr.pipeline.train import TRAINED, train
from tdattr.pipeline.workspace import Workspace
from tdattr.protocols import Judged, Verdict
from tdattr.queries import TABLE
from tdattr.recorder import Picture
from tdattr.scores import Scores, load_scores
from tdattr.scoring.describe import tell_allocation
from tdattr.store import Artifact, Plan, provenance
from tdattr.tables import REBUILD, read_json, write_table
from tdattr.unlearning.capped import tell_capped

log = logging.getLogger(__name__)
VERDICT = "verdict.json"
MISSES_SHARE = 0.05  # of the highest scores: many, as another draw of 100 pairs exchanges 1.5 to 9 % of them


def evaluate(ws: Workspace) -> Plan:
    """The verdict on the workspace's method. It holds all that a summary says, so that nothing else need be stored any
    more to show it. Nothing is computed before the plan's ``get``."""
    evaluation = Evaluation(ws)
    config, inputs, cost = evaluation.config, evaluation.inputs, evaluation.cost
    return ws.store.plan("evaluate", 6, config, inputs, evaluation.save, evaluation.judge, cost=cost)


@dataclass(frozen=True)
class Evaluation:
    """What the plan of ``evaluate`` does."""

    ws: Workspace

    @property
    def config(self) -> dict[str, Any]:
        """Everything that the verdict depends on besides the scores."""
        ws = self.ws
        config = {"protocol": ws.protocol.describe(), "ids": digest_ids(ws.ids), "seed": ws.seed}
        return config | describe_needs(ws, ws.protocol.needs)

    @property
    def inputs(self) -> dict[str, str]:
        """The scores of the method, and of those that the protocol compares it with."""
        others = {role: attribute(self.ws, method).address for role, method in other_methods(self.ws).items()}
        queries = generate(self.ws, train(self.ws)).address
        return {"scores": attribute(self.ws).address, "queries": queries} | others

    def cost(self) -> Cost:
        """The scores, whatever the protocol asks for, and what looks at images."""
        ws = self.ws
        attributions = {role: attribute(ws, method) for role, method in other_methods(ws).items()}
        judged = {role: Judged(plan.address, known_scores(plan)) for role, plan in attributions.items()}
        own, models = attribute(ws), WorkspaceCounterfactuals(ws, ws.protocol.needs)
        asked = ws.protocol.work(Judged(own.address, known_scores(own)), judged, ws.ids, models)
        measures = [plan for measure in ws.measures.values() for plan in measure.artifacts(ws.setting())]
        needs = [generate(ws, train(ws)), own, *attributions.values(), *(asked or ()), *measures]
        needs += [plan_plausibility(ws)] if ws.pictures else []
        return Cost(None if asked is None else NO_WORK, needs, ws.protocol.name)

    def judge(self) -> tuple[Verdict, Artifact, Look]:
        """The verdict: whatever takes long is an artifact of its own, which jobs share out. And what is seen of the
        queries."""
        ws = self.ws
        generated = load_queries(ws, generate(ws, train(ws)))
        ws.recorder.show("queries", partial(draw, generated.images), 0)
        queries = generated.select(ws.queries.indices)
        look = look_at(ws, queries.images)
        for warning in look.warn(ws):
            say(warning, "Warning, before what takes long")
        attribution = attribute(ws).get()
        others = {role: load_scores(attribute(ws, method).get()) for role, method in other_methods(ws).items()}
        models = WorkspaceCounterfactuals(ws, ws.protocol.needs)
        return ws.protocol.evaluate(load_scores(attribution), others, queries, models), attribution, look

    def save(self, folder: Path, judged: tuple[Verdict, Artifact, Look]) -> None:
        """The verdict, and what the method noted on the way."""
        import pandas as pd

        verdict, attribution, look = judged
        write_table(folder / TABLE, pd.DataFrame(verdict.table))
        origin = provenance(attribution)
        content = {
            "summary": {"title": verdict.title} | verdict.summary,
            "artifacts": verdict.artifacts,
            "lines": verdict.lines,
            "warnings": verdict.warnings,
            "far_queries": look.far,
            "facts": mean_facts(attribution),
            "seconds_per_query": origin["facts"]["seconds_per_query"],
            "device": origin["device"],
        }
        if self.ws.pictures:
            content["pictures"] = look.pictures
        (folder / VERDICT).write_text(to_json(content))


def draw(images: Tensor) -> Picture:
    """A grid of images."""
    from tdattr.pictures import grid  # torchvision takes a second to import

    return grid(images)


def known_scores(plan: Plan) -> Scores | None:
    """The scores of an attribution where they are stored."""
    return load_scores(plan.artifact) if plan.finished else None


def mean_facts(attribution: Artifact) -> dict[str, float]:
    """The means over the queries of what a method noted, for example how many steps it unlearned."""
    return {str(name): float(value) for name, value in read_noted(attribution).mean().items()}


def read_verdict(folder: Path) -> dict[str, Any]:
    """What an evaluation wrote. A fact that was not finite, which JSON does not know, is not a number."""
    verdict: dict[str, Any] = read_json(folder / VERDICT, REBUILD)
    verdict["facts"] = {name: math.nan if value is None else value for name, value in verdict["facts"].items()}
    return verdict


def summarise(ws: Workspace, plan: Plan) -> tuple[dict[str, Any], list[str]]:
    """The content of ``summary.json`` and the lines to print."""
    verdict = read_verdict(plan.get().folder)
    f1 = train(ws)
    others = {role: attribute(ws, method).name for role, method in other_methods(ws).items()}
    summary: dict[str, Any] = {
        "dataset": ws.dataset.name,
        "model": ws.cfg.model.name,
        "diffusion": ws.cfg.diffusion.name,
        "method": ws.cfg.method.name,
        "protocol": ws.cfg.protocol.name,
        "seed": ws.seed,
        "num_items": len(ws.ids),
        "num_queries": ws.queries.count,
        "imported": f1.stage != TRAINED,
        "signed": ws.method.signed,
        "far_queries": verdict["far_queries"],
        "warnings": [
            *verdict["warnings"],
            *warn_of_scores(ws, verdict["facts"]),
            *warn_of_queries(ws, Look(verdict["far_queries"], verdict.get("pictures", []))),
        ],
    }
    if of_method := ws.method.warn(verdict["facts"]):
        summary["method_warnings"] = of_method  # those of ``warnings`` that no table marks
    if "pictures" in verdict:
        summary["pictures"] = verdict["pictures"]
    if taken := summary.keys() & verdict["summary"].keys():
        raise TypeError(f"the summary of protocol={ws.cfg.protocol.name} has {min(taken)}, which every summary has")
    summary |= verdict["summary"] | {
        "facts": verdict["facts"],
        "seconds_per_query": verdict["seconds_per_query"],
        "device": verdict["device"],
        "artifacts": {
            "dataset": ws.prepared.name,
            "model": f1.name,
            "queries": generate(ws, f1).name,
            "scores": attribute(ws).name,
            **others,
            "evaluation": plan.name,
            **verdict["artifacts"],
        },
    }
    return summary, [*verdict["lines"], *tell_allocation(verdict["facts"]), *tell_smoothness(verdict["facts"])]


def warn_of_scores(ws: Workspace, facts: dict[str, float]) -> list[str]:
    """Why the scores may be worse than they could be, by what the method noted."""
    capped = tell_capped(facts)
    misses = warn_of_misses(ws.protocol.top(len(ws.ids)), facts)
    return [*misses, *([] if capped is None else [capped]), *ws.method.warn(facts)]


def warn_of_misses(top: int | None, facts: dict[str, float]) -> list[str]:
    """Where the scores may leave out more of the ``top`` highest than another draw of their noise would exchange."""
    missed = facts.get("expected_misses", 0.0)
    if top is None or missed < MISSES_SHARE * top:
        return []
    return [
        f"{missed:.1f} of the {top} items that a query is attributed to are expected to be wrong ones: raise "
        "method.score.doubt."
    ]


def warn_of_queries(ws: Workspace, look: Look) -> list[str]:
    """Why the queries may make a verdict say less than it seems to, whatever the protocol: they are few, or F1 does not
    make such images."""
    setting = "the number of pictures" if ws.pictures else f"queries.{ws.queries.explained}"
    few = warn_few(ws.queries.count, setting) if ws.protocol.judges else None
    return [*([] if few is None else [few]), *look.warn(ws)]
