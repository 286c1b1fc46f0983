"""Table 6 of the MUCS paper: what an attribution costs."""

from tdattr.report.collect import Comparison
from tdattr.report.papers import DATASETS, published
from tdattr.report.sheet import NOTHING, Cell, Number, Sheet, filled
from tdattr.report.sheets.measured import credit, listed, mean

PROTOCOL = "leave_k_out"


def table(comparison: Comparison) -> Sheet | None:
    """A row per method."""
    rows: list[dict[str, Cell]] = []
    for method in listed(comparison, random=True):
        summaries = [run.summary for run in comparison.runs[method].values()]
        row: dict[str, Cell] = {
            "method": method,
            "minutes per query": Number(mean(s["seconds_per_query"] / 60 for s in summaries), ".2f", below=0.01),
            "device": ", ".join(sorted({summary.get("device", NOTHING) for summary in summaries})),
            "seeds": Number(len(summaries), "d"),
        }
        if comparison.dataset in DATASETS:
            row["paper (H100)"] = minutes(comparison.dataset, comparison.base(method))
        rows.append(row)
    if not rows:
        return None
    caption = (
        "Minutes to attribute one query on the device named, each query's part of the preparation included; mean over "
        "seeds."
    ) + credit(rows, "Table 6, on one NVIDIA H100")
    return Sheet("table_6", "Table 6: time per query", caption, filled(rows), printed=False)


def minutes(dataset: str, method: str) -> Cell:
    """What the paper says, which for short times is a bound."""
    frame = published("table_6")
    found = frame[(frame["dataset"] == dataset) & (frame["method"] == method)]["minutes"].tolist()
    return found[0] if found and found[0].startswith("<") else Number(float(found[0]) if found else None, ".1f")
