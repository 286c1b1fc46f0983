"""Bank: how a method ranks among all others, by what was retrained once and comes with the package."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from tdattr.counterfactuals import Counterfactuals
from tdattr.data.truth import FIELD, truth
from tdattr.errors import UserError
from tdattr.files import digest_once, expand
from tdattr.ids import NO_IDS, Ids, digest_ids
from tdattr.metrics.aggregation import AggregateConfig
from tdattr.metrics.agreement import agreement, interval
from tdattr.metrics.rank_correlation import bootstrap_mean, spearman
from tdattr.protocols import Judged, Protocol, ProtocolSetup, Sampled, Verdict, name_interval
from tdattr.protocols.bank_file import (
    BANKS,
    FILE,
    LEADERBOARD,
    OF_GROUPS,
    BankData,
    GroupScores,
    load_bank,
    name_lds,
    reach,
)
from tdattr.protocols.damping_grid import judge_best
from tdattr.protocols.group_agreement import aggregate_scores
from tdattr.protocols.lds import prediction
from tdattr.protocols.leaderboard import Ranking, load_leaderboard, order, rank, show_places
from tdattr.protocols.truth import DECIMALS, TIE_BREAKS, break_ties
from tdattr.queries import Queries
from tdattr.ranges import Count
from tdattr.scores import Scores
from tdattr.store import Plan
from tdattr.training.config import TrainConfig
from tdattr.wording import counted, tell_interval

VERSION = 2  # of what a verdict holds
FAR = 0.5  # ours: as far apart as F1 and a model of half of the items
SAME = 1e-5  # by which losses differ that were computed in float32 from the same weights
Measured = tuple[Float[np.ndarray, " query"], tuple[float, float] | None, float | None]  # values, interval, ceiling


@dataclass(frozen=True)
class Bank(Protocol):
    """The ``protocol=bank`` node. ``folder``: where the bank is; None: that of the ``dataset`` in the package.

    Scores of items are judged by LDS on each kind of subsets that it holds (``lds_50``: of 50 % of the items), and,
    aggregated, as scores of groups by LOGO under half of its seeds and, where the items say what they are composed of,
    by the truth.
    """

    unaddressed: ClassVar = ("name", "dataset", "folder")
    needs: ClassVar = frozenset({"groups", "retraining"})
    judges_groups: ClassVar = True
    takes_grid: ClassVar = True
    takes_controls: ClassVar = True

    name: str
    dataset: str
    folder: str | None
    aggregate: AggregateConfig
    resamples: Count

    @property
    def path(self) -> Path:
        """The folder of the bank."""
        return BANKS / self.dataset if self.folder is None else expand(self.folder)

    @cached_property
    def data(self) -> BankData:
        """What it holds. Raises UserError where it cannot be read."""
        return load_bank(self.path)

    @property
    def digest(self) -> str:
        """What stands for its content."""
        return digest_once(self.path / FILE)[:16]

    def describe(self) -> dict[str, Any]:
        """With the content of the bank in place of its folder, that of its leaderboard, and the verdict's version."""
        leaderboard = self.path / LEADERBOARD
        known = digest_once(leaderboard)[:16] if leaderboard.exists() else None
        return super().describe() | {"bank": self.digest, "leaderboard": known, "version": VERSION}

    def sampled(self) -> Sampled:
        """The bank's queries: another machine's F1 draws them a little otherwise, and the bank knows nothing of
        those."""
        return Sampled(self.data.x, self.data.images)

    def headline(self, summary: Mapping[str, Any], table: Any) -> dict[str, float]:
        """Every measure."""
        named = [name_interval(measure, values) for measure, values in summary["bank"].items()]
        return {name: value for values in named for name, value in values.items()}

    def check_settings(self, queries: int) -> None:
        """The bank must be there, and have so many queries. Raises UserError."""
        if self.data.dataset != self.dataset:
            raise UserError(f"The bank in {self.path} is of dataset={self.data.dataset}: choose that, or another bank.")
        known = len(self.data.x)
        if queries > known:
            raise UserError(
                f"The bank of {self.data.dataset} has {known} queries: leave out queries.attributed={queries}."
            )

    def check(self, setup: ProtocolSetup) -> None:
        """Items, queries, groups and F1's training must be those of the bank. Raises UserError."""
        data, leave_out = self.data, "leave out what changes it"
        differences = list(find_differences(complete(data.training), complete(setup.training)))
        if len(setup.items) != data.items or any(name == "ids" for name, *_ in differences):
            raise UserError(
                f"The bank was made with {data.items} items, and F1 sees {len(setup.items)}, not the same: {leave_out}."
            )
        if differences:
            made_with = " ".join(f"{name}={spell(theirs)}" for name, theirs, _ in differences)
            here = " ".join(f"{name}={spell(given)}" for name, _, given in differences)
            raise UserError(
                f"The bank of {data.dataset} was made with {made_with}, here F1 is trained with {here}: "
                f"set the former, or {leave_out}."
            )
        if setup.queries["id"].tolist() != data.asked[setup.explained]:
            raise UserError(f"The bank's queries show something else than these: {leave_out} under queries.")
        known = load_leaderboard(self.path)
        if known is not None and 0 < setup.explained.start <= known["query"].max():
            raise UserError(
                "With so few queries.attributed the controls are queries by which methods are ranked, so that nothing "
                "may be chosen on them: leave out queries.attributed."
            )
        if {name: digest_ids(ids) for name, ids in setup.members.items()} != data.groups:
            raise UserError("The bank has other groups: leave out dataset.groups and attributed_groups.")

    def work(self, scores: Judged, others: Mapping[str, Judged], items: Ids, models: Counterfactuals) -> Sequence[Plan]:
        """The losses under F1, by which it is compared with the bank's."""
        return models.plan_query_losses(models.train([NO_IDS])[0], self.data.draws)

    def evaluate(
        self, scores: Scores, others: Mapping[str, Scores], queries: Queries, models: Counterfactuals
    ) -> Verdict:
        """Every measure for every query, and the place among the methods that the bank knows; of scores of several
        dampings those of the best one."""
        if scores.dampings is not None:
            return self.choose(scores, scores.dampings, queries, models)
        measured = dict(self.measure(scores, queries, models))
        summary = {name: self.summarise(*found) for name, found in measured.items()}
        rows = [
            {"query": query} | {name: float(values[query]) for name, (values, *_) in measured.items()}
            for query in range(len(queries))
        ]
        known = load_leaderboard(self.path) if queries.indices.start == 0 else None  # controls are not in it
        most = 0 if known is None else int(known["query"].nunique())
        ranking: Ranking = []
        lines, warnings = [], []
        if known is not None and len(queries) > most:
            warnings.append(
                f"The bank knows what other methods reach for its first {counted(most, 'query')} alone, so that this "
                f"run is not ranked: set queries.attributed={most} or less."
            )
        elif known is not None:
            ceilings = {name: ceiling for name, (*_, ceiling) in measured.items()}
            ranking = rank({name: values for name, (values, *_) in measured.items()}, known, ceilings, self.resamples)
            count = f"{len(queries)} of the {most} queries" if len(queries) < most else f"the {most} queries"
            title = f"among the methods of the bank of {self.data.dataset}, on {count} of its leaderboard"
            lines.append(f"{title}:\n{show_places(ranking, ceilings)}")
        difference = self.compare(models, queries.indices)
        if difference > SAME:
            warnings.append(self.warn(difference))
        return Verdict(
            {"bank": summary, "ranking": ranking, "f1_difference": difference, "bank_digest": self.digest},
            rows,
            f"bank of {self.data.dataset}",
            lines=[*lines, tell(summary)],
            warnings=warnings,
        )

    def choose(self, scores: Scores, dampings: list[float], queries: Queries, models: Counterfactuals) -> Verdict:
        """The verdict on the best of several dampings, and of all of them the first measure that tells them apart."""
        alone = [Scores(scores.values[:, index], scores.ids) for index in range(len(dampings))]
        measured = [dict(self.measure(each, queries, models)) for each in alone]
        name = order(measured[0], {name: ceiling for name, (*_, ceiling) in measured[0].items()})[0]
        summaries = [self.summarise(*found[name]) for found in measured]
        return judge_best(dampings, name, summaries, lambda best: self.evaluate(alone[best], {}, queries, models))

    def summarise(
        self, values: Float[np.ndarray, " query"], ends: tuple[float, float] | None, ceiling: float | None
    ) -> dict[str, Any]:
        """The mean of a measure, the ends of its interval, over the queries unless they are given, and its ceiling."""
        low, high = ends or interval(values, self.resamples) or (None, None)
        return {"mean": float(values.mean()), "low": low, "high": high, "ceiling": ceiling}

    def measure(self, scores: Scores, queries: Queries, models: Counterfactuals) -> Iterator[tuple[str, Measured]]:
        """Every measure by name."""
        data, asked = self.data, queries.indices
        ceilings = data.ceilings(asked)
        if scores.groups is None:
            values = scores.values.double().numpy()
            for share, subsets in data.subsets.items():
                predicted = prediction(values, subsets.members.numpy())
                losses = subsets.losses.double().mean(1).numpy()[:, asked]
                ends = bootstrap_mean(predicted, losses, self.resamples)
                yield name_lds(share), (spearman(predicted, losses), ends, ceilings[name_lds(share)])
        of_groups = aggregate_scores(scores, models.groups(), self.aggregate)
        if data.logo is not None:
            gold, _ = data.halve_logo(asked)
            yield from self.judge("logo", gold, of_groups, ceilings)
        if FIELD in models.items():
            gold = truth(models.items(), queries.items, list(data.groups)).round(DECIMALS)
            ties = [break_ties(gold, n) for n in range(TIE_BREAKS)]
            yield from self.judge("truth", gold, of_groups, reach("truth", gold, ties))

    def judge(
        self, name: str, gold: GroupScores, values: GroupScores, ceilings: Mapping[str, float | None]
    ) -> Iterator[tuple[str, Measured]]:
        """Agreement on groups with gold, beside its ceilings."""
        found = agreement(gold, values)
        for measure in OF_GROUPS:
            yield f"{name}_{measure}", (found[measure], None, ceilings[f"{name}_{measure}"])

    def compare(self, models: Counterfactuals, asked: slice) -> float:
        """How far the losses of the queries under F1 lie from those under the bank's: the largest difference, relative
        to the loss."""
        theirs = self.data.f1_losses.double().numpy()[asked]
        ours = models.query_losses(models.train([NO_IDS])[0], self.data.draws)[0]
        return float(np.abs(ours / theirs - 1).max())

    def warn(self, difference: float) -> str:
        """What there is to say where F1 is not the bank's."""
        return (
            f"This machine's F1 is not the bank's: the losses of the queries differ by up to {100 * difference:.2g} %. "
            "The scores are those of one model, what was retrained belongs to another"
            + ("; its place may change a little." if difference < FAR else ", and so far apart they say nothing.")
        )


def tell(summary: Mapping[str, Mapping[str, float | None]]) -> str:
    """The measures in one line."""
    parts = []
    for name, values in summary.items():
        ceiling = "" if values["ceiling"] is None else f" of {values['ceiling']:.3f}"
        parts.append(f"{name} {values['mean']:.3f} ({tell_interval(values['low'], values['high'])}){ceiling}")
    return ", ".join(parts)


def complete(training: Mapping[str, Any]) -> dict[str, Any]:
    """A training with what is not described where it is as before it could be set."""
    return dict(training) | {"train": dict(TrainConfig.added) | dict(training["train"])}


def find_differences(theirs: Any, ours: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    """The dotted names of values that differ, with both."""
    if isinstance(theirs, Mapping) and isinstance(ours, Mapping):
        for key in sorted(theirs.keys() | ours.keys()):
            yield from find_differences(theirs.get(key), ours.get(key), f"{name}.{key}" if name else key)
    elif theirs != ours:
        yield name, theirs, ours


def spell(value: Any) -> str:
    """A value as an override has it."""
    return "null" if value is None else str(value)
