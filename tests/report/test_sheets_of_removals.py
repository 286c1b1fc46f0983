"""The MUCS paper's tables of pretended runs, against numbers computed here in another way."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from tdattr.report.collect import collect
from tdattr.report.papers import MEASURES
from tdattr.scores import load_scores
from tests.report.outputs import QUERIES, K, Outputs, made, shown


def auc(*tables: pd.DataFrame, measure: str = "ssim") -> float:
    """Of several seeds together."""
    part = pd.concat(tables).query("role == 'attributed'")
    labels = np.repeat([0, 1], len(part))
    return float(roc_auc_score(labels, np.concatenate([part[measure], part[f"{measure}_random"]])))


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
