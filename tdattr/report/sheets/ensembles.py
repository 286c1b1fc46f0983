"""Tables 3 and 9 of the MUCS paper: ensembles of methods beside MUCS alone."""

from tdattr.report.collect import Comparison
from tdattr.report.papers import DATASETS, number, published
from tdattr.report.sheet import Cell, Number, Sheet, filled
from tdattr.report.sheets.measured import ASIDE, ENSEMBLE, averaged, credit, mean, paper_columns, results, taken

PROTOCOL = "leave_k_out"
REFERENCE = "R"


def table(comparison: Comparison) -> Sheet | None:
    """A row for MUCS and for each ensemble that was run."""
    ensembles = [method for method in comparison.unablated if comparison.base(method).startswith(ENSEMBLE)]
    if not ensembles:
        return None
    methods = [*(method for method in comparison.unablated if comparison.base(method) == "mucs"), *ensembles]
    found = results(comparison, methods)
    measures = taken(found)
    over = averaged(measures)
    given = {method: weights(comparison, method) for method in methods}
    members = dict.fromkeys(member for by_member in given.values() for member in by_member)
    rows: list[dict[str, Cell]] = []
    for method, by_measure in found.items():
        aucs = {measure: result.auc for measure, result in by_measure.items()}
        row: dict[str, Cell] = {"#": letter(comparison, method), "method": method}
        row |= {heading(member): Number(given[method].get(member, 0), "g") for member in members}
        row |= {measure: Number(aucs.get(measure)) for measure in measures}
        row["μ"] = Number(mean(aucs.get(measure) for measure in over))
        row["seeds"] = Number(len(comparison.runs[method]), "d")
        if comparison.dataset in DATASETS:
            where = {"dataset": comparison.dataset, "ensemble": letter(comparison, method)}
            row |= paper_columns("table_9", **where) | {"paper: μ": number("table_3", **where)}
        rows.append(row)
    caption = (
        "Weights of the methods in each ensemble, and AUC pooled over seeds; μ is the mean over "
        f"{', '.join(over)}. R is MUCS alone."
    ) + credit(rows, "Tables 3 (μ) and 9")
    aside = (*ASIDE, *(heading(member) for member in members))
    return Sheet("table_3_9", "Tables 3 and 9: ensembles, AUC", caption, filled(rows, keep=2), aside=aside)


def letter(comparison: Comparison, method: str) -> str:
    """What the paper calls an ensemble."""
    base = comparison.base(method)
    return base.removeprefix(ENSEMBLE).upper() if base.startswith(ENSEMBLE) else REFERENCE


def heading(member: str) -> str:
    """Of the column with the weights of a member."""
    return f"weight of {member}"


def weights(comparison: Comparison, method: str) -> dict[str, float]:
    """The weight of every member: as the run's config has it, or else as the paper has it."""
    own = comparison.first(method).config["method"].get("weights")
    if isinstance(own, dict):
        return own
    frame = published("ensembles")
    frame = frame[frame["ensemble"] == letter(comparison, method)]
    return dict(zip(frame["method"], frame["weight"], strict=True))
