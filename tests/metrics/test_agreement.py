"""Agreement with gold against numbers worked out by hand, SciPy, scikit-learn and plain loops; and its tests."""

from collections.abc import Callable
from itertools import combinations, permutations, product
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
    LOWER_IS_BETTER,
    absolute_error,
    agreement,
    interval,
    kendall_tau,
    pairwise,
    pearson_r,
    rank_biased_overlap,
    shared_fit,
    sign_flip_p_value,
    spearman_rho,
    squared_error,
    top_overlap,
)
from tdattr.metrics.ranking import find_ties, ndcg, ndcg_of_values, ranking, reciprocal_rank
from tdattr.metrics.relevance import average_precision, coverage_error, jaccard, ranking_loss

OF_RANKS = [name for name in ALL_MEASURES if not name.startswith(("pearson", "mse", "mae"))]  # of the scores' ranks
# gold ranks the groups a b c d, the scores c a b d
GOLD = np.array([[8.0, 4.0, 2.0, 1.0]])
SCORES = np.array([[5.0, 3.0, 6.0, 0.0]])


def drawn(groups: int, queries: int = 12, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    gold = rng.standard_normal((queries, groups))
    return gold, gold + rng.standard_normal((queries, groups))


def positions(scores: np.ndarray) -> np.ndarray:
    """The rank of every column, 0 = highest; of scores without ties."""
    return np.argsort(ranking(scores), axis=1)


def tied(groups: int, queries: int = 12, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    gold, scores = np.random.default_rng(seed).integers(4, size=(2, queries, groups)).astype(float)
    return gold, scores


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


@pytest.mark.parametrize("groups", [2, 3, 10, 16, 128])
def test_the_gold_ranking_has_the_best_values_and_its_reverse_the_worst(groups: int) -> None:
    gold, scores = drawn(groups)
    best, worst, others = agreement(gold, gold), agreement(gold, -gold), agreement(gold, scores)
    for name in ALL_MEASURES:
        top: float = 0 if name in LOWER_IS_BETTER else 1 - 0.9**groups if name == "rbo" else 1
        if name.startswith("coverage_error"):
            top = min(groups, int(name[-1]))
        np.testing.assert_allclose(best[name], top, atol=1e-12)
        if name in OF_RANKS:
            sign = -1 if name in LOWER_IS_BETTER else 1
            assert (sign * worst[name] <= sign * others[name] + 1e-12).all()
    for name in ("spearman", "kendall", "pearson"):
        np.testing.assert_allclose(worst[name], -1)
    for name in [*(name for name in ALL_MEASURES if name.startswith("pairwise")), "top_1"]:
        assert not worst[name].any()
    for n in (3, 5):
        least = max(0, 2 * min(n, groups) - groups) / min(n, groups)
        np.testing.assert_allclose(worst[f"overlap_{n}"], least)
    np.testing.assert_allclose(worst["reciprocal_rank"], 1 / groups)


@pytest.mark.parametrize("groups", [2, 10, 128])
def test_measures_of_ranks_see_no_increasing_function_of_the_scores(groups: int) -> None:
    gold, scores = drawn(groups)
    before, after = agreement(gold, scores), agreement(gold, np.exp(scores) - 7)
    for name in OF_RANKS:
        np.testing.assert_array_equal(before[name], after[name])
    if groups > 2:
        assert not np.allclose(before["pearson"], after["pearson"])


@pytest.mark.parametrize("groups", [2, 10, 128])
@pytest.mark.parametrize("data", [drawn, tied])
def test_the_order_of_the_groups_and_of_the_queries_does_not_matter(
    data: Callable[[int], tuple[np.ndarray, np.ndarray]], groups: int
) -> None:
    gold, scores = data(groups)
    rng = np.random.default_rng(1)
    columns, rows = rng.permutation(groups), rng.permutation(len(gold))
    before, after = agreement(gold, scores), agreement(gold[rows][:, columns], scores[rows][:, columns])
    for name in ALL_MEASURES:
        np.testing.assert_allclose(after[name], before[name][rows], atol=1e-12)


def test_queries_are_alone_but_for_the_shared_fit_and_the_shared_lowest_gain() -> None:
    gold, scores = drawn(10)
    together = agreement(gold, scores)
    for name, values in agreement(gold[4:5], scores[4:5]).items():
        shared = name.endswith("shared_fit") or name.startswith("ndcg_of_values")
        assert (values[0] == pytest.approx(together[name][4])) == (not shared)


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


def test_many_groups_do_not_overflow() -> None:
    with np.errstate(all="raise", under="ignore"):
        for groups in (128, 3000):
            gold = np.arange(groups, 0.0, -1)[None]
            swapped = gold.copy()
            swapped[0, :2] = gold[0, 1::-1]
            # gains of 1, 1/2 and 1/4 of the largest
            expected = (0.5 + 1 / log2(3) + 0.25 / 2) / (1 + 0.5 / log2(3) + 0.25 / 2)
            assert ndcg(gold, swapped, 3).item() == pytest.approx(expected)


def test_constant_scores_name_the_first_group_as_often_as_chance() -> None:
    higher, size = find_ties(np.array([[1.0, 2, 2, 1, 0.0, -0.0]]))
    assert (higher.tolist(), size.tolist()) == ([[2, 0, 0, 2, 4, 4]], [[2, 2, 2, 2, 2, 2]])
    gold, flat = np.array([[4.0, 3, 2, 1], [1, 2, 3, 4]]), np.zeros((2, 4))
    for first, second in ((gold, flat), (flat, gold)):
        assert top_overlap(first, second, 1).tolist() == [0.25, 0.25]
        assert top_overlap(first, second, 3).tolist() == [0.75, 0.75]
        np.testing.assert_allclose(reciprocal_rank(first, second), (1 + 1 / 2 + 1 / 3 + 1 / 4) / 4)


AGAINST = ("average_precision", "coverage_error", "ranking_loss")  # ties in the scores count against a method
LINEAR = ("top_1", "overlap", "ndcg", "reciprocal_rank", "pairwise_top_3", "pairwise_all", "rbo", *AGAINST)
OTHERWISE = ("untied", "strict")  # named rules of the references
MEANS = [name for name in ALL_MEASURES if name.startswith(LINEAR) and not name.endswith(OTHERWISE)]


@pytest.mark.parametrize("name", MEANS)
@pytest.mark.parametrize("seed", range(3))
def test_measures_of_ranks_are_means_over_all_orders_of_what_ties(name: str, seed: int) -> None:
    (gold,), (scores,) = np.random.default_rng(seed).integers(1, 3, size=(2, 1, 5)).astype(float)
    orders = 1e-9 * np.array(list(permutations(range(5))))
    golds = np.repeat(gold + orders, len(orders), axis=0)
    several = np.tile(scores + (0 * orders if name.startswith(AGAINST) else orders), (len(orders), 1))
    expected = ALL_MEASURES[name](golds, several).mean()
    assert ALL_MEASURES[name](gold[None], scores[None]).item() == pytest.approx(expected, abs=1e-6)


def test_constant_scores_and_constant_gold_are_no_agreement() -> None:
    gold, _ = drawn(10)
    flat = np.full_like(gold, 0.1)  # whose mean is not exactly 0.1
    chance = [name for name in ALL_MEASURES if name.startswith("pairwise") and not name.endswith("strict")]
    strict = [name for name in ALL_MEASURES if name.endswith("strict")]
    for first, second in ((gold, flat), (flat, gold), (flat, flat)):
        found = agreement(first, second)
        for name in chance:
            np.testing.assert_array_equal(found[name], 0.5)
        for name in strict:  # all pairs tie, and weigh something where gold tells them apart
            np.testing.assert_array_equal(found[name], 0.5 if first is flat else 0)
        for name in ("spearman", "kendall", "pearson"):
            np.testing.assert_array_equal(found[name], 0)
        np.testing.assert_allclose(found["mse"], first.var(1), atol=1e-20)


def test_ties_of_the_method_count_half_or_not_at_all_or_as_wrong() -> None:
    gold, scores = np.array([[4.0, 1.0, 0.0]]), np.array([[1.0, 1.0, 2.0]])  # weights 3 (tie), 4 (wrong), 1 (wrong)
    assert pairwise(gold, scores) == pytest.approx(1.5 / 8)
    assert pairwise(gold, scores, ties="left_out") == pairwise(gold, scores, ties="wrong") == 0
    assert pairwise(gold, np.array([[1.0, 1.0, 0.0]]), ties="left_out") == 1
    assert pairwise(gold, np.array([[1.0, 1.0, 0.0]]), ties="wrong") == pytest.approx(5 / 8)
    assert pairwise(np.array([[4.0, 4.0, 0.0]]), np.array([[1.0, 2.0, 0.0]])) == 1  # a tie in gold weighs nothing


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("measure", [*ALL_MEASURES.values(), agreement], ids=[*ALL_MEASURES, "agreement"])
def test_what_is_no_pair_of_score_matrices_raises(measure: Callable[[np.ndarray, np.ndarray], object]) -> None:
    good = np.arange(6.0).reshape(2, 3)
    for bad in (np.nan, np.inf):
        broken = good.copy()
        broken[1, 1] = bad
        for pair in ((good, broken), (broken, good)):
            with pytest.raises(ValueError, match="finite"):
                measure(*pair)
    with pytest.raises(ValueError, match="query, group"):
        measure(good, good[:, :2])
    with pytest.raises(ValueError, match="query, group"):
        measure(good[0], good[0])
    for small in (good[:, :1], good[:0]):
        with pytest.raises(ValueError, match="two groups"):
            measure(small, small)


def test_tops_and_weights_that_do_not_exist_raise() -> None:
    for call in (
        lambda: top_overlap(GOLD, SCORES, 0),
        lambda: ndcg(GOLD, SCORES, 0),
        lambda: ndcg_of_values(GOLD, SCORES, 0),
        lambda: jaccard(GOLD, SCORES, 0),
        lambda: average_precision(GOLD, SCORES, 0),
        lambda: pairwise(GOLD, SCORES, top=0),
        lambda: rank_biased_overlap(GOLD, SCORES, p=1.0),
    ):
        with pytest.raises(ValueError):
            call()


def test_whole_numbers_are_scores_too() -> None:
    unsigned = agreement(GOLD.astype(np.uint8), SCORES.astype(np.uint8))
    for name, values in agreement(GOLD, SCORES).items():
        np.testing.assert_array_equal(values, unsigned[name])


def test_the_interval_of_many_values_is_the_normal_one() -> None:
    values = np.random.default_rng(0).gamma(2, size=500)
    half = 1.96 * values.std() / 500**0.5
    low, high = interval(values, 4000)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.1 * half)
    assert interval(values, 4000) == (low, high) != interval(values, 4000, seed=1)
    assert interval(np.full(5, 0.25), 10) == (0.25, 0.25)


def test_the_interval_is_of_every_draw_of_two_queries() -> None:
    assert interval(np.array([0.0, 1.0]), 4000) == (0, 1)  # a quarter of the draws are 0, a quarter 1


@pytest.mark.parametrize("count", [1, 2, 5, 8])
def test_paired_is_the_share_of_sign_flips_at_least_as_extreme(count: int) -> None:
    rng = np.random.default_rng(count)
    first, second = rng.integers(10, size=(2, count)) / 10  # tenths: equal sums that round differently
    differences = np.rint(10 * (first - second)).astype(int)
    sums = [abs(int(np.dot(signs, differences))) for signs in product([-1, 1], repeat=count)]
    expected = np.mean(np.array(sums) >= abs(differences.sum()))
    assert sign_flip_p_value(first, second) == sign_flip_p_value(second, first) == expected
    assert sign_flip_p_value(first, second, resamples=1) == expected


def test_paired_by_random_flips_is_near_the_exact_one_and_scipys() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(0.3, 1, 13), rng.normal(0, 1, 13)
    signs = np.array(list(product([-1, 1], repeat=13)))
    differences = first - second
    exact = (np.abs(signs @ differences) >= abs(differences.sum()) - 1e-9).mean()
    assert 0.05 < exact < 0.9
    assert sign_flip_p_value(first, second) == pytest.approx(exact, abs=0.015)
    assert sign_flip_p_value(first, second) == sign_flip_p_value(first, second)
    theirs = stats.permutation_test(
        (first, second), lambda a, b: (a - b).mean(), permutation_type="samples", n_resamples=np.inf
    )
    assert exact == pytest.approx(theirs.pvalue)


def test_paired_ends() -> None:
    same = np.linspace(0, 1, 20)
    assert sign_flip_p_value(same, same) == 1
    assert sign_flip_p_value(same[:3], same[:3]) == 1
    assert sign_flip_p_value(same + 1, same) == 1 / 10001
    assert sign_flip_p_value(same + 1, same, resamples=450) == 1 / 451
    assert sign_flip_p_value(same[:4] + 1, same[:4]) == 2 / 16


@pytest.mark.parametrize("count", [10, 30])
def test_p_is_uniform_without_a_difference(count: int) -> None:
    rng = np.random.default_rng(3)
    found = [sign_flip_p_value(*rng.normal(size=(2, count)), resamples=199) for _ in range(400)]
    for level in (0.05, 0.25, 0.5, 0.75):
        spread = (level * (1 - level) / 400) ** 0.5
        assert np.mean(np.array(found) <= level) == pytest.approx(level, abs=3.5 * spread + 0.005)


@pytest.mark.usefixtures("unchecked")
def test_values_that_are_not_one_per_query_raise() -> None:
    good = np.arange(3.0)
    for bad in (np.array([]), np.ones((2, 2)), np.array([1, np.nan, 2])):
        for call in (lambda bad=bad: interval(bad, 10), lambda bad=bad: sign_flip_p_value(bad, good)):
            with pytest.raises(ValueError, match="one per query"):
                call()
    with pytest.raises(ValueError, match="paired"):
        sign_flip_p_value(good, good[:2])
    for call in (lambda: interval(good, 0), lambda: sign_flip_p_value(good, good, resamples=0)):
        with pytest.raises(ValueError, match="resamples"):
            call()
