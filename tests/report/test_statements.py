"""What the page says on top: the numbers of the verdicts in sentences."""

from typing import Any

import numpy as np
import pytest

from tdattr.metrics.comparison import compare
from tdattr.report.best import tell_best
from tdattr.report.collect import collect
from tdattr.report.plots import draw_agreements, draw_curves
from tdattr.report.pooling import pool
from tdattr.report.sheet import NOTHING
from tdattr.report.sheets import group_agreement, make_sheets, removal_losses
from tdattr.report.statements import LIMITS, MOST_TOLD, TELLERS, show, state
from tests.conftest import CONF
from tests.report.outputs import K, Outputs


def test_a_removal_is_told_with_its_interval_the_best_method_first(outputs: Outputs) -> None:
    for method, shift in (("random", 0.0), ("pixel", 0.1), ("mucs", 0.4)):
        outputs.run(method, 1, shift)
        outputs.run(method, 2, shift)
    (experiment,) = collect([outputs.root]).experiments
    statement = state(experiment)
    effect = compare(*pool(experiment, "mucs", "ssim", "attributed"))
    less = -effect.difference_percent
    assert statement.found[0] == (
        f"Removing the {K} items that mucs names for each picture leaves these pictures {less:.1f} % (95 % interval "
        f"{less - effect.ci95:.1f} to {less + effect.ci95:.1f}) less like what they were (ssim) than removing random "
        "ones does."
    )
    assert len(statement.found) == 2 and "pixel" in statement.found[1] and statement.rest == 0
    assert "what a single item does" in statement.limit


def test_a_removal_that_shows_nothing_is_said_to(outputs: Outputs) -> None:
    outputs.run("pixel", 1, 0.0)
    (experiment,) = collect([outputs.root]).experiments
    [sentence] = state(experiment).found
    assert sentence.startswith(f"Nothing shows that removing the {K} items that pixel names for each picture changes")


def test_a_change_that_says_nothing_is_not_told_in_percent_of_it(outputs: Outputs) -> None:
    outputs.run("pixel", 1, 0.3, lower=1.0)
    (experiment,) = collect([outputs.root]).experiments
    [sentence] = state(experiment).found
    assert "of all pairs of pictures (ssim); 50 % would be chance" in sentence


@pytest.mark.parametrize("ceiling", [None, np.eye(6, 3)])
def test_agreement_is_told_beside_its_ceiling(outputs: Outputs, ceiling: Any) -> None:
    gold = np.random.default_rng(0).random((6, 3))
    outputs.groups("pixel", 1, gold, gold, ceiling)
    outputs.groups("tracin", 1, gold, -gold, ceiling)
    (experiment,) = collect([outputs.root]).experiments
    first, second = state(experiment).found
    assert first.startswith(
        "pixel ranks the groups as retraining without each of them does with a Spearman correlation"
    )
    assert "1.00 (95 % interval 1.00 to 1.00" in first and "for 100 % of the pictures" in first
    assert second.startswith("tracin") and "-1.00" in second
    assert ("noise ceiling" in first) == (ceiling is not None)


def test_gold_itself_is_no_method_but_where_the_truth_judges_it(outputs: Outputs) -> None:
    gold = np.random.default_rng(0).random((6, 3))
    for protocol in ("logo", "truth"):
        for method, scores in (("logo", gold), ("pixel", -gold), ("tracin", gold[::-1])):
            outputs.groups(method, 1, gold, scores, summary={"protocol": protocol}, protocol={"name": protocol})
    by_logo, by_truth = collect([outputs.root]).experiments
    assert [sentence.split()[0] for sentence in state(by_logo).found] == ["tracin", "pixel"]
    assert state(by_truth).found[0].startswith("logo ranks the groups as what the pictures are composed of")
    told = [tell_best(experiment, make_sheets(experiment)) for experiment in (by_logo, by_truth)]
    assert told[0] is not None and "tracin is the best of 2 methods" in told[0]
    assert told[1] is not None and "logo is the best of 3 methods (1.000)" in told[1]


def test_a_bank_is_told_by_its_first_measure_with_what_it_does_not_show(outputs: Outputs) -> None:
    outputs.bank("random", lds_50=0.0, logo_spearman=0.1)
    outputs.bank("pixel", lds_50=0.2, logo_spearman=0.8, warnings=["F1 is another."])
    outputs.bank("das", lds_50=0.6, logo_spearman=0.5, warnings=["F1 is another."])
    outputs.bank("guda_u", logo_spearman=0.7)
    (experiment,) = collect([outputs.root]).experiments
    statement = state(experiment)
    assert statement.found == [
        "das reaches 0.60 by LDS 50 % (95 % interval 0.50 to 0.70; retraining itself reaches 0.90).",
        "pixel reaches 0.20 by LDS 50 % (95 % interval 0.10 to 0.30; retraining itself reaches 0.90).",
    ]
    assert "on other data" in statement.limit and "none of this package's" not in statement.limit
    assert experiment.noted == ["F1 is another."]
    told = tell_best(experiment, make_sheets(experiment))
    assert told is not None and "By mean lds_50" in told and "das is the best of 2 methods" in told


def test_every_protocol_of_the_package_says_what_it_does_not_show() -> None:
    assert LIMITS.keys() == TELLERS.keys() == {path.stem for path in (CONF / "protocol").glob("*.yaml")}


def test_lds_is_told_and_not_every_method_is(outputs: Outputs) -> None:
    for number in range(MOST_TOLD + 2):
        outputs.lds(f"method_{number}", 1)
    (experiment,) = collect([outputs.root]).experiments
    statement = state(experiment)
    assert len(statement.found) == MOST_TOLD and statement.rest == 2
    assert "0.20 to 0.40" in statement.found[0]


def test_a_protocol_of_ones_own_has_no_sentence_but_a_limit(outputs: Outputs) -> None:
    outputs.lds("pixel", 1, summary={"protocol": "mine"})
    (experiment,) = collect([outputs.root]).experiments
    statement = state(experiment)
    assert statement.found == [] and "none of this package's" in statement.limit


def test_small_numbers_keep_a_digit() -> None:
    assert [show(value) for value in (0.0, 0.0021, -0.04, 0.14, 21.46)] == ["0.0", "0.002", "-0.04", "0.1", "21.5"]


def test_scores_without_a_verdict_claim_nothing(outputs: Outputs) -> None:
    outputs.lds("pixel", 1, summary={"protocol": "none", "title": "scores only"})
    (experiment,) = collect([outputs.root]).experiments
    statement = state(experiment)
    assert statement.found == ["These are the scores of pixel: which training items or groups they hold responsible."]
    assert statement.limit.startswith("Nothing was retrained")


def rises(mean: float, low: float | None, high: float | None) -> dict[str, Any]:
    """What a summary of protocol=removal_loss has."""
    numbers: dict[str, Any] = {
        "rise_percent": 2.0,
        "random_rise_percent": 0.5,
        "above_all_random": 0.8,
        "removed": 30,
        "k": 5,
    }
    return numbers | {
        "protocol": "removal_loss",
        "title": "k = 5",
        "k": 5,
        "excess_percent": {"mean": mean, "low": low, "high": high},
    }


def test_a_rise_of_losses_is_claimed_where_its_interval_lies_above_zero(outputs: Outputs) -> None:
    outputs.lds("pixel", 1, summary=rises(0.1, -0.2, 0.4))
    outputs.lds("mucs", 1, summary=rises(1.5, 1.0, 2.0))
    (experiment,) = collect([outputs.root]).experiments
    best, other = state(experiment).found
    assert best.startswith("Removing the 5 items that mucs names") and "+1.50 points (95 % interval +1.00 to" in best
    assert other.startswith("Nothing shows that removing the 5 items that pixel names")
    rows = {str(row["method"]): row for row in removal_losses.make_sheet(experiment).rows}
    assert [str(rows["mucs"][column]) for column in ("rise, %", "random, %", "low", "high")] == [
        "+2.00", "+0.50", "+1.00", "+2.00",
    ]  # fmt: skip
    assert str(rows["mucs"]["difference"]).startswith("+1.50") and str(rows["pixel"]["above all"]) == "0.80"


@pytest.mark.parametrize("seeds", [1, 2])
def test_one_picture_is_told_without_an_interval_however_many_runs(outputs: Outputs, seeds: int) -> None:
    for seed in range(seeds):
        outputs.lds("mucs", seed, summary=rises(1.5 - seed, None, None) | {"num_queries": 1})
    (experiment,) = collect([outputs.root]).experiments
    (sentence,) = state(experiment).found
    told = "+1.50 points" if seeds == 1 else "+1.50, +0.50 points"
    assert told in sentence and sentence.endswith("one picture has no interval.") and " to " not in sentence
    assert ("with 2 seeds" in sentence) == (seeds == 2)
    (row,) = removal_losses.make_sheet(experiment).rows
    assert str(row["low"]) == str(row["high"]) == NOTHING and str(row["difference"]).startswith("+")


def test_agreement_on_one_query_is_told_shown_and_drawn_without_an_interval(outputs: Outputs) -> None:
    gold = np.random.default_rng(0).random((1, 3))
    outputs.groups("pixel", 1, gold, gold)
    (experiment,) = collect([outputs.root]).experiments
    (sentence,) = state(experiment).found
    assert "1.00 (no interval)" in sentence
    rows = group_agreement.make_sheet(experiment).rows
    assert all(str(row.get(end, NOTHING)) == NOTHING for row in rows for end in ("low", "high"))
    values = group_agreement.measure_agreement(experiment, ["pixel"], group_agreement.SHOWN)
    assert "<svg" in draw_agreements(values, group_agreement.SHOWN)
    curves: Any = {float(x): values for x in (1, 2, 3)}
    assert "<svg" in draw_curves(curves, "protocol.k", group_agreement.SHOWN)
