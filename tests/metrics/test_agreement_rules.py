"""What agreement with gold does not depend on, how ties count, and what is refused."""

from collections.abc import Callable
from itertools import permutations
from math import log2

import numpy as np
import pytest

from tdattr.metrics.agreement import (
    ALL_MEASURES,
    LOWER_IS_BETTER,
    agreement,
    pairwise,
    rank_biased_overlap,
    top_overlap,
)
from tdattr.metrics.ranking import find_ties, ndcg, ndcg_of_values, reciprocal_rank
from tdattr.metrics.relevance import average_precision, jaccard
from tests.metrics.matrices import GOLD, SCORES, drawn, tied

OF_RANKS = [name for name in ALL_MEASURES if not name.startswith(("pearson", "mse", "mae"))]  # of the scores' ranks


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
