"""Leave-k-out on models that are only pretended: what is removed, what is compared with what, and what is refused."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import Tensor

from tdattr.configs import build
from tdattr.counterfactuals import Generated
from tdattr.errors import UserError
from tdattr.ids import Ids
from tdattr.methods.random import Random
from tdattr.metrics.similarity import SSIM
from tdattr.protocols import ProtocolSetup, Verdict
from tdattr.protocols.leave_k_out import LeaveKOut
from tdattr.scores import Scores
from tests.conftest import CONF
from tests.contexts import NoCounterfactuals, make_queries

QUERIES, CONTROLS = 4, 3
ssim = SSIM(sigma=1.5, window=11).compare
IDS = np.arange(100, 130)  # ids are not places


def protocol(**changes: Any) -> LeaveKOut:
    given = {"reference": OmegaConf.load(CONF / "method" / "random.yaml"), "share": 0.02, **changes}
    node = OmegaConf.merge(OmegaConf.load(CONF / "protocol" / "leave_k_out.yaml"), given)
    del node["defaults"]
    return build(node, "protocol")


def judged(
    models: NoCounterfactuals, top: list[list[int]], random_top: list[list[int]] | None = None, **changes: Any
) -> Verdict:
    """The verdict on these top sets; of 3 items each, unless told otherwise."""
    queries = make_queries(torch.zeros(len(top), 1, 1, 1), pd.DataFrame(index=range(len(top))))
    others = {"reference": scores(RANDOM if random_top is None else random_top)}
    return protocol(**({"k": 3} | changes)).evaluate(scores(top), others, queries, models)


def setup(items: int, queries: int) -> ProtocolSetup:
    """So many of each, of which nothing more is known."""
    return ProtocolSetup(pd.DataFrame(index=range(items)), pd.DataFrame(index=range(queries)), [])


def scores(top: list[list[int]]) -> Scores:
    """Scores whose highest are these ids, in this order, for each query."""
    values = torch.rand(len(top), len(IDS), generator=torch.Generator().manual_seed(0))
    for row, ids in enumerate(top):
        for rank, index in enumerate(ids):
            values[row, int(np.flatnonzero(index == IDS)[0])] = 10.0 - rank
    return Scores(values, IDS)


METHOD = [[100, 101, 102], [101, 102, 103], [100, 102, 104], [129, 101, 102]]  # union of 6
RANDOM = [[110, 111, 112], [113, 114, 115], [116, 117, 118], [119, 120, 121]]  # union of 12


class Pretended(NoCounterfactuals):
    """Images after a removal are the original ones with noise of a strength that the test decides."""

    def __init__(self, strength: Callable[[frozenset[int]], tuple[float, float]]) -> None:
        super().__init__()
        self.needs = LeaveKOut.needs
        self.strength = strength  # removed ids -> for attributed queries, for controls
        self.controls = CONTROLS
        self.calls: list[frozenset[int]] = []

    def original(self) -> Generated:
        images = torch.rand(QUERIES + self.controls, 1, 12, 12, generator=torch.Generator().manual_seed(1)) * 2 - 1
        return Generated(images, "generate/original")

    def similarities(self, first: Tensor, second: Tensor) -> dict[str, np.ndarray]:
        return {"ssim": ssim(first, second).double().numpy(), "twice": 2 * ssim(first, second).double().numpy()}

    def images(self, removed: frozenset[int]) -> Tensor:
        images = self.original().images
        for_queries, for_controls = self.strength(removed)
        strength = torch.tensor([for_queries] * QUERIES + [for_controls] * self.controls)
        noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(sum(removed)))
        return (images + strength[:, None, None, None] * noise).clamp(-1, 1)

    def regenerate(self, removals: Sequence[Ids]) -> list[Generated]:
        self.require("retraining")
        sets = [frozenset(removed.tolist()) for removed in removals]
        assert all(len(ids) == len(removed) for ids, removed in zip(sets, removals, strict=True))
        self.calls += sets
        return [Generated(self.images(ids), f"generate/{min(ids)}") for ids in sets]


def strong_for(ids: list[list[int]], strong: float = 0.9, weak: float = 0.1) -> Pretended:
    """A world in which removing these ids changes the queries a lot, and anything else little; controls hardly move."""
    wanted = frozenset(np.concatenate(ids).tolist())
    return Pretended(lambda removed: (strong if removed == wanted else weak, 0.1))


def test_the_union_of_the_top_sets_is_removed() -> None:
    models = strong_for(METHOD)
    verdict = judged(models, METHOD)
    assert set(models.calls) == {frozenset([*range(100, 105), 129]), frozenset(range(110, 122))}
    assert len(models.calls) == 2
    summary = verdict.summary
    assert (summary["k"], summary["removed"], summary["removed_random"]) == (3, 6, 12)
    # pairs of the six: 2, 2, 2, 1, 2 and 1 of 3 in common
    assert summary["overlap_percent"] == pytest.approx(100 * 10 / 18)
    assert verdict.artifacts == {"regenerated": "generate/100", "regenerated_random": "generate/110"}


def test_it_is_compared_with_what_its_reference_names() -> None:
    (role, method), *more = protocol().others().items()
    assert role == "reference" and isinstance(method, Random) and not more


def test_k_from_the_share() -> None:
    models = strong_for(METHOD)
    verdict = judged(models, METHOD, k=None, share=0.05)
    assert verdict.summary["k"] == 2  # 5 % of 30 is 1.5
    assert frozenset([100, 101, 102, 129]) in models.calls
    assert protocol(k=3, share=0.05).removed_per_query(30) == 3
    for items, k in ((50_000, 1000), (49_905, 998), (118_287, 2366)):  # 2 %
        assert protocol().removed_per_query(items) == k


@pytest.mark.parametrize(("dataset", "k"), [("cifar10", 1000), ("artbench10", 998), ("coco", 2366)])
def test_k_of_the_datasets_of_mucs(dataset: str, k: int) -> None:
    """Table 4, for the published numbers of items."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for choice in (f"dataset={dataset}", f"experiment=mucs_{dataset}"):
            cfg = compose("config", [choice, "protocol=leave_k_out"])
            assert build(cfg.protocol, "protocol").removed_per_query(cfg.dataset.counts.train) == k
            half = compose("config", [choice, "protocol=leave_k_out", "protocol.share=0.5"])
            assert build(half.protocol, "protocol").removed_per_query(1000) == 500


@pytest.mark.parametrize("dataset", ["unlearncanvas", "cifar100", "celeba", "glyphs"])
def test_two_percent_of_any_other(dataset: str) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        assert compose("config", [f"dataset={dataset}", "protocol=leave_k_out"]).protocol.share == 0.02


def test_highest_scores_come_first_and_ties_in_the_order_of_ids() -> None:
    values = torch.tensor([[0.1, 0.7, 0.7, -5.0, 0.9], [0.0, 0.0, 0.0, 0.0, 0.0]])
    top = Scores(values, np.array([10, 20, 30, 40, 50])).top(3)
    assert top.tolist() == [[50, 20, 30], [10, 20, 30]]


@pytest.mark.parametrize(
    ("strong", "weak", "auc", "p_value"), [(0.9, 0.1, 1.0, 1 / 70), (0.1, 0.9, 0.0, 1.0), (0.4, 0.4, 0.5, 0.5)]
)
def test_verdict_follows_what_the_removal_did(strong: float, weak: float, auc: float, p_value: float) -> None:
    verdict = judged(strong_for(METHOD, strong, weak), METHOD)
    result = verdict.summary["metrics"]["ssim"]
    if strong != weak:
        assert (result["auc"], result["p_value"]) == (auc, pytest.approx(p_value))  # 8 choose 4 = 70 orders
        assert (result["difference_percent"] < 0) == (strong > weak)
    else:
        assert abs(result["auc"] - auc) < 0.4
        assert abs(result["difference_percent"]) < 40
    assert result["ci95"] > 0


def test_a_change_from_a_small_median_is_marked_and_explained() -> None:
    class Negative(Pretended):
        def similarities(self, first: Tensor, second: Tensor) -> dict[str, np.ndarray]:
            values = ssim(first, second).double().numpy()
            return {"ssim": values, "negative": values - 2}

    models = Negative(strong_for(METHOD).strength)
    verdict = judged(models, METHOD)
    found = verdict.summary["metrics"]
    assert (found["ssim"]["small_median"], found["negative"]["small_median"]) == (False, True)
    assert found["negative"]["difference_percent"] < 0
    assert [line.endswith(" –†") for line in verdict.lines] == [False, True]
    assert verdict.warnings[0].startswith("negative: the median after random removal is below 0.01")
    plain = judged(strong_for(METHOD), METHOD)
    assert not any("†" in line or "median" in line for line in (*plain.lines, *plain.warnings))


def test_a_verdict_about_nothing_comes_with_a_warning() -> None:
    assert judged(strong_for(METHOD), METHOD).warnings == []
    nothing = judged(strong_for(METHOD, 0.0, 0.0), METHOD)
    assert nothing.summary["metrics"]["ssim"]["difference_percent"] == pytest.approx(0, abs=1e-3)
    [warning] = nothing.warnings
    assert warning.startswith("ssim, twice: the interval of the change holds zero")
    assert judged(strong_for(METHOD), METHOD, METHOD).warnings == []  # the reference itself


def test_the_same_removal_makes_no_difference() -> None:
    result = judged(strong_for(METHOD), METHOD, METHOD).summary["metrics"]["ssim"]
    assert result["auc"] == 0.5
    assert abs(result["difference_percent"]) < 20


def test_controls_are_compared_among_themselves_and_two_tailed() -> None:
    def world(removed: frozenset[int]) -> tuple[float, float]:
        return (0.9, 0.1) if 100 in removed else (0.1, 0.9)  # the method moves queries, chance moves controls

    verdict = judged(Pretended(world), METHOD)
    assert verdict.summary["metrics"]["ssim"]["auc"] == 1
    control = verdict.summary["control"]["ssim"]
    assert control["auc"] == 0
    assert control["p_value"] == pytest.approx(2 / 20)
    assert control["difference_percent"] > 0


def test_the_table_has_a_row_per_query() -> None:
    models = strong_for(METHOD)
    table = judged(models, METHOD).table
    assert [row["query"] for row in table] == list(range(QUERIES + CONTROLS))
    assert [row["role"] for row in table] == ["attributed"] * QUERIES + ["control"] * CONTROLS
    original = models.original().images
    for name, ids in (("ssim", METHOD), ("ssim_random", RANDOM)):
        expected = ssim(original, models.images(frozenset(np.concatenate(ids).tolist())))
        np.testing.assert_allclose([row[name] for row in table], expected, rtol=1e-5)


def test_without_controls_there_is_no_control_verdict() -> None:
    models = strong_for(METHOD)
    models.controls = 0
    verdict: Verdict = judged(models, METHOD)
    assert verdict.summary["control"] == {}
    assert len(verdict.table) == QUERIES


@pytest.mark.parametrize(
    ("changes", "items", "message"),
    [
        ({"k": 30}, 30, "protocol.k=30 removes 30 items per query"),
        ({"k": 31}, 30, "protocol.k=31 removes 31"),
        ({"share": 0.01}, 30, "protocol.share=0.01 removes 0 items per query, .* at least 1 and below the 30 there"),
    ],
)
def test_impossible_numbers_are_refused(changes: dict[str, Any], items: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        protocol(**changes).check(setup(items, QUERIES))


def test_too_little_left_to_train_on_is_refused() -> None:
    with pytest.raises(UserError, match=r"leaves about 1 of 1178"):
        protocol(share=0.3).check(setup(1178, 20))


def test_possible_numbers_are_accepted() -> None:
    protocol(k=20).check(setup(30, 2))
    protocol(k=1).check(setup(2, 2))
    protocol().check(setup(50_000, 20))


def test_a_single_query_is_refused() -> None:
    with pytest.raises(UserError, match=r"queries.attributed to 2 or more"):
        protocol(k=3).check_settings(1)
    protocol(k=3).check_settings(2)


def test_removing_everything_is_refused_before_any_training() -> None:
    top = [ids.tolist() for ids in np.split(IDS, 3)]
    models = strong_for(top)
    with pytest.raises(UserError, match=r"whole training set: lower protocol.k or queries.attributed"):
        judged(models, top, RANDOM[:3], k=10)
    assert models.calls == []


def test_every_measure_of_the_run_is_judged() -> None:
    verdict = judged(strong_for(METHOD), METHOD)
    assert list(verdict.summary["metrics"]) == list(verdict.summary["control"]) == ["ssim", "twice"]
    assert verdict.summary["metrics"]["ssim"] == pytest.approx(verdict.summary["metrics"]["twice"])
    assert all(row["twice_random"] == pytest.approx(2 * row["ssim_random"]) for row in verdict.table)
