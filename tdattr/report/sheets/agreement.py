"""Table 8 of the MUCS paper: how much of what one method names another names too."""

import numpy as np
from jaxtyping import Int

from tdattr.report.collect import Experiment
from tdattr.report.methods import credit_paper, list_methods
from tdattr.report.papers import read_number
from tdattr.report.sheet import Cell, Number, Sheet, drop_empty_columns
from tdattr.scores import load_scores

PROTOCOLS: tuple[str, ...] = ("leave_k_out",)
DATASET = "artbench10"  # the paper has this table of it alone
Top = dict[int, Int[np.ndarray, "_query _k"]]  # by seed


def make_sheet(experiment: Experiment) -> Sheet | None:
    """A row and a column per method; None for a single one."""
    methods = list_methods(experiment, random=True)
    if len(methods) < 2:
        return None
    tops: dict[str, Top] = {
        method: {
            seed: load_scores(run.artifact("scores")).top(run.summary["k"])
            for seed, run in experiment.runs[method].items()
        }
        for method in methods
    }
    rows: list[dict[str, Cell]] = []
    for method in methods:
        row: dict[str, Cell] = {"method": method}
        row |= {
            other: Number(None if other == method else share_of_top(tops[method], tops[other]), ".1f")
            for other in methods
        }
        if experiment.dataset == DATASET:
            names = [experiment.base(name) for name in (method, *methods)]
            row |= {
                f"paper: {other}": read_number("table_8", ".1f", method=names[0], other=other) for other in names[1:]
            }
        rows.append(row)
    caption = (
        "Share of the top-k items that two methods name for the same query, in percent: mean over queries and over the "
        "seeds that both were run with."
    ) + credit_paper(rows, "Table 8")
    return Sheet("table_8", "Table 8: overlap between methods, %", caption, drop_empty_columns(rows), printed=False)


def share_of_top(first: Top, second: Top) -> float | None:
    """The mean share in percent, over the queries of the seeds that both have; None where there are none."""
    pairs = [pair for seed in first.keys() & second.keys() for pair in zip(first[seed], second[seed], strict=True)]
    return float(np.mean([100 * len(np.intersect1d(a, b)) / len(a) for a, b in pairs])) if pairs else None
