"""Tables 3 and 9 of the MUCS paper: ensembles of methods beside MUCS alone."""

from tdattr.report.collect import Experiment
from tdattr.report.methods import (
    ASIDE,
    ENSEMBLE,
    choose_averaged,
    credit_paper,
    explain_marks,
    list_measures,
    measure_effects,
    read_paper_columns,
    show_auc,
)
from tdattr.report.papers import DATASETS, read_number, read_table
from tdattr.report.pooling import mean_or_none
from tdattr.report.sheet import Cell, Number, Sheet, drop_empty_columns

PROTOCOLS: tuple[str, ...] = ("leave_k_out",)
REFERENCE = "R"


def make_sheet(experiment: Experiment) -> Sheet | None:
    """A row for MUCS and for each ensemble that was run."""
    ensembles = [method for method in experiment.unablated if experiment.base(method).startswith(ENSEMBLE)]
    if not ensembles:
        return None
    methods = [*(method for method in experiment.unablated if experiment.base(method) == "mucs"), *ensembles]
    effects = measure_effects(experiment, methods)
    measures = list_measures(effects)
    over = choose_averaged(measures)
    weights_of = {method: weights(experiment, method) for method in methods}
    members = dict.fromkeys(member for by_member in weights_of.values() for member in by_member)
    rows: list[dict[str, Cell]] = []
    for method, by_measure in effects.items():
        aucs = {measure: result.auc for measure, result in by_measure.items()}
        row: dict[str, Cell] = {"#": letter(experiment, method), "method": method}
        row |= {heading(member): Number(weights_of[method].get(member, 0), "g") for member in members}
        row |= {measure: show_auc(by_measure.get(measure)) for measure in measures}
        row["μ"] = Number(mean_or_none(aucs.get(measure) for measure in over))
        row["seeds"] = Number(len(experiment.runs[method]), "d")
        if experiment.dataset in DATASETS:
            where = {"dataset": experiment.dataset, "ensemble": letter(experiment, method)}
            row |= read_paper_columns("table_9", **where) | {"paper: μ": read_number("table_3", **where)}
        rows.append(row)
    caption = (
        "Weights of the methods in each ensemble, and AUC pooled over seeds; μ is the mean over "
        f"{', '.join(over)}. R is MUCS alone."
    )
    caption += explain_marks(effects) + credit_paper(rows, "Tables 3 (μ) and 9")
    aside = (*ASIDE, *(heading(member) for member in members))
    return Sheet("table_3_9", "Tables 3 and 9: ensembles, AUC", caption, drop_empty_columns(rows, keep=2), aside=aside)


def letter(experiment: Experiment, method: str) -> str:
    """What the paper calls an ensemble."""
    base = experiment.base(method)
    return base.removeprefix(ENSEMBLE).upper() if base.startswith(ENSEMBLE) else REFERENCE


def heading(member: str) -> str:
    """Of the column with the weights of a member."""
    return f"weight of {member}"


def weights(experiment: Experiment, method: str) -> dict[str, float]:
    """The weight of every member: as the run's config has it, or else as the paper has it."""
    configured = experiment.first(method).config["method"].get("weights")
    if isinstance(configured, dict):
        return configured
    frame = read_table("ensembles")
    frame = frame[frame["ensemble"] == letter(experiment, method)]
    return dict(zip(frame["method"], frame["weight"], strict=True))
