"""Table 6 of the MUCS paper: what an attribution costs."""

from tdattr.report.collect import Experiment
from tdattr.report.methods import credit_paper, list_methods
from tdattr.report.papers import DATASETS, read_table
from tdattr.report.pooling import mean_or_none
from tdattr.report.sheet import NOTHING, Cell, Number, Sheet, drop_empty_columns

PROTOCOLS: tuple[str, ...] = ("leave_k_out",)


def make_sheet(experiment: Experiment) -> Sheet | None:
    """A row per method."""
    rows: list[dict[str, Cell]] = []
    for method in list_methods(experiment, random=True):
        summaries = [run.summary for run in experiment.runs[method].values()]
        row: dict[str, Cell] = {
            "method": method,
            "minutes per query": Number(
                mean_or_none(s["seconds_per_query"] / 60 for s in summaries), ".2f", below=0.01
            ),
            "device": ", ".join(sorted({summary.get("device", NOTHING) for summary in summaries})),
            "seeds": Number(len(summaries), "d"),
        }
        if experiment.dataset in DATASETS:
            row["paper (H100)"] = read_minutes(experiment.dataset, experiment.base(method))
        rows.append(row)
    if not rows:
        return None
    caption = (
        "Minutes to attribute one query on the device named, each query's part of the preparation included; mean over "
        "seeds."
    ) + credit_paper(rows, "Table 6, on one NVIDIA H100")
    return Sheet("table_6", "Table 6: time per query", caption, drop_empty_columns(rows), printed=False)


def read_minutes(dataset: str, method: str) -> Cell:
    """What the paper says, which for short times is a bound."""
    frame = read_table("table_6")
    published = frame[(frame["dataset"] == dataset) & (frame["method"] == method)]["minutes"].tolist()
    return (
        published[0]
        if published and published[0].startswith("<")
        else Number(float(published[0]) if published else None, ".1f")
    )
