"""GUDA-U: groups are unlearned from F1 instead of retraining without them, and queries scored by their ELBO."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tdattr.data.groups import digest
from tdattr.data.prepared import Prepared
from tdattr.errors import UserError
from tdattr.methods import Build, Context, Scored, Scorer, Trained
from tdattr.methods.failure_signatures import growths, warn_of_failures, warn_of_warm_up
from tdattr.methods.group_elbo import differences, elbos
from tdattr.scoring.elbo import ElboConfig
from tdattr.unlearning.group import UnlearnConfig, unlearn_group
from tdattr.unlearning.objectives import UnlearnContext

FILE = "weights.safetensors"
LOG = "log.csv"


@dataclass(frozen=True)
class GUDA:
    """The ``method=guda_u`` node: an objective, how it is run, and the score.

    ``weight_by_size``: the objective's weight holds for a group of average size and grows with the group, as the
    effect of leaving it out does. It is meant for a fixed number of steps, as epochs grow with the group themselves.
    ``siss`` grows by its own formula and ``finetune`` has no such term: neither changes.
    """

    scores_groups: ClassVar = True

    name: str
    objective: Any  # an Objective
    unlearn: UnlearnConfig
    weight_by_size: bool
    elbo: ElboConfig

    def check(self, network: nn.Module, data: Prepared, items: int) -> None:
        """The objective must serve such a model."""
        check_objective(self.objective, self.unlearn, network, data)

    def prepare(self, context: Context) -> None:
        """Everything that takes long."""
        warn_of_warm_up(max(self.planned(context)), self.unlearn)
        self.scores(context)

    def planned(self, context: Context) -> list[int]:
        """The steps of unlearning each group."""
        return [self.unlearn.planned(len(context.ids) - len(ids), len(ids)) for ids in context.groups().values()]

    def scores(self, context: Context) -> tuple[Float[Tensor, "query group"], list[Trained]]:
        """Unlearn every group, and score all queries under each model."""
        removals = list(context.groups().values())
        models = unlearned(context, self.objective, self.unlearn, removals, self.weight_by_size)
        return differences(elbos(context, self.elbo, [context.model, *models])), models

    def start(self, context: Context) -> Scorer:
        """The scores of all queries."""
        groups = context.groups()
        scores, models = self.scores(context)
        logs = {name: pd.read_csv(model.folder / LOG) for name, model in zip(groups, models, strict=True)}
        warn_of_failures(scores, logs, self.unlearn)
        facts = {"training_steps": float(sum(self.planned(context)))}
        grown = growths(logs, self.unlearn)
        if grown:
            facts["retained_loss_growth"] = sum(grown.values()) / len(grown)
        return lambda query: Scored(scores[query], facts)


def check_objective(objective: Any, config: UnlearnConfig, network: nn.Module, data: Prepared) -> None:
    """Raise UserError where an objective cannot serve the model, or not with this way of retaining."""
    objective.check(conditional=bool(data.condition_size) and network.conditional)
    retains = getattr(objective, "retains", (config.retain,))
    if config.retain not in retains:
        raise UserError(
            f"objective={objective.name} cannot be run with method.unlearn.retain={config.retain}: set it to "
            f"{' or '.join(retains)}."
        )


def by_size(objective: Any, size: int, mean_size: float) -> Any:
    """The objective with its weight, if it has one, multiplied by what share of an average group's size this one has.

    The gradient of what is to be forgotten is a mean over items, and what leaving a group out changes is, to first
    order, a sum (influence functions; Koh and Liang 2017, section 2).
    """
    if not hasattr(objective, "weight"):
        return objective
    return replace(objective, weight=objective.weight * (size / mean_size))


def unlearned(
    context: Context,
    objective: Any,
    config: UnlearnConfig,
    removals: list[Int[np.ndarray, " _id"]],
    weight_by_size: bool,
) -> list[Trained]:
    """F1 after each of those sets of ids was unlearned: artifacts, which jobs share out."""
    mean_size = len(context.ids) / len(context.groups())

    def build(ids: Int[np.ndarray, " id"], own: Any, folder: Path) -> Mapping[str, Any]:
        network = context.f1().requires_grad_(True)
        unlearn_context = UnlearnContext(
            context.diffusion,
            context.data.train,
            np.setdiff1d(context.ids, ids),
            ids,
            context.f1,
            context.device,
            context.seed,
            config.retain,
        )
        written = unlearn_group(network, own, unlearn_context, config, context.train, context.trainer)
        pd.DataFrame(written).to_csv(folder / LOG, index=False)
        state = {name: value.detach().float().cpu().contiguous() for name, value in network.state_dict().items()}
        save_file(state, folder / FILE)
        return {"steps": config.planned(len(unlearn_context.retained), len(ids))}

    wanted: list[tuple[Mapping[str, Any], Build]] = []
    for ids in removals:
        own = by_size(objective, len(ids), mean_size) if weight_by_size else objective
        settings = {name: value for name, value in asdict(own).items() if name != "name"}
        described = {
            "objective": settings | {"class": type(own).__name__},
            "unlearn": asdict(config),
            "removed": digest(ids),
            "mirror": context.train.mirror,
        }
        wanted.append((described, partial(build, ids, own)))

    def load(folder: Path) -> nn.Module:
        network = context.f1()
        network.load_state_dict(load_file(folder / FILE))
        return network

    found = context.shared_many("unlearn", 2, wanted)
    return [Trained(each.address, each.folder, partial(load, each.folder)) for each in found]
