"""The tables of agreement on groups and of accuracies of unlearning, of pretended runs."""

from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from tdattr.metrics.agreement import FURTHER_MEASURES
from tdattr.metrics.agreement import MEASURES as AGREEMENTS
from tdattr.report.collect import collect
from tests.report.outputs import QUERIES, Outputs, made, shown


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


@pytest.mark.parametrize(("protocol", "best"), [("logo", "guda_u"), ("truth", "logo")])
def test_logo_is_marked_as_the_best_but_where_it_is_gold(outputs: Outputs, protocol: str, best: str) -> None:
    rng = np.random.default_rng(0)
    gold = rng.normal(size=(40, 6))
    for name, scores in (("logo", gold), ("guda_u", gold + 0.5 * rng.normal(size=gold.shape)), ("pixel", -gold)):
        outputs.groups(name, 1, gold, scores, summary={"protocol": protocol}, protocol={"name": protocol})
    rows = shown(made(outputs)["groups"])
    assert [name for name, row in rows.items() if row["spearman"].endswith("*")] == [best]


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
        **{"CRA, forgotten": "50.0", "images": "8#"},
    }
    found = rows["guda_c-awss"]
    assert [found[key] for key in ("style", "UA", "IRA", "CRA", "CRA, forgotten")] == [
        "–",
        "68.8",
        "37.5",
        "50.0",
        "25.0",
    ]
    caption = sheets["accuracies"].caption
    assert "90.0% of styles and 99.5% of objects right" in caption and "#: fewer than 100 images of a model." in caption
    assert "Of F1 alone, as no model without a group was looked at: pixel." in caption
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
    cells = sheets["accuracies"].rows[0]
    assert all(str(cells[column]).endswith("‖") for column in ("style", "UA", "IRA"))  # as often right as a guess
    assert "‖: what F1's own images show is named hardly better than by a guess" in sheets["accuracies"].caption


def test_runs_that_did_not_look_have_no_such_table(outputs: Outputs) -> None:
    gold = np.random.default_rng(0).random((QUERIES, 3))
    outputs.groups("pixel", 1, gold, gold)
    assert not {name for name in made(outputs) if name.startswith("accuracies")}
