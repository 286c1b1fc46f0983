"""The papers' tables of pretended runs, against numbers computed here in another way."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from tdattr.metrics.agreement import FURTHER_MEASURES, interval
from tdattr.metrics.agreement import MEASURES as AGREEMENTS
from tdattr.report.collect import collect
from tdattr.report.papers import MEASURES
from tdattr.report.sheet import Sheet
from tdattr.report.sheets import MAKERS, make_sheets
from tdattr.report.tables import make_rows
from tdattr.scores import DAMPING_UNIT, load_scores
from tests.report.outputs import QUERIES, K, Outputs


@pytest.fixture
def outputs(tmp_path: Path) -> Outputs:
    return Outputs(tmp_path)


def made(outputs: Outputs) -> dict[str, Sheet]:
    """The tables of the only experiment."""
    (experiment,) = collect([outputs.root]).experiments
    return {sheet.name: sheet for sheet in make_sheets(experiment)}


def shown(sheet: Sheet, key: str = "method") -> dict[str, dict[str, str]]:
    """The cells as they are printed, by the first word of each row."""
    return {str(row[key]): {column: str(cell) for column, cell in row.items()} for row in sheet.rows}


def auc(*tables: pd.DataFrame, measure: str = "ssim") -> float:
    """Of several seeds together."""
    part = pd.concat(tables).query("role == 'attributed'")
    labels = np.repeat([0, 1], len(part))
    return float(roc_auc_score(labels, np.concatenate([part[measure], part[f"{measure}_random"]])))


def test_every_module_says_which_protocols_it_has_a_table_of() -> None:
    assert all(isinstance(maker.PROTOCOLS, tuple) and callable(maker.make_sheet) for maker in MAKERS)
    assert {name for maker in MAKERS for name in maker.PROTOCOLS} == {"leave_k_out", "lds", "logo", "truth"}


def test_table_1_has_the_aucs_their_mean_and_the_papers(outputs: Outputs) -> None:
    runs = {
        (method, seed): outputs.run(method, seed, shift, dataset="cifar10", measures=[*MEASURES, "mse"])
        for method, shift in (("random", 0.0), ("mucs", 0.2), ("pixel", 0.1), ("das", 0.05))
        for seed in (1, 2)
    }
    sheet = made(outputs)["table_1"]
    rows = {row["method"]: row for row in sheet.rows}
    assert list(rows) == ["pixel", "das", "mucs"]
    assert [rows[method]["categ."] for method in rows] == ["MA", "IF", "U"]
    assert sheet.columns[2:9] == [*MEASURES, "mse", "μ", "seeds"]
    for method, row in rows.items():
        aucs = {name: auc(runs[method, 1], runs[method, 2], measure=name) for name in [*MEASURES, "mse"]}
        for name, value in aucs.items():
            assert row[name].value == pytest.approx(value)
        assert row["μ"].value == pytest.approx(np.mean([aucs[name] for name in MEASURES]))
    cells = shown(sheet)
    assert [cells["mucs"][f"paper: {name}"] for name in (*MEASURES, "μ")] == [
        "0.889*", "0.901*", "0.930*", "0.868*", "0.897",
    ]  # fmt: skip
    assert cells["das"]["paper: lpips"] == "0.806"
    assert cells["pixel"]["paper: ssim"] == "–"
    assert "Table 1, its numbers on cifar10" in sheet.caption


@pytest.mark.parametrize(("shift", "mark"), [(0.5, "*"), (0.02, "")])
def test_the_best_method_is_marked_where_it_is_significantly_better(outputs: Outputs, shift: float, mark: str) -> None:
    for seed in (1, 2, 3):
        outputs.run("random", seed)
        outputs.run("clip", seed, -0.3)
        outputs.run("pixel", seed, 0.0)
        outputs.run("mucs", seed, shift)
    cells = shown(made(outputs)["table_1"])
    assert cells["mucs"]["ssim"].endswith("*") == bool(mark)
    assert not any(cells[method]["ssim"].endswith("*") for method in ("clip", "pixel"))


def test_another_best_method_is_marked_too(outputs: Outputs) -> None:
    for seed in (1, 2):
        outputs.run("das", seed, 0.5)
        outputs.run("mucs", seed, 0.0)
    cells = shown(made(outputs)["table_1"])
    assert cells["das"]["ssim"].endswith("*")
    assert not cells["mucs"]["ssim"].endswith("*")


def test_ensembles_ablations_and_variants_of_a_method_are_no_rivals(outputs: Outputs) -> None:
    for seed in (1, 2):
        outputs.run("pixel", seed, -0.1)
        outputs.run("mucs", seed, 0.40, settings={"steps": 1})
        outputs.run("mucs", seed, 0.42, settings={"steps": 2})
        outputs.run("mucs", seed, 0.9, ablation="block")
        outputs.run("ensemble_a", seed, 0.9)
    cells = shown(made(outputs)["table_1"])
    assert set(cells) == {"pixel", "mucs steps=1", "mucs steps=2"}
    assert sum(row["ssim"].endswith("*") for row in cells.values()) == 1
    outputs.run("das", 3, 0.9)
    assert set(shown(made(outputs)["table_1"])) == {"pixel", "das", "mucs steps=1", "mucs steps=2"}


def test_methods_without_common_seeds_or_rivals_are_not_marked(outputs: Outputs) -> None:
    outputs.run("mucs", 1, 0.9)
    assert not shown(made(outputs)["table_1"])["mucs"]["ssim"].endswith("*")
    outputs.run("pixel", 2, -0.5)
    assert not shown(made(outputs)["table_1"])["mucs"]["ssim"].endswith("*")


def test_a_dataset_of_our_own_stands_beside_the_papers_means(outputs: Outputs) -> None:
    outputs.run("mucs", 1)
    outputs.run("dtrak", 1, measures=("ssim", "mse"))
    sheet = made(outputs)["table_1"]
    cells = shown(sheet)["mucs"]
    assert [cells[f"paper: {name}"] for name in ("cifar10", "artbench10", "coco")] == ["0.897", "0.843", "0.757"]
    assert cells["mse"] == cells["μ"] == "–"
    assert "none" not in sheet.caption


def test_only_methods_that_the_paper_has_not_leave_its_columns_out(outputs: Outputs) -> None:
    outputs.run("pixel", 1)
    sheet = made(outputs)["table_1"]
    assert not [column for column in sheet.columns if column.startswith("paper")]
    assert "paper" not in sheet.caption


def test_random_alone_has_no_table_of_aucs(outputs: Outputs) -> None:
    outputs.run("random", 1)
    assert set(made(outputs)) == {"table_6", "table_7"}


@pytest.mark.parametrize("dataset", ["coco", "tiny"])
def test_table_2_compares_the_ablations_with_mucs(outputs: Outputs, dataset: str) -> None:
    both = ("ssim", "mse")
    whole = outputs.run("mucs", 1, 0.3, dataset=dataset, measures=both)
    changed = {
        name: outputs.run("mucs", 1, 0.1, dataset=dataset, measures=both, ablation=name, settings={"x": 1})
        for name in ("mine", "fresh_noise", "weight_0.1")
    }
    outputs.run("pixel", 1, dataset=dataset, measures=both)
    sheet = made(outputs)["table_2"]
    rows = {row["ablation"]: row for row in sheet.rows}
    assert list(rows) == ["mucs", "weight_0.1", "fresh_noise", "mine"]
    assert rows["mucs"]["ssim"].value == pytest.approx(auc(whole))
    for name, table in changed.items():
        aucs = {measure: auc(table, measure=measure) for measure in both}
        assert rows[name]["ssim"].value == pytest.approx(aucs["ssim"])
        assert rows[name]["μ"].value == pytest.approx(np.mean(list(aucs.values())))
        expected = np.mean([100 * (aucs[measure] / auc(whole, measure=measure) - 1) for measure in both])
        assert rows[name]["Δ, %"].value == pytest.approx(expected)
    cells = shown(sheet, "ablation")
    assert [cells[name]["step"] for name in cells] == ["–", "U-C1", "S-C2", "–"]
    assert cells["weight_0.1"]["description"] == "Using λ = 0.1"
    assert [cells[name]["paper: Δ, %"] for name in cells] == ["–", "-3.2", "-19.0", "–"]
    assert cells["mucs"]["Δ, %"] == "–"
    assert ("paper: ssim" in sheet.columns) == (dataset == "coco")
    if dataset == "coco":
        assert cells["fresh_noise"]["paper: ssim"] == "0.618"
        assert cells["mucs"]["paper: clip"] == "0.715"


def test_ablations_are_compared_with_the_nearest_mucs_or_with_none(outputs: Outputs) -> None:
    outputs.run("mucs", 1, 0.0, ablation="block", settings={"steps": 9, "trainable": "block"})
    assert "Δ, %" not in made(outputs)["table_2"].columns
    outputs.run("mucs", 1, 0.1, settings={"steps": 9, "trainable": "mlp"})
    outputs.run("mucs", 1, 0.1, settings={"steps": 5, "trainable": "mlp"})
    rows = made(outputs)["table_2"].rows
    assert [row["ablation"] for row in rows] == ["mucs steps=9", "block"]


def test_no_ablation_no_table_2(outputs: Outputs) -> None:
    outputs.run("mucs", 1, ablation=None)
    outputs.run("pixel", 1, ablation="block")
    assert "table_2" not in made(outputs)


def test_ensembles_show_their_weights(outputs: Outputs) -> None:
    mucs = outputs.run("mucs", 1, 0.1, dataset="coco")
    weights = {"mucs": 10, "dino": 5, "clip": 5, "condition": 3}
    outputs.run("ensemble_b", 1, 0.2, dataset="coco", settings={"weights": weights})
    outputs.run("ensemble_a", 1, 0.2, dataset="coco")
    sheet = made(outputs)["table_3_9"]
    cells = shown(sheet, "#")
    assert list(cells) == ["R", "A", "B"]
    assert cells["R"]["ssim"].rstrip("‡§") == f"{auc(mucs):.3f}"
    assert [cells["B"][f"weight of {name}"] for name in (*weights, "das")] == ["10", "5", "5", "3", "0"]
    assert [cells["A"][f"weight of {name}"] for name in ("mucs", "das", "forward_inf")] == ["10", "7", "2"]
    assert (cells["A"]["paper: μ"], cells["B"]["paper: clip"], cells["R"]["paper: μ"]) == ("0.801", "0.795", "0.757")


def test_table_5_has_changes_and_intervals(outputs: Outputs) -> None:
    table = outputs.run("das", 1, 0.1, dataset="artbench10", measures=("ssim", "clip")).query("role == 'attributed'")
    (row,) = made(outputs)["table_5"].rows
    means, intervals = [], []
    for measure in ("ssim", "clip"):
        changes = 100 * (table[measure] / table[f"{measure}_random"].median() - 1)
        means.append(changes.mean())
        intervals.append(1.98 * changes.std() / QUERIES**0.5)
        assert (row[measure].value, row[measure].interval) == pytest.approx((means[-1], intervals[-1]))
    assert (row["μ"].value, row["μ"].interval) == pytest.approx((np.mean(means), np.mean(intervals)))
    assert str(row["paper: ssim"]) == "-10.0 ± 2.0"
    assert str(row["paper: μ"]) == "-12.4 ± 2.4"


def test_table_5_marks_the_changes_from_a_small_median(outputs: Outputs) -> None:
    outputs.run("das", 1, 0.1, measures=("ssim", "clip"))
    outputs.run("mucs", 1, 0.1, measures=("ssim",), lower=1.0)
    sheet = made(outputs)["table_5"]
    cells = shown(sheet)
    marked = {(name, column) for name, row in cells.items() for column, text in row.items() if text.endswith("†")}
    assert marked == {("mucs", "ssim"), ("mucs", "μ")} and cells["mucs"]["ssim"] == "–†"
    assert "†: the median after random removal is below 0.01" in sheet.caption
    outputs.run("mucs", 1, 0.1, measures=("ssim", "clip"), lower=1.0)
    assert shown(made(outputs)["table_5"])["mucs"]["μ"].endswith("†")  # a mean of such changes
    outputs.run("mucs", 1, 0.1, measures=("ssim", "clip"))
    assert "†" not in made(outputs)["table_5"].caption + str(shown(made(outputs)["table_5"]))


def test_table_6_has_minutes_and_the_device(outputs: Outputs) -> None:
    outputs.run("mucs", 1, dataset="coco", summary={"seconds_per_query": 60.0})
    outputs.run("mucs", 2, dataset="coco", summary={"seconds_per_query": 120.0})
    outputs.run("condition", 2, dataset="coco", summary={"seconds_per_query": 0.06, "device": "NVIDIA A100"})
    outputs.run("dino", 2, dataset="coco")
    cells = shown(made(outputs)["table_6"])
    assert (cells["mucs"]["minutes per query"], cells["mucs"]["device"]) == ("1.50", "cpu")
    assert (cells["condition"]["minutes per query"], cells["condition"]["device"]) == ("<0.01", "NVIDIA A100")
    assert [cells[name]["paper (H100)"] for name in ("mucs", "condition", "dino")] == ["56.5", "0.2", "0.2"]


def test_table_6_keeps_the_papers_bounds(outputs: Outputs) -> None:
    outputs.run("condition", 1, dataset="cifar10")
    assert shown(made(outputs)["table_6"])["condition"]["paper (H100)"] == "<0.1"


def test_table_7_pools_the_overlap_of_the_seeds(outputs: Outputs) -> None:
    for seed in (1, 2):
        outputs.run("abu", seed, dataset="coco")
    (row,) = made(outputs)["table_7"].rows
    assert (row["overlap, %"].value, row["overlap, %"].interval) == pytest.approx((15, (3**2 + 6**2) ** 0.5 / 2))
    assert str(row["paper"]) == "25.9 ± 0.6"


def test_table_8_has_the_items_that_methods_share(outputs: Outputs) -> None:
    for method in ("mucs", "das"):
        for seed in (1, 2):
            outputs.run(method, seed, dataset="artbench10")
    outputs.run("clip", 3, dataset="artbench10")
    sheet = made(outputs)["table_8"]
    (experiment,) = collect([outputs.root]).experiments
    shares = []
    for seed in (1, 2):
        first, second = (
            load_scores(experiment.runs[method][seed].artifact("scores")).values.numpy() for method in ("mucs", "das")
        )
        for a, b in zip(first, second, strict=True):
            shares.append(100 * len(set(np.argsort(-a)[:K]) & set(np.argsort(-b)[:K])) / K)
    rows = {row["method"]: row for row in sheet.rows}
    assert rows["mucs"]["das"].value == rows["das"]["mucs"].value == pytest.approx(np.mean(shares))
    cells = shown(sheet)
    assert cells["mucs"]["mucs"] == "–"
    assert cells["das"]["paper: mucs"] == "32.7"


def test_the_lds_of_a_seed_is_the_runs_own_and_seeds_are_pooled(outputs: Outputs) -> None:
    lds = [{"mean": 0.2, "low": 0.1, "high": 0.4}, {"mean": 0.4, "low": 0.2, "high": 0.5}]
    for seed in (1, 2):
        outputs.lds("mucs", seed, summary={"lds": lds[seed - 1]})
    outputs.lds("random", 1, summary={"lds": lds[0]})
    (experiment,) = collect([outputs.root]).experiments
    assert "lds, 32 subsets" in experiment.title
    found = made(outputs)
    assert list(found) == ["lds"]
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
    assert set(found) == {"lds", "lds_damping"}
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


def test_agreement_on_groups_stands_beside_logos_agreement_with_itself(outputs: Outputs) -> None:
    rng = np.random.default_rng(0)
    gold = rng.normal(size=(40, 6))
    again = gold + 0.3 * rng.normal(size=gold.shape)
    methods = {"guda_u-retrack": gold + 0.5 * rng.normal(size=gold.shape), "pixel": rng.normal(size=gold.shape)}
    for name, scores in methods.items():
        outputs.groups(name, 1, gold, scores, again)
    sheet = made(outputs)["groups"]
    rows = shown(sheet)
    assert list(rows) == ["pixel", "guda_u-retrack", "LOGO under other seeds"]
    assert set(AGREEMENTS) <= set(sheet.columns) and not FURTHER_MEASURES.keys() & set(sheet.columns)

    def rho(scores: np.ndarray) -> float:
        return float(np.mean([spearmanr(a, b).statistic for a, b in zip(gold, scores, strict=True)]))

    assert rows["LOGO under other seeds"]["spearman"] == f"{rho(again):.3f}"
    for name, scores in methods.items():
        assert rows[name]["spearman"].strip("*") == f"{rho(scores):.3f}"  # no mark: 40 queries
        assert rows[name]["of ceiling"] == f"{rho(scores) / rho(again):.2f}"
    assert rows["guda_u-retrack"]["spearman"].endswith("*") and not rows["pixel"]["spearman"].endswith("*")
    assert (gold.argmax(1) == again.argmax(1)).mean() == pytest.approx(
        float(rows["LOGO under other seeds"]["top_1"]), abs=1e-3
    )


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


def test_the_interval_of_a_seed_is_the_runs_own(outputs: Outputs) -> None:
    rng = np.random.default_rng(0)
    gold = rng.normal(size=(QUERIES, 5))
    outputs.groups("mucs", 1, gold, gold + rng.normal(size=gold.shape), protocol={"name": "logo", "resamples": 200})
    (row,) = made(outputs)["groups"].rows
    (experiment,) = collect([outputs.root]).experiments
    own = experiment.runs["mucs"][1].summary["agreement"]["spearman"]
    assert (row["low"].value, row["high"].value) == pytest.approx((own["low"], own["high"]))


def accuracy(style: float, unlearned: dict[str, tuple[float, float, float, float]] | None = None) -> dict[str, Any]:
    """What a run found of two groups, in the form of its summary."""
    keys = ("ua", "ira", "cra", "cra_forgotten")
    f1 = {"serif": (0.25, 0.5, 0.75, 1.0), "sans": (0.75, 0.5, 0.75, 0.0)}
    groups: list[dict[str, Any]] = [{"group": name, "f1": dict(zip(keys, f1[name], strict=True))} for name in f1]
    found: dict[str, Any] = {"images": 8, "f1": {"style": style, "object": 0.75}, "groups": groups}
    if unlearned is not None:
        for row in groups:
            row["unlearned"] = dict(zip(keys, unlearned[row["group"]], strict=True))
        found["means"] = {
            of: {key: float(np.mean([row[of][key] for row in groups])) for key in keys} for of in ("unlearned", "f1")
        }
    return {"accuracy": found | {"classifiers": {"style": 0.9, "object": 0.995}}}


def test_the_accuracies_of_unlearning_stand_beside_f1s(outputs: Outputs) -> None:
    gold = np.random.default_rng(0).random((QUERIES, 3))
    for seed, shift in ((1, 0.0), (2, 0.25)):
        unlearned = {"serif": (1.0 - shift, 0.5, 0.25, 0.5), "sans": (0.5, 0.25, 0.75, 0.0)}
        outputs.groups("guda_c-awss", seed, gold, gold, summary=accuracy(0.5, unlearned))
    outputs.groups("pixel", 1, gold, gold, summary=accuracy(0.5))
    outputs.groups("random", 1, gold, gold)
    sheets = made(outputs)
    rows = shown(sheets["accuracies"], "model")
    assert list(rows) == ["F1", "guda_c-awss"]
    assert rows["F1"] == {
        **{"model": "F1", "style": "50.0", "object": "75.0", "UA": "50.0", "IRA": "50.0", "CRA": "75.0"},
        **{"CRA, forgotten": "50.0", "images": "8"},
    }
    found = rows["guda_c-awss"]
    assert [found[key] for key in ("style", "UA", "IRA", "CRA", "CRA, forgotten")] == [
        "–",
        "68.8",
        "37.5",
        "50.0",
        "25.0",
    ]
    assert "90.0% of styles and 99.5% of objects right" in sheets["accuracies"].caption
    of_groups = [[str(cell) for cell in row.values()] for row in sheets["accuracies_of_groups"].rows]
    assert of_groups == [
        ["serif", "F1", "25.0", "50.0", "75.0", "100.0"],
        ["serif", "guda_c-awss", "87.5", "50.0", "25.0", "50.0"],
        ["sans", "F1", "75.0", "50.0", "75.0", "0.0"],
        ["sans", "guda_c-awss", "50.0", "25.0", "75.0", "0.0"],
    ]
    assert not sheets["accuracies_of_groups"].printed


def test_accuracies_by_a_classifier_that_guesses_are_marked(outputs: Outputs) -> None:
    gold = np.random.default_rng(0).random((QUERIES, 3))
    unlearned = {"serif": (1.0, 0.5, 0.25, 0.5), "sans": (0.5, 0.25, 0.75, 0.0)}
    found = accuracy(0.5, unlearned)
    found["accuracy"]["guesses"] = {"style": 0.88, "object": 0.1}  # of which 0.9 and 0.995 are named right
    outputs.groups("guda_c-awss", 1, gold, gold, summary=found)
    sheets = made(outputs)
    rows = shown(sheets["accuracies"], "model")
    marked = {name: {column for column, cell in row.items() if cell.endswith("¶")} for name, row in rows.items()}
    assert marked == {"F1": {"style", "UA", "IRA"}, "guda_c-awss": {"UA", "IRA"}}
    assert "¶: the classifier behind it is hardly better than a guess" in sheets["accuracies"].caption
    assert [str(row["UA"])[-1] for row in sheets["accuracies_of_groups"].rows] == ["¶"] * 4


def test_accuracies_without_objects_have_no_columns_of_them(outputs: Outputs) -> None:
    gold = np.random.default_rng(0).random((QUERIES, 3))
    measured = {"ua": 0.5, "ira": 0.75}
    found = {"images": 8, "f1": {"style": 0.5}, "groups": [{"group": "serif", "f1": measured, "unlearned": measured}]}
    found |= {
        "means": {"f1": measured, "unlearned": measured},
        "classifiers": {"style": 0.9},
        "guesses": {"style": 0.5},
    }
    outputs.groups("guda_u", 1, gold, gold, summary={"accuracy": found})
    sheets = made(outputs)
    assert set(sheets["accuracies"].columns) == {"model", "style", "UA", "IRA", "images"}
    assert "name 90.0% of styles right." in sheets["accuracies"].caption


def test_runs_that_did_not_look_have_no_such_table(outputs: Outputs) -> None:
    gold = np.random.default_rng(0).random((QUERIES, 3))
    outputs.groups("pixel", 1, gold, gold)
    assert not {name for name in made(outputs) if name.startswith("accuracies")}
