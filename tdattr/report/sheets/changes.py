"""Table 5 of the MUCS paper: how far the similarities change, in percent."""

from tdattr.report.collect import Comparison
from tdattr.report.papers import DATASETS
from tdattr.report.sheet import Cell, Number, Sheet, filled
from tdattr.report.sheets.measured import averaged, category, credit, listed, mean, paper_columns, results, taken

PROTOCOL = "leave_k_out"
FORM = "+.1f"


def table(comparison: Comparison) -> Sheet | None:
    """A row per method but the random one."""
    found = results(comparison, listed(comparison))
    if not found:
        return None
    measures = taken(found)
    over = averaged(measures)
    rows: list[dict[str, Cell]] = []
    for method, by_measure in found.items():
        changes = {measure: result.difference_percent for measure, result in by_measure.items()}
        intervals = {measure: result.ci95 for measure, result in by_measure.items()}
        row: dict[str, Cell] = {"method": method, "categ.": category(comparison, method)}
        row |= {m: Number(changes.get(m), FORM, intervals.get(m)) for m in measures}
        row["μ"] = Number(mean(changes.get(m) for m in over), FORM, mean(intervals.get(m) for m in over))
        row["seeds"] = Number(len(comparison.runs[method]), "d")
        if comparison.dataset in DATASETS:
            row |= paper_columns("table_5", form=FORM, dataset=comparison.dataset, method=comparison.base(method))
        rows.append(row)
    caption = (
        "Mean difference of the similarities from the median after random removal, in percent (lower is better) ± its "
        f"95 % interval, pooled over seeds; μ is the mean over {', '.join(over)}, of the differences and of the "
        f"intervals."
    ) + credit(rows, "Table 5")
    return Sheet("table_5", "Table 5: change of the similarities, %", caption, filled(rows, keep=2), printed=False)
