"""Table 1 of the MUCS paper: the AUC of every method by every measure."""

from collections.abc import Mapping

from tdattr.metrics.comparison import Comparison as Result
from tdattr.report.collect import Comparison
from tdattr.report.papers import DATASETS, MEAN, number
from tdattr.report.sheet import Cell, Number, Sheet, filled
from tdattr.report.sheets.measured import ASIDE, averaged, category, credit, listed, mean, paper_columns, results, taken
from tdattr.report.tables import against

PROTOCOL = "leave_k_out"
LEVEL = 0.01  # of significance


def table(comparison: Comparison) -> Sheet | None:
    """A row per method but the random one."""
    found = results(comparison, listed(comparison))
    if not found:
        return None
    measures = taken(found)
    ahead = {measure: outstanding(comparison, found, measure) for measure in measures}
    known = comparison.dataset in DATASETS
    rows: list[dict[str, Cell]] = []
    for method, by_measure in found.items():
        aucs = {measure: result.auc for measure, result in by_measure.items()}
        base = comparison.base(method)
        row: dict[str, Cell] = {"method": method, "categ.": category(comparison, method)}
        row |= {m: Number(aucs.get(m), marked=method == ahead[m]) for m in measures}
        row |= {
            "μ": Number(mean(aucs.get(m) for m in averaged(measures))),
            "seeds": Number(len(comparison.runs[method]), "d"),
        }
        if known:
            row |= paper_columns("table_1", dataset=comparison.dataset, method=base)
        else:
            row |= {f"paper: {name}": number("table_1", dataset=name, method=base, measure=MEAN) for name in DATASETS}
        rows.append(row)
    beside = (
        f"its numbers on {comparison.dataset}" if known else "its μ on other datasets, as this one is not among them"
    )
    caption = (
        "AUC of the similarities after the removal of what a method named, against those after random removal, pooled "
        f"over seeds; μ is the mean over {', '.join(averaged(measures))}. MA: model-agnostic, IF: by influence "
        "functions, U: by unlearning. *: the best method's similarities lie below those of the next best by AUC "
        f"(p < {LEVEL}, one-tailed Mann-Whitney U, over the seeds of both); other settings of the same method, "
        f"ablations and ensembles are not its rivals."
    ) + credit(rows, f"Table 1, {beside}")
    aside = ("categ.", "seeds", *ASIDE, *(f"paper: {name}" for name in DATASETS))
    title = f"Table 1: AUC (*: better than the next best, p < {LEVEL})"
    return Sheet("table_1", title, caption, filled(rows, keep=2), aside=aside)


def outstanding(comparison: Comparison, found: Mapping[str, Mapping[str, Result]], measure: str) -> str | None:
    """The best method by a measure, where it is significantly better than the closest other one."""
    aucs = {method: by_measure[measure].auc for method, by_measure in found.items() if measure in by_measure}
    best = max(aucs, key=lambda method: aucs[method])
    others = [method for method in aucs if comparison.base(method) != comparison.base(best)]
    if not others:
        return None
    p_value = against(comparison, best, max(others, key=lambda method: aucs[method]), measure)
    return best if p_value is not None and p_value < LEVEL else None
