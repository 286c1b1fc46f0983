"""Did unlearning do what it claims? UnlearnCanvas's measures of every method's models without a group."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tdattr.metrics.unlearning_accuracy import (
    FEW_IMAGES_MARK,
    FEWEST_IMAGES,
    GUESS_MARK,
    MEASURES,
    UNREADABLE_MARK,
    is_guessing,
)
from tdattr.report.collect import Experiment
from tdattr.report.methods import explain_footnotes, sort_methods
from tdattr.report.pooling import mean_or_none
from tdattr.report.sheet import Cell, Number, Sheet, drop_empty_columns

PROTOCOLS: tuple[str, ...] = ("logo", "truth", "leave_k_out", "lds")
LABELS = ("style", "object")  # what the classifiers name
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
    means = {label: mean_or_none(entry.get(label) for entry in listed) for label in LABELS}
    named = " and ".join(f"{mean:.1%} of {label}s" for label, mean in means.items() if mean is not None)
    return f"Of items held out from them, the classifiers name {named} right."


def mark_guessing(accuracies: Iterable[Mapping[str, Any]]) -> dict[str, str | None]:
    """The marks of what each classifier stands behind, where one of them is hardly better than a guess on held-out
    items, or on F1's own images; older runs do not say what a guess gets."""
    marks: dict[str, str] = dict.fromkeys(LABELS, "")
    for accuracy in accuracies:
        for label, guess in accuracy.get("guesses", {}).items():
            if is_guessing(accuracy["classifiers"][label], guess):
                marks[label] += GUESS_MARK * (GUESS_MARK not in marks[label])
            elif is_guessing(accuracy["f1"][label], guess):
                marks[label] += UNREADABLE_MARK * (UNREADABLE_MARK not in marks[label])
    return {label: mark or None for label, mark in marks.items()}


def show_images(accuracies: Sequence[Mapping[str, Any]]) -> Number:
    """How many images of each model stand behind the shares."""
    images = sum(accuracy["images"] for accuracy in accuracies) / len(accuracies)
    return Number(images, ".0f", footnote=FEW_IMAGES_MARK if images < FEWEST_IMAGES else None)


def show_measures(
    rows: Iterable[Mapping[str, float]], marks: Mapping[str, str | None], columns: Mapping[str, str] = COLUMNS
) -> dict[str, Cell]:
    """The means of each measure, or of the shares of F1's images that are ``columns``, in percent."""
    listed = list(rows)
    means = {key: mean_or_none(row.get(key) for row in listed) for key in columns}
    return {column: show_share(means[key], marks[MEASURES.get(key, key)]) for key, column in columns.items()}


def show_share(share: float | None, mark: str | None) -> Number:
    """A share in percent."""
    return Number(None) if share is None else Number(100 * share, FORM, footnote=mark)


def make_sheet(experiment: Experiment) -> Sheet | None:
    """That of what its runs found."""
    return tabulate(collect_accuracies(experiment))


def tabulate(found: Mapping[str, list[Mapping[str, Any]]]) -> Sheet | None:
    """A row for F1, and one for every method that has models without a group; of what the runs of each method found."""
    if not found:
        return None
    every = [accuracy for accuracies in found.values() for accuracy in accuracies]
    marks = mark_guessing(every)
    compared = {method: [entry["means"] for entry in entries if "means" in entry] for method, entries in found.items()}
    means = [entry["f1"] for entries in compared.values() for entry in entries]
    means = means or [row["f1"] for entry in every for row in entry["groups"]]  # nothing was forgotten
    f1: dict[str, Cell] = {
        "model": "F1",
        **show_measures((entry["f1"] for entry in every), marks, {label: label for label in LABELS}),
        **show_measures(means, marks),
        "images": show_images(every),
    }
    rows = [f1] + [
        dict.fromkeys(f1, Number(None))
        | {"model": method}
        | show_measures((entry["unlearned"] for entry in entries), mark_guessing(found[method]))
        | {"images": show_images(found[method])}
        for method, entries in compared.items()
        if entries
    ]
    caption = f"{CAPTION} Style, object: images of F1 that show what their prompt says. {describe_classifiers(every)}"
    if alone := [method for method, entries in compared.items() if not entries]:
        caption += f" Of F1 alone, as no model without a group was looked at: {', '.join(alone)}."
    caption += explain_footnotes(rows)
    return Sheet("accuracies", "Accuracies of unlearning, %", caption, drop_empty_columns(rows))
