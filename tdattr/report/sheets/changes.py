"""Table 5 of the MUCS paper: how far the similarities change, in percent."""

from tdattr.metrics.comparison import FEW_MARK, MARK, explain
from tdattr.report.collect import Experiment
from tdattr.report.methods import (
    category,
    choose_averaged,
    credit_paper,
    list_measures,
    list_methods,
    measure_effects,
    read_paper_columns,
)
from tdattr.report.papers import DATASETS
from tdattr.report.pooling import mean_or_none
from tdattr.report.sheet import Cell, Number, Sheet, drop_empty_columns

PROTOCOLS: tuple[str, ...] = ("leave_k_out",)
FORM = "+.1f"


def make_sheet(experiment: Experiment) -> Sheet | None:
    """A row per method but the random one."""
    effects = measure_effects(experiment, list_methods(experiment))
    if not effects:
        return None
    measures = list_measures(effects)
    over = choose_averaged(measures)
    rows: list[dict[str, Cell]] = []
    for method, by_measure in effects.items():
        told = {measure: result for measure, result in by_measure.items() if not result.small_median}
        changes = {measure: result.difference_percent for measure, result in told.items()}
        intervals = {measure: result.ci95 for measure, result in told.items()}
        marks = {measure: result.marks.replace(FEW_MARK, "") or None for measure, result in by_measure.items()}
        row: dict[str, Cell] = {"method": method, "categ.": category(experiment, method)}
        row |= {m: Number(changes.get(m), FORM, intervals.get(m), footnote=marks.get(m)) for m in measures}
        row["μ"] = Number(
            mean_or_none(changes.get(m) for m in over),
            FORM,
            mean_or_none(intervals.get(m) for m in over),
            footnote=MARK if any(by_measure[m].small_median for m in over if m in by_measure) else None,
        )
        row["seeds"] = Number(len(experiment.runs[method]), "d")
        if experiment.dataset in DATASETS:
            row |= read_paper_columns("table_5", form=FORM, dataset=experiment.dataset, method=experiment.base(method))
        rows.append(row)
    caption = (
        "Mean difference of the similarities from the median after random removal, in percent (lower is better) ± its "
        f"95 % interval, pooled over seeds; μ is the mean over {', '.join(over)}, of the differences and of the "
        f"intervals."
    )
    shown = explain("".join(str(cell) for row in rows for cell in row.values()))
    caption += (f" {shown}" if shown else "") + credit_paper(rows, "Table 5")
    return Sheet(
        "table_5", "Table 5: change of the similarities, %", caption, drop_empty_columns(rows, keep=2), printed=False
    )
