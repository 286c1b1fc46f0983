"""A bank whose losses and LOGO scores are only pretended: sums of what items are worth."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf

from tdattr.configs import build
from tdattr.counterfactuals import Trained
from tdattr.errors import UserError
from tdattr.ids import Ids, digest_ids
from tdattr.metrics.agreement import interval, sign_flip_p_value
from tdattr.metrics.rank_correlation import repeat_ceiling
from tdattr.protocols import ProtocolSetup, Verdict
from tdattr.protocols.bank import SAME, Bank
from tdattr.protocols.bank_file import FILE, BankData, Subsets, load_bank
from tdattr.protocols.leaderboard import CEILING, LEADERBOARD, OWN, list_means, rank, show_places
from tdattr.scores import Scores
from tests.conftest import CONF
from tests.contexts import NoCounterfactuals, make_queries, unused

QUERIES, ITEMS, EXPLAINED = 10, 40, 6
GROUPS = {"even": np.arange(0, ITEMS, 2), "odd": np.arange(1, ITEMS, 2)[:10], "last": np.arange(1, ITEMS, 2)[10:]}
TRAINING = {"seed": 1, "train": {"steps": 5, "ema": 0.9}}
RNG = np.random.default_rng(3)
WORTH = RNG.standard_normal((QUERIES, ITEMS))
F1_LOSSES = 2 + RNG.random(QUERIES)


def losses_of(members: np.ndarray, repeats: int, noise: float) -> torch.Tensor:
    """A loss falls by the worth of what was seen."""
    sums = np.stack([-WORTH[:, each].sum(1) for each in members])[:, None]
    return torch.from_numpy(sums + noise * np.random.default_rng(4).standard_normal((len(members), repeats, QUERIES)))


def make_bank(noise: float = 0.0) -> BankData:
    rng = np.random.default_rng(5)
    members = {
        share: np.stack([rng.permutation(ITEMS)[:size] for _ in range(12)])
        for share, size in (("0.5", 20), ("0.95", 38))
    }
    repeats = {"0.5": 3, "0.95": 1}
    losses = {share: losses_of(each, repeats[share], noise) for share, each in members.items()}
    gold = np.stack([WORTH[:, ids].mean(1) for ids in GROUPS.values()], 1)
    return BankData(
        dataset="tiny",
        training=TRAINING,
        draws=7,
        items=ITEMS,
        asked=list(range(100, 100 + QUERIES)),
        x=torch.zeros(QUERIES, 1, 2, 2),
        images=torch.zeros(QUERIES, 1, 2, 2),
        f1_losses=torch.from_numpy(F1_LOSSES).float(),
        subsets={share: Subsets(torch.from_numpy(each), losses[share]) for share, each in members.items()},
        groups={name: digest_ids(ids) for name, ids in GROUPS.items()},
        logo=torch.from_numpy(np.stack([gold, gold])).float(),
        made_with={"torch": "1"},
    )  # fmt: skip


class Models(NoCounterfactuals):
    """Only F1 is asked for, of which every loss is ``factor`` times the bank's."""

    def __init__(self, factor: float = 1.0, asked: slice = slice(0, EXPLAINED)) -> None:
        super().__init__(groups=lambda: GROUPS, items=lambda: pd.DataFrame({"id": range(ITEMS)}))
        self.factor, self.explained = factor, asked

    def train(self, removals: Sequence[Ids], *, repeats: int = 1, first: int = 0) -> list[list[Trained]]:
        assert [len(ids) for ids in removals] == [0] and (repeats, first) == (1, 0)
        return [[Trained("f1", unused)]]

    def query_losses(self, models: Sequence[Trained], draws: int) -> np.ndarray:
        assert [model.address for model in models] == ["f1"] and draws == 7
        return self.factor * F1_LOSSES[None, self.explained]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_bank().save(tmp_path)
    return tmp_path


def node(folder: Path, **changes: Any) -> Bank:
    given = {"dataset": "tiny", "folder": str(folder), "resamples": 50, "aggregate": {"how": "mean"}} | changes
    loaded = OmegaConf.load(CONF / "protocol" / "bank.yaml")
    del loaded["defaults"]
    aggregate = OmegaConf.load(CONF / "aggregate" / "mean.yaml")
    return build(OmegaConf.merge(loaded, given | {"aggregate": aggregate}), "protocol")


def judge(bank: Bank, values: np.ndarray, models: Models | None = None, **scores: Any) -> Verdict:
    models = models or Models()
    explained = models.explained
    queries = make_queries(torch.zeros(explained.stop - explained.start, 1, 1, 1), pd.DataFrame(index=range(QUERIES)))
    given = Scores(torch.from_numpy(values[explained]).float(), np.arange(ITEMS), **scores)
    return bank.evaluate(given, {}, replace(queries, indices=explained), models)


def test_the_true_worth_reaches_one_by_every_measure_and_its_negative_minus_one(folder: Path) -> None:
    for sign in (1, -1):
        verdict = judge(node(folder), sign * WORTH)
        found = verdict.summary["bank"]
        assert list(found) == ["lds_50", "lds_95", "logo_top_1", "logo_spearman"]
        assert [found[name]["mean"] for name in ("lds_50", "lds_95", "logo_spearman")] == pytest.approx([sign] * 3)
        assert found["logo_top_1"]["mean"] == (sign == 1)
        assert [row["query"] for row in verdict.table] == list(range(EXPLAINED))
        assert not verdict.warnings and "lds_50" in verdict.lines[-1]


def test_controls_are_judged_by_their_own_losses(folder: Path) -> None:
    controls = slice(EXPLAINED, QUERIES)
    verdict = judge(node(folder), WORTH, Models(asked=controls))
    assert verdict.summary["bank"]["lds_50"]["mean"] == pytest.approx(1)
    assert verdict.summary["f1_difference"] < SAME


def test_a_mean_over_repeats_is_judged_and_its_ceiling_is_said(tmp_path: Path) -> None:
    bank = make_bank(noise=3.0)
    bank.save(tmp_path)
    found = judge(node(tmp_path), WORTH).summary["bank"]
    assert 0.3 < found["lds_50"]["mean"] < 1
    assert found["lds_50"]["low"] < found["lds_50"]["mean"] < found["lds_50"]["high"]
    assert found["lds_50"]["ceiling"] == pytest.approx(
        repeat_ceiling(bank.subsets["0.5"].losses[:, :, :EXPLAINED].numpy()), abs=1e-3
    )
    assert found["lds_95"]["ceiling"] is None  # of one repeat


def test_a_single_query_has_no_interval_of_queries(folder: Path) -> None:
    verdict = judge(node(folder), WORTH, Models(asked=slice(0, 1)))
    assert verdict.summary["bank"]["logo_spearman"]["low"] is None
    assert "logo_spearman 1.000 (no interval)" in verdict.lines[-1]


def test_scores_of_groups_are_judged_as_groups_alone(folder: Path) -> None:
    gold = np.stack([WORTH[:, ids].mean(1) for ids in GROUPS.values()], 1)
    found = judge(node(folder), gold, groups=list(GROUPS)).summary["bank"]
    assert list(found) == ["logo_top_1", "logo_spearman"] and found["logo_spearman"]["mean"] == pytest.approx(1)


def test_the_best_damping_is_judged_and_all_are_listed(folder: Path) -> None:
    grid = np.stack([-WORTH, WORTH, RNG.standard_normal(WORTH.shape)], 1)
    verdict = judge(node(folder), grid, dampings=[0.1, 1.0, 10.0])
    assert verdict.summary["damping"] == 1.0 and verdict.summary["bank"]["lds_50"]["mean"] == pytest.approx(1)
    assert [row["damping"] for row in verdict.summary["grid"]] == [0.1, 1.0, 10.0]
    assert "best damping 1:" in verdict.lines[-1]


def test_no_damping_is_chosen_by_a_measure_in_which_retraining_fails(folder: Path) -> None:
    """Under the one seed losses are reversed, under the other they are not: LDS is high for the worst damping."""
    bank = make_bank()
    halves = bank.subsets["0.5"]
    wrong = -halves.losses[:, :1]
    replace(bank, subsets={"0.5": Subsets(halves.members, torch.cat([wrong, -0.5 * wrong], 1))}).save(folder)
    grid = np.stack([-WORTH, WORTH], 1)
    found = judge(node(folder), grid[:, 0]).summary["bank"]["lds_50"]
    assert found["mean"] == pytest.approx(1) and found["ceiling"] == 0
    verdict = judge(node(folder), grid, dampings=[0.1, 1.0])
    assert verdict.summary["damping"] == 1.0 and "logo_top_1" in verdict.lines[1]


def test_another_f1_is_told_of(folder: Path) -> None:
    verdict = judge(node(folder), WORTH, Models(factor=1.02))
    assert "This machine's F1 is not the bank's: the losses of the queries differ by up to 2 %" in verdict.warnings[0]


def test_a_method_is_ranked_among_the_known_ones_by_paired_tests(folder: Path) -> None:
    values = {"good": np.linspace(0.8, 0.9, QUERIES), "bad": np.linspace(-0.2, 0.3, QUERIES)}
    table = pd.DataFrame({"query": range(QUERIES), "seconds_per_query": 2.0})
    tables = [table.assign(method=name, lds_50=each) for name, each in values.items()]
    pd.concat(tables).to_csv(folder / LEADERBOARD, index=False)
    noisy = WORTH + 2 * RNG.standard_normal(WORTH.shape)
    verdict = judge(node(folder), noisy)
    ranking = {row["method"]: row for row in verdict.summary["ranking"]}
    means = [row["lds_50"] for row in verdict.summary["ranking"]]
    assert set(ranking) == {CEILING, "good", "bad", OWN} and means == sorted(means, reverse=True)
    assert ranking[CEILING]["lds_50"] == verdict.summary["bank"]["lds_50"]["ceiling"]
    own = np.array([row["lds_50"] for row in verdict.table])
    assert ranking["good"]["lds_50"] == pytest.approx(values["good"][:EXPLAINED].mean())
    assert ranking["good"]["lds_50_p"] == pytest.approx(sign_flip_p_value(own, values["good"][:EXPLAINED], 2000))
    ends = interval(values["good"][:EXPLAINED], 50)
    assert (ranking["good"]["lds_50_low"], ranking["good"]["lds_50_high"]) == pytest.approx(ends)
    assert ranking["good"]["lds_95"] is None and OWN in verdict.lines[0]
    assert f"on {EXPLAINED} of the {QUERIES} queries of its leaderboard" in verdict.lines[0]
    assert (
        f"on the {QUERIES} queries of its leaderboard"
        in judge(node(folder), noisy, Models(asked=slice(0, QUERIES))).lines[0]
    )
    assert not judge(node(folder), noisy, Models(asked=slice(EXPLAINED, QUERIES))).summary["ranking"]


def test_every_measure_that_tells_methods_apart_has_its_own_ranks_and_tests(folder: Path) -> None:
    """By LDS it is the first, by LOGO the last; a measure that retraining fails ranks nothing."""
    rng = np.random.default_rng(1)
    other = {"lds_50": 0.1 + 0.1 * rng.random(8), "lds_95": rng.random(8), "logo_top_1": 0.6 + 0.1 * rng.random(8)}
    known = pd.DataFrame({"method": "other", "query": range(8), "seconds_per_query": 1.5} | other)
    own = {"lds_50": other["lds_50"] + 0.3, "lds_95": np.zeros(8), "logo_top_1": other["logo_top_1"] - 0.1}
    own["logo_top_1"][:3] += 0.15
    ceilings = {"lds_50": 0.8, "lds_95": 0.1, "logo_top_1": 0.9}
    ranking = rank(own, known, ceilings, 100)
    row = next(row for row in ranking if row["method"] == "other")
    assert row["lds_50_p"] == 2 / 2**8 and row["logo_top_1_p"] == sign_flip_p_value(
        own["logo_top_1"], other["logo_top_1"]
    )
    assert "lds_95_p" not in row and row["lds_95_low"] < row["lds_95"] < row["lds_95_high"]
    by_lds, by_logo, *said = show_places(ranking, ceilings).split("\n\n")
    assert by_lds.splitlines()[0] == "LDS 50 %: this run is number 1 of 2"
    assert [line.split()[0] for line in by_lds.splitlines()[2:]] == [CEILING, "this", "other"]
    assert by_logo.splitlines()[0] == "LOGO top-1: this run is number 2 of 2"
    assert f"{row['lds_50_low']:.3f} to {row['lds_50_high']:.3f}" in by_lds and "0.0078" in by_lds
    assert said[0] == "Not ranked by LDS 95 %: there even retraining reaches less than 0.2."


def test_a_run_on_more_queries_than_the_leaderboard_has_is_not_ranked(folder: Path) -> None:
    table = pd.DataFrame({"method": "few", "query": range(3), "lds_50": 0.5, "seconds_per_query": 1.0})
    table.to_csv(folder / LEADERBOARD, index=False)
    verdict = judge(node(folder), WORTH)
    assert verdict.summary["ranking"] == []
    assert "for its first 3 queries alone" in verdict.warnings[0] and "queries.attributed=3" in verdict.warnings[0]


def test_controls_that_the_leaderboard_has_are_refused(folder: Path) -> None:
    """With few attributed queries they would begin among those by which methods are ranked."""
    table = pd.DataFrame({"method": "known", "query": range(4), "lds_50": 0.5, "seconds_per_query": 1.0})
    table.to_csv(folder / LEADERBOARD, index=False)
    items = pd.DataFrame(index=range(ITEMS))

    def check(start: int) -> None:
        asked = pd.DataFrame({"id": [100 + start, 101 + start]})
        node(folder).check(ProtocolSetup(items, asked, list(GROUPS), TRAINING, GROUPS, slice(start, start + 2)))

    check(0), check(4)
    with pytest.raises(UserError, match="leave out queries.attributed"):
        check(2)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"training": {"seed": 1, "train": {"steps": 6, "ema": 0.9}}},
            "train.steps=5, here F1 is trained with train.steps=6: set the former, or leave out",
        ),
        (
            {"training": {"seed": 1, "train": {"steps": 5}}},
            "train.ema=0.9, here F1 is trained with train.ema=null: set the former, or leave out",
        ),
        (
            {"training": {"seed": 1, "train": {"steps": 5, "ema": 0.9, "epsilon": 0.1}}},
            "train.epsilon=1e-08, here F1 is trained with train.epsilon=0.1: set the former, or leave out",
        ),
        ({"items": pd.DataFrame(index=range(39))}, "made with 40 items, and F1 sees 39, not the same"),
        ({"queries": pd.DataFrame({"id": [100, 102]})}, "The bank's queries show something else"),
        (
            {"members": {name: ids + 1 for name, ids in GROUPS.items()}},
            "leave out dataset.groups and attributed_groups",
        ),
    ],
)
def test_what_the_bank_knows_nothing_of_is_refused(folder: Path, changes: dict[str, Any], said: str) -> None:
    fitting = ProtocolSetup(
        pd.DataFrame(index=range(ITEMS)), pd.DataFrame({"id": [100, 101]}), list(GROUPS), TRAINING, GROUPS, slice(0, 2)
    )
    node(folder).check(fitting)
    with pytest.raises(UserError, match=said):
        node(folder).check(replace(fitting, **changes))


def test_more_queries_than_the_bank_has_are_refused(folder: Path) -> None:
    with pytest.raises(UserError, match=f"has {QUERIES} queries: leave out queries.attributed=11"):
        node(folder).check_settings(11)


def test_a_bank_of_another_dataset_is_refused(folder: Path) -> None:
    with pytest.raises(UserError, match="is of dataset=tiny: choose that, or another bank"):
        node(folder, dataset="other").check_settings(5)


def test_items_beyond_two_bytes_keep_their_places(tmp_path: Path) -> None:
    members = torch.tensor([[3, 40000, 70000]])
    bank = replace(make_bank(), subsets={"0.5": Subsets(members, torch.zeros(1, 1, QUERIES))})
    bank.save(tmp_path)
    assert torch.equal(load_bank(tmp_path).subsets["0.5"].members, members)


def test_another_bank_forgets_what_methods_reached_by_the_one_before(folder: Path) -> None:
    (folder / LEADERBOARD).write_text("method,query\n")
    make_bank().save(folder)
    assert (folder / LEADERBOARD).exists()
    make_bank(noise=1.0).save(folder)
    assert not (folder / LEADERBOARD).exists()


def test_a_verdict_depends_on_the_leaderboard(folder: Path) -> None:
    before = node(folder).describe()
    (folder / LEADERBOARD).write_text("method,query\n")
    assert node(folder).describe() != before


def test_no_p_of_other_queries(folder: Path) -> None:
    tables = [
        pd.DataFrame({"method": name, "query": range(count), "lds_50": 0.5, "seconds_per_query": 1.0})
        for name, count in (("few", 3), ("all", QUERIES))
    ]
    pd.concat(tables).to_csv(folder / LEADERBOARD, index=False)
    ranking = {row["method"]: row for row in judge(node(folder), WORTH).summary["ranking"]}
    assert "lds_50_p" not in ranking["few"] and "lds_50_p" in ranking["all"]


def test_what_is_written_is_read(folder: Path) -> None:
    bank, again = make_bank(), load_bank(folder)
    for name in ("dataset", "training", "draws", "items", "asked", "groups", "made_with"):
        assert getattr(again, name) == getattr(bank, name)
    assert set(again.subsets) == set(bank.subsets)
    for share, subsets in bank.subsets.items():
        assert torch.equal(again.subsets[share].members, subsets.members)
        assert torch.equal(again.subsets[share].losses, subsets.losses)
    assert torch.equal(again.x, bank.x) and again.logo is not None


def test_a_bank_that_is_missing_or_damaged_says_what_to_do(folder: Path) -> None:
    with pytest.raises(UserError, match="There is no bank in .*nowhere: make it with tdattr-bank"):
        load_bank(folder / "nowhere")
    content = (folder / FILE).read_bytes()
    (folder / FILE).write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="cannot be read .*: build it anew with tdattr-bank"):
        load_bank(folder)


def test_the_address_has_the_content_of_the_bank_and_not_its_place(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    make_bank().save(other)
    assert node(folder).describe() == node(other).describe()
    make_bank(noise=1.0).save(tmp_path / "third")
    assert node(folder).describe() != node(tmp_path / "third").describe()


def test_methods_are_ranked_by_what_tells_them_apart() -> None:
    """Not by a measure in which retraining itself hardly agrees with retraining."""
    known = pd.DataFrame({"method": ["a", "b"], "query": 0, "lds_50": [0.1, 0.0], "logo_top_1": [0.2, 0.9]})

    def names(ceilings: dict[str, float | None]) -> list[str]:
        return [row["method"] for row in list_means(known, ceilings)]

    assert names({"lds_50": 0.8, "logo_top_1": 0.9}) == [CEILING, "a", "b"]
    assert names({"lds_50": 0.1, "logo_top_1": 0.9}) == [CEILING, "b", "a"]
    assert names({"lds_50": 0.1, "logo_top_1": 0.1}) == ["a", CEILING, "b"]
    own = {"lds_50": np.array([0.05]), "logo_top_1": np.array([0.5])}
    ranking = rank(own, known, {"lds_50": 0.1, "logo_top_1": 0.9}, 10)
    assert [row["method"] for row in ranking] == [CEILING, "b", OWN, "a"]
