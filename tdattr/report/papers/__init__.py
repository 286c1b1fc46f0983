"""The numbers that papers have published, kept beside the code as data."""

from functools import cache
from pathlib import Path

import pandas as pd

from tdattr.report.sheet import Number

SOURCE = "arXiv 2605.17938"
DATASETS = ("cifar10", "artbench10", "coco")
MEASURES = ("ssim", "sscd", "lpips", "clip")  # those that its μ is taken over
MEAN = "mu"


@cache
def read_table(table: str) -> pd.DataFrame:
    """A table of the MUCS paper, a row per number."""
    return pd.read_csv(Path(__file__).parent / "mucs" / f"{table}.csv", keep_default_na=False)


def read_number(table: str, form: str = ".3f", **where: str) -> Number:
    """The one number of a table with those entries in its other columns; an empty one where the paper has none."""
    frame = read_table(table)
    for column, value in where.items():
        frame = frame[frame[column] == value]
    if frame.empty:
        return Number(None)
    [row] = frame.to_dict("records")
    significant = None if where.get("measure") == MEAN else row.get("significant")  # μ was not tested
    return Number(row["value"], form, interval=row.get("ci95"), marked=significant)
