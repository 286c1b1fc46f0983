"""What the tables of all protocols have in common, and those of LDS, of pretended runs."""

import numpy as np
import pandas as pd
import pytest

from tdattr.metrics.agreement import MEASURES as AGREEMENTS
from tdattr.metrics.agreement import interval
from tdattr.report.collect import collect
from tdattr.report.sheet import render_sheet
from tdattr.report.sheets import MAKERS, make_sheets
from tdattr.report.statements import tell_bank
from tdattr.report.tables import make_rows
from tdattr.scores import DAMPING_UNIT
from tests.report.outputs import QUERIES, Outputs, made, shown


def test_every_module_says_which_protocols_it_has_a_table_of() -> None:
    assert all(isinstance(maker.PROTOCOLS, tuple) and callable(maker.make_sheet) for maker in MAKERS)
    assert {name for maker in MAKERS for name in maker.PROTOCOLS} == {
        "bank",
        "leave_k_out",
        "lds",
        "logo",
        "none",
        "removal_loss",
        "truth",
    }


def test_the_lds_of_a_seed_is_the_runs_own_and_seeds_are_pooled(outputs: Outputs) -> None:
    lds = [{"mean": 0.2, "low": 0.1, "high": 0.4}, {"mean": 0.4, "low": 0.2, "high": 0.5}]
    for seed in (1, 2):
        outputs.lds("mucs", seed, summary={"lds": lds[seed - 1]})
    outputs.lds("random", 1, summary={"lds": lds[0]})
    (experiment,) = collect([outputs.root]).experiments
    assert "lds, 32 subsets" in experiment.title
    found = made(outputs)
    assert list(found) == ["lds", "paired"]
    rows = {row["method"]: row for row in found["lds"].rows}
    assert list(rows) == ["random", "mucs"]
    # of one seed the run's own; of several that of a mean of independent means
    assert [rows["random"][key].value for key in ("LDS", "low", "high")] == pytest.approx([0.2, 0.1, 0.4])
    expected = [0.3, 0.3 - (0.1**2 + 0.2**2) ** 0.5 / 2, 0.3 + (0.2**2 + 0.1**2) ** 0.5 / 2]
    assert [rows["mucs"][key].value for key in ("LDS", "low", "high")] == pytest.approx(expected)
    assert (str(rows["mucs"]["queries"]), str(rows["mucs"]["seeds"])) == ("12", "2")


def test_a_grid_of_dampings_has_a_table(outputs: Outputs) -> None:
    def grid(centre: float) -> list[dict[str, float]]:
        return [{"damping": d, "mean": centre + d, "low": centre - 0.3, "high": centre + 0.4} for d in (0.1, 0.01)]

    outputs.lds("dtrak", 1, summary={"grid": grid(0.1), "damping": 0.1, "damping_unit": DAMPING_UNIT})
    outputs.lds("dtrak", 2, summary={"grid": grid(0.3), "damping": 0.1, "damping_unit": DAMPING_UNIT})
    outputs.lds("dtrak", 3, summary={"grid": grid(9.0), "damping": 0.1})  # of before there was a unit
    outputs.lds("mucs", 1)
    found = made(outputs)
    assert set(found) == {"lds", "lds_damping", "paired"}
    assert "published unit" in found["lds_damping"].caption
    small, large = found["lds_damping"].rows
    assert (str(small["damping"]), str(large["damping"])) == ("0.01", "0.1")
    assert large["LDS"].value == pytest.approx(0.3)
    assert large["low"].value == pytest.approx(0.3 - 0.4 / 2**0.5)
    assert large["high"].value == pytest.approx(0.3 + 0.3 / 2**0.5)


def test_protocols_stand_apart(outputs: Outputs) -> None:
    outputs.run("mucs", 1)
    outputs.lds("mucs", 1)
    assert [experiment.protocol for experiment in collect([outputs.root]).experiments] == ["leave_k_out", "lds"]


def test_a_protocol_without_tables_has_the_means_of_its_queries(outputs: Outputs) -> None:
    rng = np.random.default_rng(0)
    tables: dict[str, list[pd.DataFrame]] = {"mucs": [], "pixel": []}
    for method, shift in (("pixel", 0.0), ("mucs", 2.0)):
        for seed in (1, 2):
            values = {"query": range(QUERIES), "gain": rng.normal(shift, 1, QUERIES), "word": ["w"] * QUERIES}
            tables[method].append(pd.DataFrame(values | {"gap": [np.nan, np.inf, *range(QUERIES - 2)]}))
            found = {"protocol": "mine", "title": "9 lives", "metrics": {"gain": 3}}
            outputs.write(method, seed, "tiny", tables[method][-1], found, {"protocol": {"name": "mine"}})
    (experiment,) = collect([outputs.root]).experiments
    assert experiment.title == "tiny, dit, edm: mine, 9 lives, 6 queries per seed"
    assert not make_rows(experiment)  # of leave-k-out alone
    sheet = made(outputs)["per_query"]
    rows = {(str(row["method"]), str(row["quantity"])): row for row in sheet.rows}
    assert list(rows) == [("pixel", "gain"), ("pixel", "gap"), ("mucs", "gain"), ("mucs", "gap")]
    for method, parts in tables.items():
        gains = pd.concat(parts)["gain"].to_numpy()
        row = rows[method, "gain"]
        low, high = interval(gains, 2000)
        assert (row["mean"].value, row["low"].value, row["high"].value) == pytest.approx((gains.mean(), low, high))
        assert (str(row["queries"]), str(row["seeds"])) == ("12", "2")
        assert str(rows[method, "gap"]["queries"]) == "8" and rows[method, "gap"]["mean"].value == 1.5
    assert sheet.printed and "Not shown, as they hold no numbers: word." in sheet.caption


def test_a_protocol_that_says_nothing_of_queries_is_named(outputs: Outputs) -> None:
    outputs.write("mucs", 1, "tiny", pd.DataFrame(), {"protocol": "mine"}, {"protocol": {"name": "mine"}})
    assert shown(made(outputs)["per_query"])["mucs"]["quantity"] == "none: its table of queries has no numbers"


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_a_number_that_a_run_could_not_find_is_a_dash(outputs: Outputs, missing: float | None) -> None:
    """A single query has no overlap with another one; the summaries of older runs have NaN for it."""
    outputs.run("mucs", 1, summary={"overlap_percent": missing, "overlap_ci95": missing})
    outputs.run("mucs", 2)
    sheets = made(outputs)
    (experiment,) = collect([outputs.root]).experiments
    (row,) = make_rows(experiment)
    assert row["overlap"] is None
    assert shown(sheets["table_7"])["mucs"] == {"method": "mucs", "seeds": "2"}


def test_what_shows_nothing_has_marks_and_footnotes_in_every_table(outputs: Outputs) -> None:
    outputs.run("random", 1)
    outputs.run("mucs", 1, 0.0)
    outputs.run("mucs", 1, 0.0, ablation="block")
    outputs.run("ensemble_a", 1, 0.0)
    outputs.run("das", 1, 0.9)
    sheets = made(outputs)
    for name in ("table_1", "table_2", "table_3_9"):
        marked = [str(row["ssim"]) for row in sheets[name].rows if "das" not in row.values()]
        assert all(text.endswith("‡§") for text in marked), name
        assert "‡: the interval of the change holds zero" in sheets[name].caption
        assert "§: fewer than 10 queries" in sheets[name].caption
    assert shown(sheets["table_1"])["das"]["ssim"].endswith("§")
    assert "‡" not in shown(sheets["table_1"])["das"]["ssim"]
    changes = shown(sheets["table_5"])
    assert changes["mucs"]["ssim"].endswith("‡") and not changes["das"]["ssim"].endswith("‡")
    assert "§" not in sheets["table_5"].caption
    (experiment,) = collect([outputs.root]).experiments
    rows = {row["method"]: row for row in make_rows(experiment)}
    assert [rows[name]["marks"] for name in ("random", "mucs", "das")] == ["", "‡§", "§"]
    for seed in (2, 3):
        outputs.run("das", seed, 0.9)
    assert "§" not in shown(made(outputs)["table_1"])["das"]["ssim"]  # 18 queries


def test_few_queries_are_marked_under_every_protocol(outputs: Outputs) -> None:
    """Those of all seeds together."""
    gold = np.random.default_rng(0).normal(size=(QUERIES, 4))
    grid = [{"damping": 1.0, "mean": 0.3, "low": 0.2, "high": 0.4}]
    gains = pd.DataFrame({"query": range(QUERIES), "gain": np.arange(QUERIES) / 7})
    seen = {"groups": AGREEMENTS, "lds": ["LDS"], "lds_damping": ["LDS"], "per_query": ["mean"]}
    for seed in (1, 2):
        outputs.groups("pixel", seed, gold, gold)
        outputs.lds("dtrak", seed, summary={"grid": grid, "damping": 1.0, "damping_unit": DAMPING_UNIT})
        outputs.write("mucs", seed, "tiny", gains, {"protocol": "mine"}, {"protocol": {"name": "mine"}})
        sheets = {sheet.name: sheet for each in collect([outputs.root]).experiments for sheet in make_sheets(each)}
        assert sheets.keys() == seen.keys()
        for name, columns in seen.items():
            [row] = shown(sheets[name]).values()
            assert {row[column][-1] == "§" for column in columns} == {seed == 1}, name
            assert ("§: fewer than 10 queries" in sheets[name].caption) == (seed == 1), name


def test_a_first_model_that_is_no_good_is_named_below_every_table(outputs: Outputs) -> None:
    health = {"far": 0.25}
    outputs.run("mucs", 1, summary={"far_queries": 0.1}, health=health)
    assert all("far from" not in sheet.caption for sheet in made(outputs).values())
    outputs.run("mucs", 2, summary={"far_queries": 0.375}, health=health)
    words = "F1's images are far from its data: 38 % (seed 2) of the queries"
    assert all(words in sheet.caption for sheet in made(outputs).values())


def test_nothing_is_relative_to_an_auc_of_zero(outputs: Outputs) -> None:
    outputs.run("mucs", 1, -0.9, ablation=None)
    outputs.run("mucs", 1, 0.1, ablation="block")
    proposed, block = made(outputs)["table_2"].rows
    assert proposed["ssim"].value == 0 and block["ssim"].value > 0
    assert str(block.get("Δ, %", "–")) == "–"


def test_what_a_bank_knows_stands_beside_what_was_run(outputs: Outputs) -> None:
    known = [
        {"method": name, "lds_50": mean, "lds_50_low": mean - 0.2, "lds_50_high": mean + 0.2, "lds_50_p": 0.5}
        | {"logo_top_1": None, "seconds_per_query": 1.0}
        for name, mean in (("mucs", 0.7), ("das", 0.1))
    ]
    own = [{"method": "retraining", "lds_50": 0.9}, {"method": "this run", "lds_50": 0.6}]
    outputs.bank("das", lds_50=0.6, ranking=[*own, *known])
    rows = made(outputs)["bank"].rows
    assert [(row["method"], str(row["LDS 50 %"])) for row in rows] == [
        ("retraining", "0.900"),
        ("mucs (from the bank)", "0.700"),
        ("das", "0.600§"),
    ]
    ends = [(str(row["LDS 50 % low"]), str(row["LDS 50 % high"])) for row in rows]
    assert ends == [("–", "–"), ("0.500", "0.900"), ("0.500", "0.700")]


def test_a_bank_has_a_leaderboard_and_paired_tests_by_what_most_methods_have(outputs: Outputs) -> None:
    outputs.bank("random", lds_50=0.0, logo_spearman=0.1)
    outputs.bank("das", lds_50=0.6, logo_spearman=0.5)
    outputs.bank("guda_u", logo_spearman=0.7)
    found = made(outputs)
    assert set(found) == {"bank", "paired"}
    rows = shown(found["bank"])
    assert (rows["das"]["LDS 50 %"], rows["das"]["LDS 50 % low"]) == ("0.600§", "0.500")
    assert (rows["guda_u"]["LDS 50 %"], rows["guda_u"]["LOGO Spearman high"]) == ("–", "0.800")
    assert all("low" not in str(column.header) for column in render_sheet(found["bank"]).columns)
    assert rows["guda_u"]["LOGO Spearman"] == "0.700§" and "LDS 95 %" not in rows["das"]
    ceiling, *others = found["bank"].rows
    assert [row["method"] for row in others] == ["das", "random", "guda_u"]  # the best first
    assert str(ceiling["LDS 50 %"]) == "0.900" and "by lds_50" in found["paired"].title
    assert [row["method"] for row in found["paired"].rows] == ["random", "das"]
    assert found["paired"].caption.endswith("Without lds_50, which they do not have: guda_u.")
    outputs.bank("guda_c", logo_spearman=0.6)
    assert "by logo_spearman" in made(outputs)["paired"].title and len(made(outputs)["paired"].rows) == 4


def test_no_test_is_paired_by_a_measure_in_which_retraining_fails(outputs: Outputs) -> None:
    for method in ("random", "das"):
        outputs.bank(method, ceilings={"lds_50": 0.1}, lds_50=0.0, logo_spearman=0.1)
    assert "by logo_spearman" in made(outputs)["paired"].title
    (experiment,) = collect([outputs.root]).experiments
    [sentence] = tell_bank(experiment)
    assert sentence.startswith("das reaches 0.10 by LOGO Spearman")
