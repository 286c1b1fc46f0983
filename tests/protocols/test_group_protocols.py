"""Agreement with LOGO and with the truth, on scores and compositions that are only pretended."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf

from tdattr.configs import build
from tdattr.errors import UserError
from tdattr.ids import Ids
from tdattr.metrics.agreement import ALL_MEASURES, LOWER_IS_BETTER, agreement, interval, shared_fit
from tdattr.protocols import ProtocolSetup, Verdict
from tdattr.protocols.group_agreement import headline
from tdattr.protocols.logo import AgreementWithLOGO
from tdattr.scores import Attributor, Scores
from tests.conftest import CONF
from tests.contexts import NoCounterfactuals, make_queries

IDS = np.concatenate([np.arange(100, 112), np.arange(150, 158)])  # ids are not places
GROUPS = {"wide": IDS[[0, 3, 5, 6, 9, 12, 15, 18]], "narrow": IDS[[1, 19]], "pair": IDS[[2, 17]]}
GROUPS["rest"] = np.setdiff1d(IDS, np.concatenate(list(GROUPS.values())))
NAMES = list(GROUPS)
QUERIES = 6
# what a perfect score gives; the others need the numbers of groups
BEST = {name: 0.0 if name in LOWER_IS_BETTER else 1.0 for name in ALL_MEASURES} | {
    "rbo": 1 - 0.9 ** len(NAMES),
    "coverage_error_3": 3,
    "coverage_error_5": len(NAMES),
}


def protocol(name: str, resamples: int = 50, **aggregate: Any) -> Any:
    node = OmegaConf.load(CONF / "protocol" / f"{name}.yaml")
    del node["defaults"]  # type: ignore[arg-type]
    shared = OmegaConf.load(CONF / "aggregate" / "mean.yaml")
    given = {"aggregate": OmegaConf.merge(shared, aggregate), "resamples": resamples}
    return build(OmegaConf.merge(node, given, {"gold": None} if name == "logo" else {}), "protocol")  # type: ignore[arg-type]


class Pretended(NoCounterfactuals):
    """Each training item shows its owner alone."""

    def __init__(self) -> None:
        super().__init__()
        self.needs = AgreementWithLOGO.needs

    def groups(self) -> dict[str, Ids]:
        self.require("groups")
        return GROUPS

    def items(self) -> pd.DataFrame:
        owners = [next(name for name in NAMES if item in GROUPS[name]) for item in IDS]
        return pd.DataFrame({"group": owners, "composition": [json.dumps({owner: 1.0}) for owner in owners]})


Shown = list[dict[str, float]]


def composed(shown: Shown) -> pd.DataFrame:
    """What is known of queries that show so much of each group."""
    return pd.DataFrame({"composition": [json.dumps(each) for each in shown]})


def judged(name: str, scores: Scores, others: dict[str, Scores], shown: Shown | None = None, **changes: Any) -> Verdict:
    """The verdict of the protocol of that name."""
    count = len(scores.values)
    items = pd.DataFrame(index=range(count)) if shown is None else composed(shown)
    queries = make_queries(torch.zeros(count, 1, 1, 1), items)
    return protocol(name, **changes).evaluate(scores, others, queries, Pretended())


def of_groups(values: np.ndarray) -> Scores:
    return Scores(torch.from_numpy(values), np.arange(len(NAMES)), groups=NAMES)


def of_items(values: np.ndarray, share: bool) -> Scores:
    """Every item has its group's score, or an equal share of it."""
    spread = np.zeros((len(values), len(IDS)))
    for column, members in enumerate(GROUPS.values()):
        spread[:, np.isin(IDS, members)] = values[:, [column]] / (len(members) if share else 1)
    return Scores(torch.from_numpy(spread), IDS)


@pytest.fixture
def gold() -> np.ndarray:
    return np.random.default_rng(4).standard_normal((QUERIES, len(NAMES)))


def test_the_gold_scores_themselves_are_perfect(gold: np.ndarray) -> None:
    for scores in (gold, 3 * gold - 5):
        verdict = judged("logo", of_groups(scores), {"gold": of_groups(gold)})
        found = {name: values["mean"] for name, values in verdict.summary["agreement"].items()}
        assert found == pytest.approx(BEST, abs=1e-9)
        assert all("ceiling" not in values for values in verdict.summary["agreement"].values())
        assert verdict.summary["groups"] == 4
        assert verdict.lines[0].startswith("top_1 1.000 (1.000 to 1.000), spearman 1.000")


def test_every_measure_and_its_interval_over_queries(gold: np.ndarray) -> None:
    scores = gold + np.random.default_rng(8).standard_normal(gold.shape)
    verdict = judged("logo", of_groups(scores), {"gold": of_groups(gold)}, resamples=70)
    expected = agreement(gold, scores)
    assert set(verdict.summary["agreement"]) == set(ALL_MEASURES)
    slope, offset = shared_fit(gold, scores)
    assert verdict.summary["shared_fit"] == {"slope": slope, "offset": offset}
    for name, values in expected.items():
        found = verdict.summary["agreement"][name]
        assert (found["low"], found["high"]) == interval(values, 70)
        assert found["mean"] == pytest.approx(values.mean())
        assert [row[name] for row in verdict.table] == values.tolist()
    assert expected["spearman"].std() > 0.1


def test_one_query_has_numbers_and_no_interval(gold: np.ndarray) -> None:
    verdict = judged("logo", of_groups(-gold[:1]), {"gold": of_groups(gold[:1])})
    assert all(values["low"] is values["high"] is None for values in verdict.summary["agreement"].values())
    assert "spearman -1.000 (no interval)" in verdict.lines[0]
    assert set(headline(verdict.summary)) == {"top_1", "spearman", "ndcg_3"}


def test_the_table_names_the_first_group_of_gold_and_of_the_scores() -> None:
    gold = np.array([[1.0, 5, 2, 3], [9, 0, 1, 2], [0, 1, 2, 3]])
    scores = np.array([[1.0, 0, 7, 3], [4, 1, 2, 3], [8, 1, 2, 3]])
    table = judged("logo", of_groups(scores), {"gold": of_groups(gold)}).table
    assert [row["query"] for row in table] == [0, 1, 2]
    assert [row["gold"] for row in table] == ["narrow", "wide", "rest"]
    assert [row["named"] for row in table] == ["pair", "wide", "wide"]
    assert [row["top_1"] for row in table] == [0, 1, 0]


def test_scores_of_items_are_aggregated(gold: np.ndarray) -> None:
    def named(share: bool, **aggregate: Any) -> dict[str, Any]:
        given = of_items(gold, share)
        return judged("logo", given, {"gold": of_groups(gold)}, **aggregate).summary

    perfect = judged("logo", of_groups(gold), {"gold": of_groups(gold)}).summary
    for share, kind in ((False, "mean"), (False, "median"), (False, "max"), (True, "sum")):
        found = named(share, kind=kind)["agreement"]
        assert found["spearman"]["mean"] == found["ndcg_3"]["mean"] == 1
        assert found["mse"]["mean"] == pytest.approx(perfect["agreement"]["mse"]["mean"], abs=1e-9)
    assert named(True, kind="mean")["agreement"]["spearman"]["mean"] < 1  # groups are not equally large
    assert named(False, positive_only=True)["agreement"]["mse"]["mean"] > 0.01
    gold_of_items = {"gold": of_items(gold, False)}
    verdict = judged("logo", of_groups(gold), gold_of_items)
    assert verdict.summary["agreement"]["kendall"]["mean"] == 1


def test_the_ceiling_is_golds_agreement_with_itself_and_the_fraction_a_share_of_it(gold: np.ndarray) -> None:
    rng = np.random.default_rng(2)
    scores, again = gold + rng.standard_normal(gold.shape), gold + 0.3 * rng.standard_normal(gold.shape)
    others = {"ceiling": of_groups(again), "gold": of_groups(gold)}
    verdict = judged("logo", of_groups(scores), others)
    for name, values in verdict.summary["agreement"].items():
        top = agreement(gold, again)[name].mean()
        assert values["ceiling"] == pytest.approx(top)
        if name in LOWER_IS_BETTER:
            assert "fraction" not in values
        else:
            assert values["fraction"] == pytest.approx(agreement(gold, scores)[name].mean() / top)
    text = verdict.lines[0].split(", ")[1]
    assert text.endswith(f" of {verdict.summary['agreement']['spearman']['ceiling']:.3f}")
    useless = {"gold": of_groups(gold), "ceiling": of_groups(0 * gold)}
    found = judged("logo", of_groups(scores), useless).summary["agreement"]["kendall"]
    assert found["ceiling"] == 0 and "fraction" not in found


def test_settings_that_cannot_work_are_refused_before_anything_is_trained() -> None:
    setup = ProtocolSetup(Pretended().items(), composed([{"wide": 1.0}]), NAMES)
    with pytest.raises(UserError, match=r"needs a gold standard: leave out"):
        protocol("logo").check_settings(3)
    protocol("truth").check(setup)
    with pytest.raises(UserError, match=r"which is none of the groups"):
        protocol("truth").check(replace(setup, queries=composed([{"unheard-of": 1.0}])))


@dataclass(frozen=True)
class Retrained(Attributor):
    """A method that retrains under three seeds, from ``first`` on."""

    first: int
    name: str = "retrained"

    @property
    def seeds(self) -> Sequence[int]:
        return range(self.first, self.first + 3)


def test_gold_and_its_ceiling_must_not_be_the_same_trainings() -> None:
    three = replace(protocol("logo"), gold=Retrained(0))
    assert list(three.others()) == ["gold"]
    with pytest.raises(UserError, match=r"agree by construction: set protocol.ceiling.first=3"):
        replace(three, ceiling=Retrained(2)).check_settings(3)
    whole = replace(three, ceiling=Retrained(3))
    whole.check_settings(3)
    assert list(whole.others()) == ["gold", "ceiling"]


def test_the_truths_ceiling_is_what_perfect_scores_without_ties_reach() -> None:
    shown = [{"wide": 0.75, "pair": 0.25}, {"rest": 1.0}, {"narrow": 1.0}] * 40
    truth = np.array([[each.get(name, 0.0) for name in NAMES] for each in shown])
    perfect = truth + 1e-6 * np.random.default_rng(3).standard_normal(truth.shape)
    found = judged("truth", of_groups(perfect), {}, shown).summary["agreement"]
    assert found["top_1"]["ceiling"] == 1
    assert found["spearman"]["ceiling"] < 0.95  # two or three of four groups tie in the truth
    for measure in ("spearman", "kendall", "ndcg_3", "overlap_3"):
        assert found[measure]["fraction"] == pytest.approx(1, abs=0.03), measure


def test_the_truth_is_what_queries_are_composed_of() -> None:
    shown = [{"wide": 0.75, "pair": 0.25}, {"rest": 1.0}, {"narrow": 0.5, "wide": 0.3, "rest": 0.2}]
    truth = np.array([[each.get(name, 0.0) for name in NAMES] for each in shown])
    perfect = judged("truth", of_groups(truth), {}, shown)
    for name, values in perfect.summary["agreement"].items():
        if name in ("top_1", "spearman", "kendall", "reciprocal_rank", "mse"):
            assert values["mean"] == pytest.approx(BEST[name], abs=1e-9), name
        if name in ("ndcg_3", "overlap_3", "pairwise_top_3", "rbo"):  # a mean over the orders of what ties in the truth
            assert values["mean"] == pytest.approx(values["ceiling"]), name
    assert [row["gold"] for row in perfect.table] == ["wide", "rest", "narrow"]
    assert [row["named"] for row in perfect.table] == ["wide", "rest", "narrow"]
    reverse = judged("truth", of_groups(-truth), {}, shown)
    assert reverse.summary["agreement"]["spearman"]["mean"] == pytest.approx(-1)
    items = judged("truth", of_items(truth, False), {}, shown, kind="max")
    for name, values in perfect.summary["agreement"].items():
        assert items.summary["agreement"][name] == pytest.approx(values, abs=1e-7)  # scores are kept in float32
    with pytest.raises(UserError, match=r"which is none of the groups"):
        judged("truth", of_groups(truth), {}, [{"unheard-of": 1.0}] * 3)


@pytest.mark.parametrize("share", [False, True])
def test_constant_scores_agree_as_often_as_chance_whatever_the_groups_are_called(gold: np.ndarray, share: bool) -> None:
    flat = np.full_like(gold, 0.1)  # summed over groups of other sizes, its means differ in the last digits
    found = []
    for order in ([0, 1, 2, 3], [3, 1, 0, 2]):
        scores = of_groups(flat) if share else of_items(flat, False)
        verdict = judged("logo", scores, {"gold": of_groups(gold[:, order])})
        assert [row["named"] for row in verdict.table] == ["(tie)"] * QUERIES
        found.append({name: values["mean"] for name, values in verdict.summary["agreement"].items()})
    assert found[0] == pytest.approx(found[1])
    assert found[0]["top_1"] == pytest.approx(1 / len(NAMES))
    assert found[0]["overlap_3"] == pytest.approx(3 / len(NAMES))
    assert found[0]["reciprocal_rank"] == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4) / 4)
