"""Attribute: the scores of a method for the run's queries, and what a method is given to work with."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from tdattr.configs import name_class, walk
from tdattr.costs import NUMBER_BYTES, Cost, Work
from tdattr.errors import UserError
from tdattr.features import identities
from tdattr.files import to_json
from tdattr.ids import digest_ids
from tdattr.methods import Context, Member, Method, MethodWork, Scorer
from tdattr.pipeline.counterfactuals import WorkspaceCounterfactuals
from tdattr.pipeline.generate import blank_queries, generate, load_queries
from tdattr.pipeline.prompted import describe_text
from tdattr.pipeline.scored import ERRORS, FILE, check_scored, tensors
from tdattr.pipeline.teacher import find_teachers, open_teacher
from tdattr.pipeline.train import TRAINED, as_trained, build_network, train, training_config
from tdattr.pipeline.workspace import Workspace
from tdattr.queries import TABLE, Queries
from tdattr.recorder import Recorder
from tdattr.scores import SHARED, TWINS, Scores, Twins, load_scores, save_scores
from tdattr.store import Artifact, Build, Plan, provenance, share_out
from tdattr.tables import read_table, write_table
from tdattr.unlearning.objectives import Objective

if TYPE_CHECKING:
    import pandas as pd

SETUP = "setup_seconds"
UNSUMMARISED = ("query", "seconds")  # columns of a method's table that are no facts
MANY = 1000  # items: any number, where it only matters whether a protocol asks for the highest scores


def attribute(ws: Workspace, method: Method | None = None) -> Plan:
    """The scores of a method (the workspace's) for the explained queries, made of an artifact for each query.

    Nothing is computed before the plan's ``get``. Raises UserError for scores that the protocol cannot use.
    """
    attribution = Attribution(ws, settle(ws, ws.method if method is None else method))
    check_top(ws, "method", attribution.method)
    config, inputs, cost = attribution.config, attribution.inputs, attribution.cost
    return ws.store.plan("attribute", 2, config, inputs, attribution.save, attribution.score, cost=cost)


def settle(ws: Workspace, method: Method) -> Method:
    """The method with what it leaves open decided for the run's protocol."""
    return method.settle(ws.protocol.top(len(ws.ids)), len(ws.ids))


def read_noted(attribution: Artifact) -> "pd.DataFrame":
    """What a method noted of every query, for example how many steps it unlearned."""
    return read_table(attribution.folder / TABLE).drop(columns=list(UNSUMMARISED))


def check_top(ws: Workspace, place: str, method: Method) -> None:
    """Raise UserError where a method decides only the highest scores and the protocol asks for others too. ``place``:
    where the method stands in the config."""
    if method.decides_top and ws.protocol.top(MANY) is None:
        raise UserError(
            f"{place}.score.allocation=racing decides only the highest scores, protocol={ws.protocol.name} needs all: "
            f"set {place}.score.allocation to importance or all."
        )


@dataclass(frozen=True, eq=False)
class Attribution:
    """What the plan of ``attribute`` does."""

    ws: Workspace
    method: Method

    @property
    def config(self) -> dict[str, Any]:
        """Everything that the scores depend on besides F1 and the queries."""
        ws, method = self.ws, self.method
        config = {"method": method.describe(), "seed": ws.seed, "weights": ws.weights} | training_of_imported(ws)
        config |= {"identity": identities(method, ws.setting()), "explained": ws.queries.explained}
        if method.decides_top:
            config["top"] = ws.protocol.top(len(ws.ids))
        if any(isinstance(node, Objective) and node.encodes_prompts for _, node in walk(method)):
            config["text"] = text_of(ws)
        return config | describe_needs(ws, method.needs | ({"groups"} if method.scores_groups else frozenset()))

    @property
    def inputs(self) -> dict[str, str]:
        """F1, the queries, teachers, and the scores of other methods that this one uses."""
        f1 = train(self.ws)
        used = {f"uses/{name}": attribute(self.ws, member).address for name, member in self.method.uses().items()}
        used |= {name: train(open_teacher(self.ws, node)).address for name, node in find_teachers(self.method)}
        return {"model": f1.address, "queries": generate(self.ws, f1).address} | used

    def score(self) -> tuple[list[Artifact], float]:
        """Every query's scores, which jobs that want the same share out, and the seconds of what they share."""
        ws, method = self.ws, self.method
        for member in method.uses().values():
            attribute(ws, member).get()  # before the clock starts
        setup = Setup(ws, method)
        plans = self.plan_queries(setup)
        if not all(plan.finished for plan in plans):
            setup.run()  # so that its own progress is shown first
        artifacts = share_out(plans, f"Attributing ({method.name})")
        return artifacts, max(provenance(artifact)["facts"][SETUP] for artifact in artifacts)

    def plan_queries(self, setup: "Setup") -> list[Plan]:
        """The scores of each query."""
        ws, method = self.ws, self.method
        config, inputs, like = self.config, self.inputs, f"{ws.size} {name_class(method)}"

        def plan_query(query: int) -> Plan:
            def make(folder: Path) -> Mapping[str, Any]:
                scorer = setup.run()
                started, elsewhere = time.perf_counter(), ws.store.nested[-1]
                scored = scorer(query)
                spent = time.perf_counter() - started - (ws.store.nested[-1] - elsewhere)
                facts = {"seconds": spent, **scored.facts}
                setup.asked.update(ws.store.asked[-1])  # what a query was the first to need others have from memory
                recorder_of(ws, method).log("query", "", query, facts)
                check_scored(scored, method, self.targets)
                save_file(tensors(scored), folder / FILE, {"facts": to_json(facts)})
                return {SETUP: setup.seconds()}

            key = config | {"query": query}
            return ws.store.plan("query_scores", 1, key, inputs, make, cost=lambda: self.cost_of_query, like=like)

        return [plan_query(query) for query in range(ws.queries.count)]

    @property
    def targets(self) -> int:
        """How many scores a query has, under each damping."""
        return len(self.ws.attributed) if self.method.scores_groups else len(self.ws.ids)

    @cached_property
    def work(self) -> MethodWork | None:
        """What the method declares; None: nothing."""
        return self.method.work(outline_context(self.ws, self.method))

    @property
    def bytes(self) -> int:
        """What the scores of a query take on the disk."""
        return self.targets * len(self.method.dampings or [None]) * NUMBER_BYTES

    @cached_property
    def cost_of_query(self) -> Cost:
        """What the scores of one query take, beside what all share."""
        queries = generate(self.ws, train(self.ws))
        if self.work is None:
            return Cost(None, [queries], self.method.name)
        needs = [queries, *self.work.needs]
        return Cost(self.work.query + Work(bytes=self.bytes), needs, self.method.name, self.work.usual)

    def cost(self) -> Cost:
        """The scores of all queries, of which the first that is missing also has what they share, and those of other
        methods."""
        plans = self.plan_queries(Setup(self.ws, self.method))
        first = next((index for index, plan in enumerate(plans) if not plan.finished), None)
        if first is not None and self.work is not None:
            own = self.cost_of_query
            assert own.work is not None
            usual = None if own.usual is None else own.usual + self.work.setup
            begun = replace(own, work=own.work + self.work.setup, usual=usual)
            plans[first] = plans[first].costing(lambda: begun)
        members = [attribute(self.ws, member) for member in self.method.uses().values()]
        return Cost(Work(bytes=self.ws.queries.count * self.bytes), [*members, *plans], self.method.name)

    def save(self, folder: Path, scored: tuple[list[Artifact], float]) -> Mapping[str, Any]:
        """All queries' scores in one place."""
        import pandas as pd

        artifacts, setup = scored
        method, ws = self.method, self.ws
        values, errors, facts, twins = [], [], [], None
        for artifact in artifacts:
            with safe_open(artifact.folder / FILE, framework="pt") as file:
                values.append(file.get_tensor("scores"))
                facts.append(json.loads(file.metadata()["facts"]))
                if ERRORS in file.keys():  # noqa: SIM118
                    errors.append(file.get_tensor(ERRORS))
                if method.scores_itself:  # of which there is one row
                    twins = Twins(file.get_tensor(TWINS)[None], file.get_tensor(SHARED)[None])
        if errors and len(errors) < len(values):
            raise TypeError(f"{method.name} gives standard errors for some queries only")
        groups = list(ws.attributed) if method.scores_groups else None
        standard_errors = torch.stack(errors) if errors else None
        top = ws.protocol.top(len(ws.ids)) if method.decides_top else None
        stacked = torch.stack(values)
        save_scores(Scores(stacked, ws.ids, method.dampings, groups, standard_errors, top, twins), folder)
        table = pd.DataFrame([{"query": query} | noted for query, noted in enumerate(facts)])
        write_table(folder / TABLE, table)
        seconds = float(table["seconds"].mean()) + setup / len(artifacts)
        if "member_seconds" in table:
            seconds += float(table["member_seconds"].mean())
        return {SETUP: setup, "seconds_per_query": seconds}


class Setup:
    """What all queries of a method share, done once, when the first of them is scored."""

    def __init__(self, ws: Workspace, method: Method) -> None:
        self.ws, self.method = ws, method
        self.scorer: Scorer | None = None
        self.own_seconds = 0.0
        self.used: list[Artifact] = []
        self.asked: dict[str, None] = {}  # the artifacts that were asked for meanwhile

    def run(self) -> Scorer:
        """The function that scores a query. Whatever is built meanwhile uses what was asked for, also where that had
        been done before."""
        asked = self.ws.store.asked
        if self.scorer is None:
            asked.append({})
            try:
                self.scorer = self.start()
            finally:
                self.asked = asked.pop()
        asked[-1].update(self.asked)
        return self.scorer

    def start(self) -> Scorer:
        """``run`` for the first time."""
        ws = self.ws
        context = make_context(ws, self.method, self.used)
        started, elsewhere = time.perf_counter(), ws.store.nested[-1]
        scorer = self.method.start(context)
        self.own_seconds = time.perf_counter() - started - (ws.store.nested[-1] - elsewhere)
        return scorer

    def seconds(self) -> float:
        """The seconds of what all queries share, as far as it has been needed; what is shared with other methods counts
        in full, whether this run built it or another one had."""
        shared = {artifact.name: artifact for artifact in self.used if artifact.folder.exists()}
        return self.own_seconds + sum(provenance(artifact)["seconds"] for artifact in shared.values())


def other_methods(ws: Workspace) -> dict[str, Method]:
    """The methods that the protocol compares the workspace's one with, by their role."""
    others = ws.protocol.others()
    for role, method in others.items():
        if not isinstance(method, Method):
            raise UserError(f"protocol.{role} must be a method: choose one with method@protocol.{role}=<name>.")
    return {role: method for role, method in others.items() if isinstance(method, Method)}


def describe_needs(ws: Workspace, needs: frozenset[str]) -> dict[str, Any]:
    """What belongs to declared needs in the address of a result."""
    config: dict[str, Any] = {}
    if "groups" in needs:
        config["groups"] = {name: digest_ids(ids) for name, ids in ws.groups.items()}
        if len(ws.attributed) < len(ws.groups):
            config["attributed"] = list(ws.attributed)
    if "losses" in needs:
        config["precision_of_losses"] = ws.trainer.scoring_precision
    if "retraining" in needs:
        config |= training_config(ws, removed=True)
    if "measures" in needs:
        measures = ws.measures.items()
        config["measures"] = {name: measure.describe_with_identity(ws.setting()) for name, measure in measures}
    return config


def training_of_imported(ws: Workspace) -> dict[str, Any]:
    """How models are trained, where F1 was not: methods unlearn with the same constants, and F1's address, which
    contains them otherwise, does not."""
    return {} if train(ws).stage == TRAINED else training_config(ws, removed=False)


def outline_context(ws: Workspace, method: Method) -> Context:
    """What a method may count its work by: queries that are not there yet are blank, but of the right shape."""
    plan = generate(ws, train(ws))
    return make_context(ws, method, [], load_queries(ws, plan) if plan.finished else blank_queries(ws, plan))


def make_context(ws: Workspace, method: Method, used: list[Artifact], queries: Queries | None = None) -> Context:
    """What a method may use; the artifacts that it asks for are noted in ``used``. ``queries``: all that are generated;
    None: as they are stored, generated first where they must be."""
    f1 = train(ws)
    if queries is None:
        queries = load_queries(ws, generate(ws, f1))
    inputs = {"model": f1.address} | ws.inputs

    def plan(stage: str, version: int, config: Mapping[str, Any], build: Build) -> Plan:
        full = dict(config) | {"weights": ws.weights, "seed": ws.seed, "precision": ws.trainer.precision}
        full["diffusion"] = ws.diffusion.describe()  # its generation schedule may be part of what is computed
        plan = ws.store.plan(stage, version, full, inputs, build, like=ws.size)
        used.append(plan.artifact)
        return plan

    def member(name: str) -> Member:
        artifact = attribute(ws, method.uses()[name]).get()
        noted = read_noted(artifact)
        facts = [dict(zip(map(str, noted.columns), row, strict=True)) for row in noted.to_numpy(float).tolist()]
        return Member(load_scores(artifact), provenance(artifact)["facts"]["seconds_per_query"], facts)

    text = ws.dataset.text
    return Context(
        data=ws.data,
        ids=ws.ids,
        queries=queries.select(ws.queries.indices),
        diffusion=ws.diffusion,
        f1=replace(as_trained(ws, f1), plans=[f1, *ws.data.train.plan_x(mirrored=False)]),
        f0=lambda: build_network(ws).eval().requires_grad_(False).to(ws.device),
        initial=lambda: build_network(ws).to(ws.device),
        skeleton=ws.skeleton,
        train=ws.train,
        trainer=ws.trainer,
        device=ws.device,
        seed=ws.seed,
        setting=ws.setting(used),
        plan=plan,
        counterfactuals=WorkspaceCounterfactuals(ws, method.needs, used),
        member=member,
        decode=lambda x: ws.codec.decode(x, ws.data.channels),
        encode=None if text is None else lambda: text.load(ws.device),
        text=text_of(ws),
        top=ws.protocol.top(len(ws.ids)),
        precision_of_losses=ws.trainer.scoring_precision if "losses" in method.needs else None,
        weights=ws.weights,
        recorder=recorder_of(ws, method),
    )


def text_of(ws: Workspace) -> dict[str, Any]:
    """All that the conditions of prompts depend on; nothing where none are made of them."""
    return {} if ws.dataset.text is None else describe_text(ws.dataset.text, ws.setting())


def recorder_of(ws: Workspace, method: Method) -> Recorder:
    """The run's for its own method; of other ones that are scored on the way nothing is recorded."""
    return ws.recorder if method == settle(ws, ws.method) else Recorder()
