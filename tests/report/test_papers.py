"""The numbers of the papers agree with each other."""

import numpy as np
import pandas as pd
import pytest

from tdattr.report.papers import DATASETS, MEASURES, read_number, read_table

COUNTS = {"table_1": 120, "table_2": 49, "table_3": 15, "table_5": 120, "table_6": 27, "table_7": 27, "table_8": 72}
MISPRINTED = ("coco", "dtrak")  # its μ is that of ArtBench-10


def wide(table: str, index: list[str], value: str = "value") -> pd.DataFrame:
    """A row per entry of the index, a column per measure."""
    return read_table(table).pivot_table(index=index, columns="measure", values=value)


@pytest.mark.parametrize(("table", "count"), COUNTS.items())
def test_every_number_is_there_once(table: str, count: int) -> None:
    frame = read_table(table)
    keys = [name for name in frame.columns if name not in ("value", "ci95", "significant", "minutes")]
    assert len(frame) == len(frame[keys].drop_duplicates()) == count
    if table != "table_2":
        assert set(frame["dataset"]) <= set(DATASETS)


def test_the_mean_of_table_1_is_that_of_its_measures() -> None:
    aucs = wide("table_1", ["dataset", "method"])
    off = (aucs[list(MEASURES)].mean(axis=1) - aucs["mu"]).abs()
    assert off.drop(MISPRINTED).max() <= 0.001
    assert off[MISPRINTED] == pytest.approx(0.009)


def test_the_asterisks_of_table_1_are_those_of_mucs_on_two_datasets() -> None:
    marked = read_table("table_1").query("significant")
    assert set(marked["method"]) == {"mucs"}
    assert marked["dataset"].value_counts().to_dict() == {"cifar10": 4, "artbench10": 4}


def test_the_differences_of_table_2_are_those_of_its_measures() -> None:
    aucs = wide("table_2", ["ablation"])
    whole = aucs.loc["", list(MEASURES)]
    relative = 100 * (aucs[list(MEASURES)] / whole - 1).mean(axis=1)
    assert (relative - aucs["delta"]).drop("").abs().max() < 0.2  # numbers of three digits
    assert np.isnan(aucs.loc["", "delta"])
    mucs = wide("table_1", ["dataset", "method"]).loc[("coco", "mucs")]
    assert (whole == mucs[list(MEASURES)]).all()


def test_the_means_of_table_3_are_those_of_table_9_and_r_is_mucs() -> None:
    means = wide("table_9", ["dataset", "ensemble"]).mean(axis=1)
    assert (means - wide("table_3", ["dataset", "ensemble"])["mu"]).abs().max() <= 0.001
    for dataset in DATASETS:
        for measure in MEASURES:
            where = {"dataset": dataset, "measure": measure}
            assert (
                read_number("table_9", ensemble="R", **where).value
                == read_number("table_1", method="mucs", **where).value
            )


def test_the_mean_of_table_5_is_that_of_its_measures_and_intervals() -> None:
    for value in ("value", "ci95"):
        changes = wide("table_5", ["dataset", "method"], value)
        assert (changes[list(MEASURES)].mean(axis=1) - changes["mu"]).abs().max() < 0.1


def test_table_8_is_symmetric() -> None:
    values = read_table("table_8").set_index(["method", "other"])["value"]
    assert all(values[other, method] == value for (method, other), value in values.items())


def test_numbers_are_found_with_their_intervals_and_marks() -> None:
    assert str(read_number("table_1", dataset="cifar10", method="mucs", measure="ssim")) == "0.889*"
    assert str(read_number("table_1", dataset="coco", method="mucs", measure="ssim")) == "0.750"
    assert str(read_number("table_5", "+.1f", dataset="coco", method="das", measure="mu")) == "-15.2 ± 3.4"
    assert read_number("table_1", dataset="glyphs", method="mucs", measure="ssim").value is None
