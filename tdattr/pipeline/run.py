"""One run: check everything, go through the stages, leave a summary, and say where it is."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from tdattr.configs import build
from tdattr.data.groups import find_groups
from tdattr.data.names import FIELD
from tdattr.data.noisy_groups import Noise, count_moves, write_manifest
from tdattr.errors import first_line
from tdattr.files import expand, write_json
from tdattr.loggers import Guarded, Logger, Recorder
from tdattr.loggers.none import NoLogger
from tdattr.metagradients.describe import tell_smoothness
from tdattr.metrics.choice import complete_measures
from tdattr.pipeline.accuracy import examine_accuracy, plan_accuracy
from tdattr.pipeline.attribute import attribute, other_methods
from tdattr.pipeline.check import check
from tdattr.pipeline.evaluate import evaluate, mean_facts, summarise, warn_of_scores
from tdattr.pipeline.generate import generate, load_queries
from tdattr.pipeline.health import examine, plan_health
from tdattr.pipeline.logged import WriteReport, describe_run, gather
from tdattr.pipeline.open import open_workspace
from tdattr.pipeline.plausibility import look_at, say
from tdattr.pipeline.saved_config import save_config
from tdattr.pipeline.scores_table import SCORES, tabulate_scores, write_scores
from tdattr.pipeline.train import train
from tdattr.pipeline.workers import share_work
from tdattr.pipeline.workspace import Workspace
from tdattr.scores import load_scores
from tdattr.scoring.describe import tell_allocation
from tdattr.search_path import in_sweep
from tdattr.store import Artifact, Plan
from tdattr.tables import quote_formula, write_table
from tdattr.training.quiet import quieten
from tdattr.wording import counted

log = logging.getLogger(__name__)
SUMMARY = "summary.json"
ACCURACY = "accuracy.json"
CONFIG = "config.yaml"
EVALUATE = "evaluate"  # the last stage there is
ATTRIBUTIONS = "attributions.csv"
MOST_ATTRIBUTED = 20  # items or groups of every query that it has, from either end


@contextmanager
def own_settings() -> Iterator[None]:
    """What a run sets for the whole process, the filters of warnings and torch's threads, ends with it: the next job of
    a sweep has settings of its own."""
    threads = torch.get_num_threads()
    with warnings.catch_warnings():
        quieten()
        try:
            yield
        finally:
            torch.set_num_threads(threads)


@own_settings()
def run(cfg: DictConfig, write_report: WriteReport) -> None:
    """Run one composed config and write ``config.yaml`` and ``summary.json`` into its run directory. ``write_report``
    is called where the logger takes the report's files."""
    hydra = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir)
    logger: Logger = build(cfg.logger, "logger", Logger) if cfg.get("logger") else NoLogger()
    ws = open_workspace(cfg)
    logger = logger if ws.until == EVALUATE else NoLogger()  # there will be no verdict to show
    complete_measures(cfg)
    use_threads(ws)
    check(ws, hydra.overrides.task, swept=in_sweep(hydra))
    # with what was derived and adopted, and not before: a command that is refused is no run, which reports know by this
    # file, and leaves that of an earlier one in its folder as it was
    saved = save_config(ws, folder / CONFIG)
    recorder = logger.start(describe_run(ws, folder, saved))
    ws.recorder = Guarded(recorder, hydra.runtime.choices.get("logger", "none"))
    try:
        with share_work(ws, folder / CONFIG):
            work(ws, logger, recorder, folder, write_report)
    except BaseException:
        abandon(logger, recorder)
        raise


def work(ws: Workspace, logger: Logger, recorder: Recorder, folder: Path, write_report: WriteReport) -> None:
    """Everything of a run that takes time, and what it leaves; a logger that fails costs it nothing of that."""
    if ws.until != EVALUATE:
        last = build_until(ws)
        if found := examine_accuracy(ws, folder):
            write_json(folder / ACCURACY, found["accuracy"])  # for the report, as there is no summary
        if ws.until == "attribute":
            save_attributions(ws, folder / ATTRIBUTIONS)
            save_scores(ws, folder / SCORES)
            facts = mean_facts(last)
            for line in [*tell_allocation(facts), *tell_smoothness(facts)]:
                log.info("%s, %s", ws.cfg.method.name, line)
            for warning in warn_of_scores(ws, facts):
                log.warning("Warning: %s", warning)
        log.info("until=%s, so there is no verdict. Results: %s", ws.until, last.folder)
        return
    health = examine(ws)
    summary, lines = summarise(ws, evaluate(ws))
    summary |= health
    write_json(folder / SUMMARY, summary)
    save_attributions(ws, folder / ATTRIBUTIONS)
    save_scores(ws, folder / SCORES, summary)
    if accuracy := examine_accuracy(ws, folder):  # where it fails, the verdict is there
        summary |= accuracy
        write_json(folder / SUMMARY, summary)
    try:
        logger.finish(recorder, gather(ws, summary, folder, write_report))
    finally:
        if lines:
            lines[-1] += f", {summary['seconds_per_query']:.2f} s{'' if ws.method.scores_itself else ' per query'}"
        for line in lines:
            log.info("%s, %s", ws.cfg.method.name, line)
        for warning in summary["warnings"]:
            say(warning)
        if not ws.store.built:
            log.info("Every artifact was already there: nothing was computed.")
        log.info("Results: %s", folder / SUMMARY)


def look_at_queries(ws: Workspace) -> None:
    """What a verdict would say of F1 and of its queries: the health check, and how far they are from the data."""
    examine(ws)
    queries = load_queries(ws, generate(ws, train(ws))).select(ws.queries.indices)
    for warning in look_at(ws, queries.images).warn(ws):
        say(warning)


def build_until(ws: Workspace) -> Artifact:
    """The stages of a run that ends before the verdict: another one finds them in the store. Gives what its method or,
    without one, F1 comes to."""
    first, *others = plan_stages(ws)
    last = first.get()
    look_at_queries(ws)  # before what takes long
    for plan in others:
        last = plan.get()
    if (accuracy := plan_accuracy(ws)) is not None:
        accuracy.get()
    return last


def plan_until(ws: Workspace) -> list[Plan]:
    """What such a run builds: the accuracies, which nothing else needs, at last."""
    beside = [plan for plan in (plan_health(ws), plan_accuracy(ws)) if plan is not None]
    return [*plan_stages(ws), *beside]


def plan_stages(ws: Workspace) -> list[Plan]:
    """Its stages, at last what its method or, without one, F1 comes to."""
    plans = [generate(ws, train(ws))]
    if ws.until == "generate":
        return plans
    return [*plans, *(attribute(ws, method) for method in (*other_methods(ws).values(), ws.method))]


def abandon(logger: Logger, started: Any) -> None:
    """Close the logger of a run that has failed; why it failed matters more than whether that works."""
    try:
        logger.abandon(started)
    except Exception as error:
        log.warning("The logger could not be closed (%s).", first_line(error))


def save_attributions(ws: Workspace, path: Path) -> None:
    """The highest scores of every query as a table, and the lowest where those below zero count against it, where the
    scores are still stored and have one order; all scores of items for themselves."""
    plan = attribute(ws)
    if plan.finished and ws.method.dampings is None:
        most = len(ws.ids) if ws.method.scores_itself else MOST_ATTRIBUTED
        lowest = most if ws.method.signed else 0
        write_table(path, load_scores(plan.artifact).table(most, ws.data.train.items, lowest).map(quote_formula))


def save_scores(ws: Workspace, path: Path, summary: dict[str, Any] | None = None) -> None:
    """The same in long format for programs, of more items, where they are still stored."""
    if (columns := tabulate_scores(ws, summary)) is not None:
        write_scores(columns, path)


def use_threads(ws: Workspace) -> None:
    """As many CPU threads as ``trainer.threads`` says, for the rest of the run."""
    if ws.trainer.threads is not None:
        torch.set_num_threads(ws.trainer.threads)


@own_settings()
def prepare_dataset(cfg: DictConfig) -> None:
    """Prepare the dataset of a composed config and say where it is."""
    ws = open_workspace(cfg)
    data = ws.data
    done = "Prepared" if ws.store.built else "Already prepared:"
    log.info("%s %s, %d training and %d test items", done, ws.dataset.name, len(data.train), len(data.test))
    log.info("Results: %s", ws.prepared.artifact.folder)


@own_settings()
def write_noisy_groups(cfg: DictConfig) -> None:
    """Exchange items between the groups of a composed config's dataset, write the manifest, and say where it is."""
    noise: Noise = build(cfg.noise, "noise", Noise)
    ws = open_workspace(cfg)
    before = find_groups(ws.data, ws.dataset.groups)
    noisy = noise.exchange(before)
    for giver, takers in count_moves(noisy, before).items():
        moves = ", ".join(f"{count} to {taker}" for taker, count in takers.items())
        log.info("%s: %s, of which %s", giver, counted(len(before[giver]), "item"), moves)
    path = expand(cfg.manifest)
    items = ws.data.train.items
    write_manifest(path, noisy, before, items[FIELD].tolist() if FIELD in items else None)
    log.info("Results: %s, for dataset.groups=%s", path, path)
