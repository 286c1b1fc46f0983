"""LDS, the linear datamodeling score: do summed scores predict the losses of models trained on random halves?

Park et al. 2023 (TRAK, arXiv 2303.14186), for diffusion models Zheng et al. 2024 (D-TRAK, arXiv 2311.00500).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from jaxtyping import Float, Int

from tdattr.counterfactuals import Counterfactuals, Trained
from tdattr.errors import UserError
from tdattr.ids import Ids
from tdattr.metrics.rank_correlation import bootstrap_mean, repeat_ceiling, spearman
from tdattr.protocols import Judged, Protocol, ProtocolSetup, Verdict, name_interval
from tdattr.protocols.damping_grid import judge_best
from tdattr.queries import Queries
from tdattr.ranges import Count, Part, Range
from tdattr.scores import Scores
from tdattr.seeding import generator
from tdattr.store import Plan
from tdattr.tables import DataFrame

MIN_SIZE = 3  # subsets, and items of a subset: with two, a rank correlation is 1 or -1


@dataclass(frozen=True)
class LDS(Protocol):
    """The ``protocol=lds`` node: ``subsets`` random sets of ``share`` of the items, each trained ``repeats`` times."""

    code_version: ClassVar = 2  # says the ceiling
    needs: ClassVar = frozenset({"retraining"})
    takes_grid: ClassVar = True
    takes_controls: ClassVar = True

    name: str
    subsets: Annotated[int, Range(least=MIN_SIZE)]
    share: Part
    repeats: Count
    draws: Count
    resamples: Count

    def check(self, setup: ProtocolSetup) -> None:
        """A subset must hold some items."""
        items = len(setup.items)
        if round(self.share * items) < MIN_SIZE:
            raise UserError(f"protocol.share={self.share} of {items} training items is too few: raise it.")

    def headline(self, summary: Mapping[str, Any], table: DataFrame) -> dict[str, float]:
        """The score."""
        return name_interval("lds", summary["lds"])

    @property
    def title(self) -> str:
        """What a report's title says."""
        return f"{self.subsets} subsets"

    def members(self, items: int, seed: int) -> Int[np.ndarray, "subset member"]:
        """The indices of each subset's items, ascending; a subset depends on nothing but its number and the seed."""
        size = round(self.share * items)
        return np.stack(
            [np.sort(generator(seed, "lds.subset", n).choice(items, size, replace=False)) for n in range(self.subsets)]
        )

    def work(self, scores: Judged, others: Mapping[str, Judged], items: Ids, models: Counterfactuals) -> Sequence[Plan]:
        """The losses under the models of the subsets."""
        return models.plan_query_losses(self.trained(items, models), self.draws)

    def trained(self, items: Ids, models: Counterfactuals) -> list[Trained]:
        """The models of every subset, those of all repeats after each other."""
        removals = [np.delete(items, members) for members in self.members(len(items), models.seed)]
        return [model for repeats in models.train(removals, repeats=self.repeats) for model in repeats]

    def losses(self, scores: Scores, models: Counterfactuals) -> Float[np.ndarray, "subset repeat query"]:
        """The loss of each query after every training on each subset."""
        losses = models.query_losses(self.trained(scores.ids, models), self.draws)
        return losses.reshape(self.subsets, self.repeats, -1)

    def evaluate(
        self, scores: Scores, others: Mapping[str, Scores], queries: Queries, models: Counterfactuals
    ) -> Verdict:
        """Spearman's correlation over the subsets between -sum of the scores inside and the loss, a mean over the
        repeats; mean over queries. The ceiling is what the losses under as many other seeds would reach."""
        members = self.members(len(scores.ids), models.seed)
        losses = self.losses(scores, models)
        values = scores.values.double().numpy()
        if scores.dampings is None:
            return self.verdict(prediction(values, members), losses)
        predicted = [prediction(values[:, index], members) for index in range(values.shape[1])]
        found = [self.summarise(each, losses.mean(1)) for each in predicted]
        return judge_best(scores.dampings, "LDS", found, lambda best: self.verdict(predicted[best], losses))

    def verdict(
        self, predicted: Float[np.ndarray, "subset query"], losses: Float[np.ndarray, "subset repeat query"]
    ) -> Verdict:
        """The numbers of one set of scores."""
        means = losses.mean(1)
        result = self.summarise(predicted, means)
        table = [{"query": query, "lds": float(value)} for query, value in enumerate(spearman(predicted, means))]
        line = f"LDS {result['mean']:+.3f} ({result['low']:+.3f} to {result['high']:+.3f})"
        if (ceiling := repeat_ceiling(losses)) is not None:
            result["ceiling"] = ceiling
            line += f" of {ceiling:.3f}"
        return Verdict(
            {"lds": result, "subsets": self.subsets, "repeats": self.repeats}, table, self.title, lines=[line]
        )

    def summarise(
        self, predicted: Float[np.ndarray, "subset query"], losses: Float[np.ndarray, "subset query"]
    ) -> dict[str, float]:
        """The mean over queries, and its 95 % interval over draws of subsets and queries."""
        low, high = bootstrap_mean(predicted, losses, self.resamples)
        return {"mean": float(spearman(predicted, losses).mean()), "low": low, "high": high}


def prediction(
    scores: Float[np.ndarray, "query target"], subsets: Int[np.ndarray, "subset member"]
) -> Float[np.ndarray, "subset query"]:
    """What the scores say about the loss of each query after training on each subset, up to scale and offset."""
    return -np.stack([scores[:, subset].sum(1) for subset in subsets])
