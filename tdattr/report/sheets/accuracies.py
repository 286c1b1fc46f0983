"""Did unlearning do what it claims? UnlearnCanvas's measures of every method's models without a group."""

from collections.abc import Iterable, Mapping
from typing import Any

from tdattr.report.collect import Experiment
from tdattr.report.methods import sort_methods
from tdattr.report.pooling import mean_or_none
from tdattr.report.sheet import Cell, Number, Sheet, drop_empty_columns

PROTOCOLS: tuple[str, ...] = ("logo", "truth", "leave_k_out", "lds")
COLUMNS = {"ua": "UA", "ira": "IRA", "cra": "CRA", "cra_forgotten": "CRA, forgotten"}
FORM = ".1f"  # percent
CAPTION = (
    "Shares of generated images in percent, means over the models and seeds. UA: images of the forgotten style's "
    "prompts that are not named as that style; IRA: images of the other styles' prompts whose style is named right; "
    "CRA: images whose object is named right, and of them those of the forgotten style (UnlearnCanvas)."
)


def collect_accuracies(experiment: Experiment) -> dict[str, list[Mapping[str, Any]]]:
    """What the runs of every method found, of those that looked."""
    found = {
        method: [run.summary["accuracy"] for run in experiment.runs[method].values() if "accuracy" in run.summary]
        for method in sort_methods(experiment, experiment.runs)
    }
    return {method: accuracies for method, accuracies in found.items() if accuracies}


def describe_classifiers(accuracies: Iterable[Mapping[str, Any]]) -> str:
    """How far the classifiers can be believed."""
    listed = [accuracy["classifiers"] for accuracy in accuracies]
    style, shown = (mean_or_none(entry[key] for entry in listed) or 0.0 for key in ("style", "object"))
    return f"Of items held out from them, the classifiers name {style:.1%} of styles and {shown:.1%} of objects right."


def show_measures(rows: Iterable[Mapping[str, float]]) -> dict[str, Cell]:
    """The means of each measure."""
    listed = list(rows)
    return {column: Number(percent(mean_or_none(row[key] for row in listed)), FORM) for key, column in COLUMNS.items()}


def percent(share: float | None) -> float | None:
    """A share in percent."""
    return None if share is None else 100 * share


def make_sheet(experiment: Experiment) -> Sheet | None:
    """A row for F1, and one for every method that has models without a group."""
    found = collect_accuracies(experiment)
    if not found:
        return None
    every = [accuracy for accuracies in found.values() for accuracy in accuracies]
    compared = {method: [entry["means"] for entry in entries if "means" in entry] for method, entries in found.items()}
    means = [entry["f1"] for entries in compared.values() for entry in entries]
    f1: dict[str, Cell] = {
        "model": "F1",
        **{
            key: Number(percent(mean_or_none(entry["f1"][key] for entry in every)), FORM) for key in ("style", "object")
        },
        **show_measures(means),
        "images": Number(sum(entry["images"] for entry in every) / len(every), ".0f"),
    }
    rows = [f1] + [
        dict.fromkeys(f1, Number(None))
        | {"model": method}
        | show_measures(entry["unlearned"] for entry in entries)
        | {"images": Number(sum(entry["images"] for entry in found[method]) / len(found[method]), ".0f")}
        for method, entries in compared.items()
        if entries
    ]
    caption = f"{CAPTION} Style, object: images of F1 that show what their prompt says. {describe_classifiers(every)}"
    return Sheet("accuracies", "Accuracies of unlearning, %", caption, drop_empty_columns(rows))
