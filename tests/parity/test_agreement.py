"""Agreement of scores of groups with gold ones, by the measures of GUDA's two scripts."""

import numpy as np
import pytest

from tdattr.metrics.agreement import ALL_MEASURES, agreement, shared_fit
from tdattr.metrics.ranking import pairwise
from tests.parity.golden import golden

SHARED_FIT = "shared affine fit: mse, mae, slope, offset"
# what is no measure with a name of its own
OTHERS = {"pairwise_top_3_untied": lambda gold, scores: pairwise(gold, scores, top=3, ties="left_out")}


def scores() -> tuple[np.ndarray, np.ndarray]:
    """Gold and predicted, of 4 queries and 6 groups."""
    entry = golden("guda.ranking_metrics")
    gold, error = entry.inputs["gold"], entry.inputs["error"]
    return gold, gold + entry.constants["factor of the error"] * error


@pytest.mark.parametrize("output", [name for name in golden("guda.ranking_metrics").outputs if name != SHARED_FIT])
def test_ranking_metrics(output: str) -> None:
    entry = golden("guda.ranking_metrics")
    name = output.removesuffix(" (UnlearnCanvas)")
    measure = OTHERS.get(name) or ALL_MEASURES[name]
    entry.check(output, measure(*scores()))


def test_the_shared_affine_fit() -> None:
    entry = golden("guda.ranking_metrics")
    found = agreement(*scores())
    entry.check(SHARED_FIT, [found["mse_shared_fit"].mean(), found["mae_shared_fit"].mean(), *shared_fit(*scores())])


def test_ties_in_the_scores() -> None:
    """Both scripts' rules have names; ours, by which a tie counts half, lies above the stricter one."""
    entry = golden("guda.ranking_ties")
    found = agreement(np.array(entry.constants["gold"]), np.array(entry.constants["predicted"]))
    entry.check("pairwise_all (ties count nothing)", found["pairwise_all_strict"])
    entry.check("pairwise_all_untied (ties left out)", found["pairwise_all_untied"])
    # pairs that tie weigh 1 + 1 of 10, and 1 + 2 + 1 of 7
    np.testing.assert_allclose(found["pairwise_all"], found["pairwise_all_strict"] + [0.5 * 2 / 10, 0.5 * 4 / 7])
