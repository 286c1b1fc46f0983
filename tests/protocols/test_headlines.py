"""The main numbers of a verdict under short names, by which runs are compared side by side."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import bootstrap, mannwhitneyu

from tdattr.methods.random import Random
from tdattr.metrics.aggregation import AggregateConfig
from tdattr.metrics.comparison import auc_interval, compare
from tdattr.protocols import Protocol
from tdattr.protocols.group_agreement import judge
from tdattr.protocols.lds import LDS
from tdattr.protocols.leave_k_out import LeaveKOut
from tdattr.protocols.logo import AgreementWithLOGO
from tdattr.protocols.truth import AgreementWithTruth

RNG = np.random.default_rng(0)


def test_the_interval_of_an_auc_is_a_bootstrap_over_queries() -> None:
    reference = RNG.random(12)
    values = reference - 0.2 + 0.3 * RNG.random(12)

    def auc(first: np.ndarray, second: np.ndarray) -> float:
        return float(mannwhitneyu(second, first).statistic / len(first) / len(second))

    expected = bootstrap((values, reference), auc, paired=True, vectorized=False, n_resamples=2000, method="percentile")
    low, high = auc_interval(values, reference)
    assert low < auc(values, reference) < high
    assert (low, high) == pytest.approx(expected.confidence_interval, abs=0.03)


def test_an_auc_without_doubt_or_without_a_difference_has_no_width() -> None:
    values = np.arange(5.0)
    assert auc_interval(values, values + 10) == (1, 1)
    assert auc_interval(np.ones(5), np.ones(5)) == (0.5, 0.5)


def test_leave_k_out_says_the_auc_of_every_measure_of_the_attributed_queries() -> None:
    values, randoms = RNG.random(6), RNG.random(6)
    rows = {"role": ["attributed"] * 4 + ["control"] * 2, "ssim": values, "ssim_random": randoms}
    protocol = LeaveKOut("leave_k_out", 5, 0.02, Random("random"))
    effect = compare(values[:4], randoms[:4])
    numbers = protocol.headline({"metrics": {"ssim": effect.as_dict()}}, pd.DataFrame(rows))
    low, high = auc_interval(values[:4], randoms[:4])
    assert numbers == {"auc_ssim": effect.auc, "auc_ssim_low": low, "auc_ssim_high": high}
    assert protocol.compared(1000) == {"k": 5}
    assert LeaveKOut("leave_k_out", None, 0.02, Random("random")).compared(1000) == {"k": 20}


AGGREGATE: Any = AggregateConfig.__new__(AggregateConfig)
LDS_NODE = LDS("lds", 4, 0.5, 1, 1, 10)
GROUPS = judge(RNG.random((5, 3)), RNG.random((5, 3)), list("abc"), 10).summary


@pytest.mark.parametrize(
    ("protocol", "summary", "place"),
    [
        (LDS_NODE, LDS_NODE.verdict(RNG.random((4, 5)), RNG.random((4, 1, 5))).summary, {"lds": ["lds"]}),
        *(
            (protocol, GROUPS, {name: ["agreement", name] for name in ("top_1", "spearman", "ndcg_3")})
            for protocol in (
                AgreementWithLOGO("logo", None, None, AGGREGATE, 10),
                AgreementWithTruth("truth", AGGREGATE, 10),
            )
        ),
    ],
)
def test_other_protocols_say_their_means(protocol: Protocol, summary: Any, place: dict[str, list[str]]) -> None:
    numbers = protocol.headline(summary, pd.DataFrame())
    assert set(numbers) == {f"{name}{end}" for name in place for end in ("", "_low", "_high")}
    for name, path in place.items():
        values = summary
        for key in path:
            values = values[key]
        assert [numbers[name], numbers[f"{name}_low"], numbers[f"{name}_high"]] == [
            values["mean"],
            values["low"],
            values["high"],
        ]
