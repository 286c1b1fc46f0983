"""Table 2 of the MUCS paper: MUCS with one of its parts changed."""

from collections.abc import Mapping

from tdattr.metrics.comparison import RemovalEffect
from tdattr.report.collect import Experiment
from tdattr.report.methods import (
    ASIDE,
    choose_averaged,
    credit_paper,
    explain_marks,
    list_measures,
    measure_effects,
    read_paper_columns,
    show_auc,
)
from tdattr.report.naming import flatten
from tdattr.report.papers import read_number, read_table
from tdattr.report.pooling import mean_or_none
from tdattr.report.sheet import NOTHING, Cell, Number, Sheet, drop_empty_columns

PROTOCOLS: tuple[str, ...] = ("leave_k_out",)
METHOD = "mucs"
DATASET = "coco"  # the paper's ablations are on it alone


def make_sheet(experiment: Experiment) -> Sheet | None:
    """A row for MUCS as it is and for each ablation that was run, in the paper's order."""
    ablated = [
        method for method in experiment.runs if experiment.ablation(method) and experiment.base(method) == METHOD
    ]
    if not ablated:
        return None
    whole = find_proposed(experiment, ablated)
    described = {row["ablation"]: row for row in read_table("table_2").to_dict("records")}

    def sort_key(method: str) -> tuple[int, str]:
        name = experiment.ablation(method)
        return list(described).index(name) if name in described else len(described), method

    methods = [*([whole] if whole else []), *sorted(ablated, key=sort_key)]
    effects = measure_effects(experiment, methods)
    measures = list_measures(effects)
    over = choose_averaged(measures)
    rows: list[dict[str, Cell]] = []
    for method, by_measure in effects.items():
        name = experiment.ablation(method) or ""
        published = described.get(name, {"step": NOTHING, "description": NOTHING})
        aucs = {measure: result.auc for measure, result in by_measure.items()}
        row: dict[str, Cell] = {
            "step": published["step"] or NOTHING,
            "ablation": method.removeprefix(f"{METHOD}: "),
            "description": published["description"],
        }
        row |= {measure: show_auc(by_measure.get(measure)) for measure in measures}
        row["μ"] = Number(mean_or_none(aucs.get(measure) for measure in over))
        row["Δ, %"] = Number(relative_difference(by_measure, effects.get(whole or ""), over) if name else None, "+.1f")
        row["seeds"] = Number(len(experiment.runs[method]), "d")
        if experiment.dataset == DATASET:
            row |= read_paper_columns("table_2", "delta", ablation=name)
        else:
            row["paper: Δ, %"] = read_number("table_2", "+.1f", ablation=name, measure="delta")
        rows.append(row)
    caption = (
        f"AUC pooled over the seeds of each row; μ is their mean over {', '.join(over)}, and Δ the mean over these "
        "measures of the relative difference from MUCS as proposed. U: unlearning, S: scoring, C1 to C4: the paper's "
        f"considerations."
    )
    caption += explain_marks(effects) + credit_paper(rows, "Table 2, on COCO")
    title = "Table 2: MUCS with one part changed, AUC"
    return Sheet("table_2", title, caption, drop_empty_columns(rows, keep=3), aside=("description", *ASIDE))


def find_proposed(experiment: Experiment, ablated: list[str]) -> str | None:
    """The MUCS that the ablations are ablations of: of several, the one whose settings are nearest to theirs."""
    candidates = [method for method in experiment.unablated if experiment.base(method) == METHOD]

    def settings(method: str) -> dict[str, object]:
        return flatten(experiment.first(method).config["method"])

    def distance(method: str) -> int:
        values = settings(method).items()
        others = [settings(other) for other in ablated]
        return sum(name not in other or other[name] != value for other in others for name, value in values)

    return min(candidates, key=distance, default=None)


def relative_difference(
    effects: Mapping[str, RemovalEffect], whole: Mapping[str, RemovalEffect] | None, over: list[str]
) -> float | None:
    """The mean relative difference of the AUCs in percent, or None where one is missing or relative to 0."""
    if whole is None:
        return None
    told = {m for m in over if m in effects and m in whole and whole[m].auc > 0}
    return mean_or_none(100 * (effects[m].auc / whole[m].auc - 1) if m in told else None for m in over)
