"""Agreement with gold against numbers worked out by hand, SciPy, scikit-learn and plain loops."""

from collections.abc import Callable
from itertools import combinations
from math import log2
from typing import Any

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import (
    average_precision_score,
    jaccard_score,
    label_ranking_average_precision_score,
    label_ranking_loss,
    ndcg_score,
    roc_auc_score,
)
from sklearn.metrics import coverage_error as coverage_error_score

from tdattr.metrics.agreement import (
    ALL_MEASURES,
    absolute_error,
    agreement,
    kendall_tau,
    pairwise,
    pearson_r,
    rank_biased_overlap,
    shared_fit,
    spearman_rho,
    squared_error,
    top_overlap,
)
from tdattr.metrics.ranking import ndcg, ndcg_of_values, ranking, reciprocal_rank
from tdattr.metrics.relevance import average_precision, coverage_error, jaccard, ranking_loss
from tests.metrics.matrices import GOLD, SCORES, drawn, positions, tied


def test_every_measure_worked_out_by_hand() -> None:
    found = {name: values.item() for name, values in agreement(GOLD, SCORES).items()}
    ideal = 7 + 3 / log2(3) + 1 / 2
    linear = 4 + 3 / log2(3) + 2 / 2
    last = 1 / log2(5)
    # Δgold of ab 4, ac 6, ad 7, bc 2, bd 3, cd 1, of which the scores swap ac and bc
    right = 15 / 23
    # centred: gold 4.25, 0.25, -1.75, -2.75 and scores 1.5, -0.5, 2.5, -3.5
    product_sum, gold_sum, scores_sum = 11.5, 28.75, 21
    slope = product_sum / scores_sum
    rest = np.array([4.25, 0.25, -1.75, -2.75]) - slope * np.array([1.5, -0.5, 2.5, -3.5])
    assert found == pytest.approx(
        {
            "top_1": 0,
            "overlap_3": 1,
            "overlap_5": 1,
            "ndcg_3": (1 + 7 / log2(3) + 3 / 2) / ideal,
            "ndcg_5": (1 + 7 / log2(3) + 3 / 2) / ideal,  # d gains nothing
            "ndcg_10": (1 + 7 / log2(3) + 3 / 2) / ideal,
            "reciprocal_rank": 1 / 2,
            "pairwise_top_3": right,  # of four groups every pair touches the top 3
            "pairwise_all": right,
            "rbo": 0.1 * (0 + 0.9 / 2 + 0.81 + 0.729),
            "spearman": 1 - 6 * (1 + 1 + 4) / (4 * 15),
            "kendall": (4 - 2) / 6,
            "mse": (gold_sum - product_sum**2 / scores_sum) / 4,
            "mae": np.abs(rest).mean(),
            "ndcg_linear_3": (2 + 4 / log2(3) + 3 / 2) / linear,
            "ndcg_linear_5": (2 + 4 / log2(3) + 3 / 2 + last) / (linear + last),
            "ndcg_linear_10": (2 + 4 / log2(3) + 3 / 2 + last) / (linear + last),
            "pairwise_top_5_untied": right,
            "pairwise_all_untied": right,
            "pearson": product_sum / (gold_sum * scores_sum) ** 0.5,
            "mse_shared_fit": (gold_sum - product_sum**2 / scores_sum) / 4,  # one query: the same fit
            "mae_shared_fit": np.abs(rest).mean(),
            "pairwise_top_3_strict": right,
            "pairwise_all_strict": right,
            "ndcg_of_values_3": (2 + 8 / log2(3) + 4 / 2) / (8 + 4 / log2(3) + 2 / 2),
            "ndcg_of_values_5": (2 + 8 / log2(3) + 4 / 2 + last) / (8 + 4 / log2(3) + 2 / 2 + last),
            "jaccard_3": 1,
            "jaccard_5": 1,
            "average_precision_3": 1,
            "average_precision_5": 1,
            "coverage_error_3": 3,
            "coverage_error_5": 4,
            "ranking_loss_3": 0,
            "ranking_loss_5": 0,
        }
    )


def test_overlaps_of_six_groups_by_hand() -> None:
    gold = np.array([[6.0, 5, 4, 3, 2, 1], [6, 5, 4, 3, 2, 1]])
    scores = np.array([[6.0, 1, 2, 5, 4, 3], [1, 2, 3, 4, 5, 6]])  # a d e f c b and its reverse order f … a
    assert top_overlap(gold, scores, 1).tolist() == [1, 0]
    np.testing.assert_allclose(top_overlap(gold, scores, 3), [1 / 3, 0])
    np.testing.assert_allclose(top_overlap(gold, scores, 5), [4 / 5, 4 / 5])
    np.testing.assert_allclose(reciprocal_rank(gold, scores), [1, 1 / 6])
    np.testing.assert_allclose(jaccard(gold, scores, 3), [1 / 5, 0])
    np.testing.assert_allclose(
        average_precision(gold, scores, 3), [(1 + 2 / 5 + 3 / 6) / 3, (1 / 4 + 2 / 5 + 3 / 6) / 3]
    )
    assert coverage_error(gold, scores, 3).tolist() == [6, 6]
    np.testing.assert_allclose(ranking_loss(gold, scores, 3), [(0 + 3 + 3) / 9, 1])


@pytest.mark.parametrize("n", [1, 3, 5, 10])
@pytest.mark.parametrize("groups", [2, 6, 16])
@pytest.mark.parametrize("tie", [False, True])
def test_measures_of_the_gold_top_are_those_of_scikit_learn(groups: int, n: int, tie: bool) -> None:
    gold, scores = drawn(groups)
    named = positions(scores) < n
    scores = scores.round() if tie else scores
    relevant = positions(gold) < n
    for query in range(len(gold)):
        row = slice(query, query + 1)
        given = relevant[row], scores[row]
        if not tie:
            assert jaccard(gold, scores, n)[query] == pytest.approx(jaccard_score(relevant[query], named[query]))
        precision = average_precision(gold, scores, n)[query]
        assert precision == pytest.approx(average_precision_score(relevant[query], scores[query]))
        assert precision == pytest.approx(label_ranking_average_precision_score(*given))
        assert coverage_error(gold, scores, n)[query] == coverage_error_score(*given)
        loss = ranking_loss(gold, scores, n)[query]
        assert loss == pytest.approx(label_ranking_loss(*given))
        if groups > n and not tie:
            assert loss == pytest.approx(1 - roc_auc_score(relevant[query], scores[query]))


@pytest.mark.parametrize("n", [1, 3, 5, 10])
@pytest.mark.parametrize("lower", [-3.0, 0.0, 4.0])
def test_ndcg_of_values_is_that_of_scikit_learn_on_gold_above_the_lowest_of_all(n: int, lower: float) -> None:
    gold, scores = drawn(7)
    gold = gold - gold.min() + lower
    relevances = gold - min(0, lower)
    for query, value in enumerate(ndcg_of_values(gold, scores, n)):
        assert value == pytest.approx(ndcg_score(relevances[[query]], scores[[query]], k=n))
    assert ndcg_of_values(np.array([[0.0, 0.0], [1.0, 0.0]]), np.array([[1.0, 2.0], [2.0, 1.0]]), 1).tolist() == [0, 1]


@pytest.mark.parametrize("n", [1, 3, 5, 10])
@pytest.mark.parametrize("groups", [2, 10, 16, 40])
def test_ndcg_is_that_of_scikit_learn(groups: int, n: int) -> None:
    gold, scores = drawn(groups)
    ranks = 1 + positions(gold)
    for linear, relevances in ((False, 2.0 ** (groups - ranks) - 1), (True, groups - ranks + 1.0)):
        for query, value in enumerate(ndcg(gold, scores, n, linear)):
            assert value == pytest.approx(ndcg_score(relevances[[query]], scores[[query]], k=n))


@pytest.mark.parametrize("data", [drawn, tied])
@pytest.mark.parametrize("groups", [3, 10, 128])
def test_correlations_are_those_of_scipy(data: Callable[[int], tuple[np.ndarray, np.ndarray]], groups: int) -> None:
    gold, scores = data(groups)
    for measure, expected in (
        (spearman_rho, stats.spearmanr),
        (kendall_tau, stats.kendalltau),
        (pearson_r, stats.pearsonr),
    ):
        for row, value in enumerate(measure(gold, scores)):
            if np.ptp(gold[row]) and np.ptp(scores[row]):
                assert value == pytest.approx(expected(gold[row], scores[row]).statistic)


@pytest.mark.parametrize("shared", [False, True])
def test_errors_are_those_of_polyfit(shared: bool) -> None:
    gold, scores = drawn(10)
    rest = []
    for query in range(len(gold)):
        fit = np.polyfit(scores.ravel(), gold.ravel(), 1) if shared else np.polyfit(scores[query], gold[query], 1)
        rest.append(gold[query] - np.polyval(fit, scores[query]))
    np.testing.assert_allclose(squared_error(gold, scores, shared), np.square(rest).mean(1))
    np.testing.assert_allclose(absolute_error(gold, scores, shared), np.abs(rest).mean(1))


def test_the_shared_fit_is_that_of_polyfit() -> None:
    gold, scores = drawn(10)
    for moved in (scores, -5 * scores + 1000, 1e-150 * scores):
        slope, offset = shared_fit(gold, moved)
        np.testing.assert_allclose([slope, offset], np.polyfit(moved.ravel(), gold.ravel(), 1), rtol=1e-6)
        squares = (gold - slope * moved - offset) ** 2
        np.testing.assert_allclose(squares.mean(1), squared_error(gold, moved, shared=True), rtol=1e-6)
    assert shared_fit(gold, np.full_like(gold, 0.1)) == (0, pytest.approx(gold.mean()))


def test_a_shared_fit_is_worse_than_one_for_each_query() -> None:
    gold, scores = drawn(10)
    assert ALL_MEASURES["mse"](gold, scores).mean() < ALL_MEASURES["mse_shared_fit"](gold, scores).mean()
    scores = gold * np.arange(1, 13)[:, None]  # each query exactly on its own line
    np.testing.assert_allclose(ALL_MEASURES["mse"](gold, scores), 0, atol=1e-25)
    assert ALL_MEASURES["mse_shared_fit"](gold, scores).mean() > 0.1


def test_affine_maps_of_the_scores_fit_as_well_also_with_large_offsets_and_tiny_scales() -> None:
    gold, scores = drawn(10)
    for moved, tolerance in ((-3 * scores, 1e-12), (1e6 + scores, 1e-7), (1e-200 * scores, 1e-12)):
        for name in ("mse", "mae", "mse_shared_fit", "mae_shared_fit"):
            np.testing.assert_allclose(
                ALL_MEASURES[name](gold, moved), ALL_MEASURES[name](gold, scores), rtol=tolerance
            )
        np.testing.assert_allclose(np.abs(pearson_r(gold, moved)), np.abs(pearson_r(gold, scores)), rtol=tolerance)


@pytest.mark.parametrize("ties", ["half", "left_out", "wrong"])
@pytest.mark.parametrize("top", [1, 3, 5, None])
@pytest.mark.parametrize("data", [drawn, tied])
def test_pairwise_is_a_loop_over_pairs(
    data: Callable[[int], tuple[np.ndarray, np.ndarray]], top: int | None, ties: Any
) -> None:
    gold, scores = data(9)
    for query, value in enumerate(pairwise(gold, scores, top, ties)):
        reaching = [int((gold[query] > own).sum()) for own in gold[query]]
        alike = [int((gold[query] == own).sum()) for own in gold[query]]
        chance = np.clip([((top or 9) - above) / tie for above, tie in zip(reaching, alike, strict=True)], 0, 1)
        right = total = 0.0
        for a, b in combinations(range(9), 2):
            by_gold, by_scores = gold[query, a] - gold[query, b], scores[query, a] - scores[query, b]
            if ties == "left_out" and by_scores == 0:
                continue
            weight = abs(by_gold) * max(chance[a], chance[b])  # where the higher one is in the top, the pair touches it
            total += weight
            right += weight * (0.5 if by_scores == 0 and ties == "half" else by_gold * by_scores > 0)
        assert value == pytest.approx(right / total)


def test_pairs_below_the_top_do_not_touch_it() -> None:
    gold, scores = np.array([[9.0, 8, 7, 2, 1]]), np.array([[9.0, 8, 7, 1, 2]])
    assert ALL_MEASURES["pairwise_top_3"](gold, scores) == 1
    total = 1 + 2 + 7 + 8 + 1 + 6 + 7 + 5 + 6 + 1
    assert ALL_MEASURES["pairwise_all"](gold, scores) == pytest.approx((total - 1) / total)


@pytest.mark.parametrize("p", [0.5, 0.9])
@pytest.mark.parametrize("groups", [2, 7, 128])
def test_rank_biased_overlap_is_the_sum_over_depths(groups: int, p: float) -> None:
    gold, scores = drawn(groups)
    first, second = ranking(gold), ranking(scores)
    for query, value in enumerate(rank_biased_overlap(gold, scores, p)):
        shares = [len({*first[query, :d]} & {*second[query, :d]}) / d for d in range(1, groups + 1)]
        assert value == pytest.approx((1 - p) * sum(share * p**d for d, share in enumerate(shares)))


def test_two_groups_by_hand() -> None:
    gold = np.array([[3.0, 1.0]])
    swapped = {name: values.item() for name, values in agreement(gold, gold[:, ::-1]).items()}
    expected = dict.fromkeys(ALL_MEASURES, 0.0)
    expected |= {"overlap_3": 1, "overlap_5": 1, "reciprocal_rank": 0.5, "rbo": 0.1 * 0.9}
    expected |= {"spearman": -1, "kendall": -1, "pearson": -1}
    for n in (3, 5):  # both groups are relevant
        expected |= {f"jaccard_{n}": 1, f"average_precision_{n}": 1, f"coverage_error_{n}": 2}
        expected[f"ndcg_of_values_{n}"] = (1 + 3 / log2(3)) / (3 + 1 / log2(3))
    for n in (3, 5, 10):
        expected[f"ndcg_{n}"] = 1 / log2(3)  # gains 1 and 0
        expected[f"ndcg_linear_{n}"] = (1 + 2 / log2(3)) / (2 + 1 / log2(3))
    assert swapped == pytest.approx(expected, abs=1e-12)
