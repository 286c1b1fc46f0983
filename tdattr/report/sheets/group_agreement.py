"""How far every method ranks groups as retraining without them does, or as the truth does."""

import pandas as pd

from tdattr.metrics.agreement import MEASURES, interval, paired
from tdattr.report.collect import Comparison
from tdattr.report.sheet import Cell, Number, Sheet, filled
from tdattr.report.sheets.measured import mean, ordered

PROTOCOL = ("logo", "truth")
SHOWN = ("top_1", "ndcg_3", "spearman")  # of the measures in a terminal
RESAMPLES = 2000
MAIN = "spearman"  # by which the best is tested against the next


def table(comparison: Comparison) -> Sheet:
    """A row per method; the best one by Spearman is marked where it is better than the next at p < 0.01."""
    values = {
        method: pd.concat([run.similarities() for _, run in sorted(comparison.runs[method].items())], ignore_index=True)
        for method in ordered(comparison, comparison.runs)
    }
    best, *rest = sorted((name for name in values if name != "logo"), key=lambda name: -values[name][MAIN].mean()) or [
        ""
    ]
    marked = bool(
        rest
        and comparison.runs[best].keys() == comparison.runs[rest[0]].keys()
        and paired(values[best][MAIN].to_numpy(), values[rest[0]][MAIN].to_numpy()) < 0.01
    )
    rows: list[dict[str, Cell]] = []
    for method, found in values.items():
        runs = comparison.runs[method].values()
        row: dict[str, Cell] = {"method": method}
        for measure in MEASURES:
            better = marked and method == best and measure == MAIN
            row[measure] = Number(float(found[measure].mean()), marked=better)
        low, high = interval(found[MAIN].to_numpy(), RESAMPLES)
        row |= {"low": Number(low), "high": Number(high)}
        for name, measure in (("of ceiling", MAIN), ("top_1 of ceiling", "top_1")):
            shares = [run.summary["agreement"][measure].get("fraction") for run in runs]
            row[name] = Number(None if None in shares else mean(shares), ".2f")
        steps = [run.summary.get("facts", {}).get("training_steps") for run in runs]
        row |= {
            "steps": Number(None if None in steps else mean(steps), ".0f"),
            "queries": Number(len(found), "d"),
            "s/query": Number(mean(run.summary["seconds_per_query"] for run in runs), ".2f"),
        }
        rows.append(row)
    what = "retraining without each group" if comparison.protocol == "logo" else "what each query is composed of"
    caption = (
        f"Agreement of the scores of groups with {what}: means over the queries of all seeds; low and high: the 95 % "
        f"interval of {MAIN}. *: better by {MAIN} than the next best, p < 0.01 (paired sign-flip test over queries). "
        f"Of ceiling: as a share of LOGO's agreement with itself under other seeds ({MAIN}), where that was computed. "
        "Steps: of training or unlearning, all groups together."
    )
    shown = filled(rows)
    aside = ("low", "high", "top_1 of ceiling", *(name for name in MEASURES if name not in SHOWN))
    return Sheet("groups", "Agreement on groups", caption, shown, aside=aside)
