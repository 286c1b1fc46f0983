"""UnlearnCanvas's measures of every single model without a group."""

from collections.abc import Mapping
from typing import Any

from tdattr.report.collect import Experiment
from tdattr.report.methods import explain_footnotes
from tdattr.report.sheet import Cell, Sheet, drop_empty_columns
from tdattr.report.sheets.accuracies import (
    CAPTION,
    PROTOCOLS,
    collect_accuracies,
    describe_classifiers,
    mark_guessing,
    show_measures,
)

__all__ = ["PROTOCOLS", "make_sheet"]


def make_sheet(experiment: Experiment) -> Sheet | None:
    """That of what its runs found."""
    return tabulate(collect_accuracies(experiment))


def tabulate(found: Mapping[str, list[Mapping[str, Any]]]) -> Sheet | None:
    """For every group, a row for F1, as if it were the model without it, and one for every method's model without it;
    of what the runs of each method found."""
    every = [accuracy for accuracies in found.values() for accuracy in accuracies]
    marks = {"F1": mark_guessing(every)} | {method: mark_guessing(of) for method, of in found.items()}
    rows: list[dict[str, Cell]] = []
    for group in dict.fromkeys(row["group"] for accuracy in every for row in accuracy["groups"]):
        measured = {"F1": [row["f1"] for accuracy in every for row in accuracy["groups"] if row["group"] == group]}
        for method, accuracies in found.items():
            listed = [row for accuracy in accuracies for row in accuracy["groups"] if row["group"] == group]
            measured[method] = [row["unlearned"] for row in listed if "unlearned" in row]
        rows += [
            {"forgotten": group, "model": name} | show_measures(of, marks[name]) for name, of in measured.items() if of
        ]
    if not rows:
        return None
    caption = f"{CAPTION} {describe_classifiers(every)}{explain_footnotes(rows)}"
    return Sheet(
        "accuracies_of_groups",
        "Accuracies of unlearning, of every group, %",
        caption,
        drop_empty_columns(rows, keep=2),
        printed=False,
    )
