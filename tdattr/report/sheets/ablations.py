"""Table 2 of the MUCS paper: MUCS with one of its parts changed."""

from collections.abc import Mapping

from tdattr.metrics.comparison import Comparison as Result
from tdattr.report.collect import Comparison, flat
from tdattr.report.papers import number, published
from tdattr.report.sheet import NOTHING, Cell, Number, Sheet, filled
from tdattr.report.sheets.measured import ASIDE, averaged, credit, mean, paper_columns, results, taken

PROTOCOL = "leave_k_out"
METHOD = "mucs"
DATASET = "coco"  # the paper's ablations are on it alone


def table(comparison: Comparison) -> Sheet | None:
    """A row for MUCS as it is and for each ablation that was run, in the paper's order."""
    ablated = [
        method for method in comparison.runs if comparison.ablation(method) and comparison.base(method) == METHOD
    ]
    if not ablated:
        return None
    whole = proposed(comparison, ablated)
    described = {row["ablation"]: row for row in published("table_2").to_dict("records")}

    def place(method: str) -> tuple[int, str]:
        name = comparison.ablation(method)
        return list(described).index(name) if name in described else len(described), method

    methods = [*([whole] if whole else []), *sorted(ablated, key=place)]
    found = results(comparison, methods)
    measures = taken(found)
    over = averaged(measures)
    rows: list[dict[str, Cell]] = []
    for method, by_measure in found.items():
        name = comparison.ablation(method) or ""
        known = described.get(name, {"step": NOTHING, "description": NOTHING})
        aucs = {measure: result.auc for measure, result in by_measure.items()}
        row: dict[str, Cell] = {
            "step": known["step"] or NOTHING,
            "ablation": method.removeprefix(f"{METHOD}: "),
            "description": known["description"],
        }
        row |= {measure: Number(aucs.get(measure)) for measure in measures}
        row["μ"] = Number(mean(aucs.get(measure) for measure in over))
        row["Δ, %"] = Number(relative(by_measure, found.get(whole or ""), over) if name else None, "+.1f")
        row["seeds"] = Number(len(comparison.runs[method]), "d")
        if comparison.dataset == DATASET:
            row |= paper_columns("table_2", "delta", ablation=name)
        else:
            row["paper: Δ, %"] = number("table_2", "+.1f", ablation=name, measure="delta")
        rows.append(row)
    caption = (
        f"AUC pooled over the seeds of each row; μ is their mean over {', '.join(over)}, and Δ the mean over these "
        "measures of the relative difference from MUCS as proposed. U: unlearning, S: scoring, C1 to C4: the paper's "
        f"considerations."
    ) + credit(rows, "Table 2, on COCO")
    title = "Table 2: MUCS with one part changed, AUC"
    return Sheet("table_2", title, caption, filled(rows, keep=3), aside=("description", *ASIDE))


def proposed(comparison: Comparison, ablated: list[str]) -> str | None:
    """The MUCS that the ablations are ablations of: of several, the one whose settings are nearest to theirs."""
    candidates = [method for method in comparison.unablated if comparison.base(method) == METHOD]

    def settings(method: str) -> dict[str, object]:
        return flat(comparison.first(method).config["method"])

    def distance(method: str) -> int:
        own = settings(method).items()
        return sum(name not in other or other[name] != value for other in map(settings, ablated) for name, value in own)

    return min(candidates, key=distance, default=None)


def relative(found: Mapping[str, Result], whole: Mapping[str, Result] | None, over: list[str]) -> float | None:
    """The mean relative difference of the AUCs in percent, or None where one is missing."""
    if whole is None:
        return None
    return mean(100 * (found[m].auc / whole[m].auc - 1) if m in found and m in whole else None for m in over)
