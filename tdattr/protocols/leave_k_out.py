"""Leave-k-out: remove what a method names, retrain from the same seed, see what changes (MUCS §4, A.2)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from tdattr.counterfactuals import Counterfactuals, Undecided
from tdattr.errors import UserError
from tdattr.ids import Ids
from tdattr.metrics.comparison import (
    FOOTNOTE,
    MARK,
    NO_CHANGE,
    NO_CHANGE_MARK,
    RemovalEffect,
    auc_interval,
    compare,
    overlap,
    show_change,
)
from tdattr.protocols import Judged, Verdict, name_interval
from tdattr.protocols.top_removal import TopRemoval
from tdattr.queries import Queries
from tdattr.scores import Attributor, Scores
from tdattr.store import Plan
from tdattr.tables import DataFrame


@dataclass(frozen=True)
class LeaveKOut(TopRemoval):
    """The ``protocol=leave_k_out`` node."""

    code_version: ClassVar = 3  # every run is warned of few queries, whatever its protocol
    needs: ClassVar = frozenset({"retraining", "measures", "generation"})

    reference: Attributor  # the method that removes at random

    def others(self) -> Mapping[str, Attributor]:
        """The reference."""
        return {"reference": self.reference}

    def headline(self, summary: Mapping[str, Any], table: DataFrame) -> dict[str, float]:
        """The AUC by each measure, ``auc_ssim`` and so on."""
        attributed = table[table["role"] == "attributed"]
        named: dict[str, float] = {}
        for measure, effect in summary["metrics"].items():
            values, randoms = (attributed[column].to_numpy(np.float64) for column in (measure, f"{measure}_random"))
            low, high = auc_interval(values, randoms)
            named |= name_interval(f"auc_{measure}", {"mean": effect["auc"], "low": low, "high": high})
        return named

    def check_settings(self, queries: int) -> None:
        """One query has no distribution."""
        if queries < 2:
            raise UserError("leave_k_out compares distributions: set queries.attributed to 2 or more.")

    def work(self, scores: Judged, others: Mapping[str, Judged], items: Ids, models: Counterfactuals) -> Sequence[Plan]:
        """The images that are generated again after two retrainings. What these leave out, scores decide: at least the
        k items of one query."""
        k = self.removed_per_query(len(items))

        def removal(judged: Judged) -> Ids | Undecided:
            return Undecided(f"{judged.address}/{k}", k) if judged.scores is None else np.unique(judged.scores.top(k))

        return models.plan_regenerated([removal(others["reference"]), removal(scores)])

    def evaluate(
        self, scores: Scores, others: Mapping[str, Scores], queries: Queries, models: Counterfactuals
    ) -> Verdict:
        """Retrain without the union of the top-k sets, of the method's and of the reference's, and compare images."""
        reference = others["reference"]
        k = self.removed_per_query(len(scores.ids))
        top, random_top = scores.top(k), reference.top(k)
        removed, random_removed = np.unique(top), np.unique(random_top)
        if len(scores.ids) in (len(removed), len(random_removed)):
            raise UserError(
                "The top-k sets together are the whole training set: lower protocol.k or queries.attributed."
            )
        original = models.original()
        after_random, after = models.regenerate([random_removed, removed])

        count = len(top)
        effects: dict[str, RemovalEffect] = {}
        control: dict[str, Any] = {}
        rows: list[dict[str, Any]] = [
            {"query": i, "role": "attributed" if i < count else "control"} for i in range(len(original.images))
        ]
        twice = torch.cat([original.images, original.images])
        for name, both in models.similarities(twice, torch.cat([after.images, after_random.images])).items():
            values, randoms = np.split(both, 2)
            effects[name] = compare(values[:count], randoms[:count])
            if count < len(values):
                control[name] = compare(values[count:], randoms[count:], two_tailed=True).as_dict()
            for row, value, random_value in zip(rows, values, randoms, strict=True):
                row |= {name: float(value), f"{name}_random": float(random_value)}
        mean, interval = overlap(top)
        lines = [
            f"{name}: AUC {effect.auc:.3f} (p = {effect.p_value:.2g}), change against random removal "
            + show_change(effect.difference_percent, effect.ci95, effect.small_median, " %")
            for name, effect in effects.items()
        ]
        itself = np.array_equal(removed, random_removed)  # the reference: nothing is claimed for it
        return Verdict(
            {
                "k": k,
                "metrics": {name: effect.as_dict() for name, effect in effects.items()},
                "control": control,
                "removed": len(removed),
                "removed_random": len(random_removed),
                "overlap_percent": mean,
                "overlap_ci95": interval,
            },
            rows,
            f"k = {k}",
            {"regenerated": after.artifact, "regenerated_random": after_random.artifact},
            lines,
            [] if itself else warn(effects),
        )


def warn(effects: Mapping[str, RemovalEffect]) -> list[str]:
    """What makes the numbers say less than they seem to."""
    small = [name for name, effect in effects.items() if effect.small_median]
    unchanged = [name for name, effect in effects.items() if effect.no_change]
    sentences = [f"{', '.join(small)}{FOOTNOTE.removeprefix(MARK)}"] if small else []
    return sentences + ([f"{', '.join(unchanged)}{NO_CHANGE.removeprefix(NO_CHANGE_MARK)}"] if unchanged else [])
