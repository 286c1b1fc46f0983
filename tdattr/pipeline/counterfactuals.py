"""The ``Counterfactuals`` of a workspace: what methods and protocols get of other trainings."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor

from tdattr.costs import Cost, Work
from tdattr.counterfactuals import Counterfactuals, Generated, Trained, Undecided, train_missing
from tdattr.errors import UserError
from tdattr.ids import Ids
from tdattr.pipeline.generate import generate, load_queries, plan_batches
from tdattr.pipeline.teacher import open_teacher
from tdattr.pipeline.train import as_trained, train, train_undecided
from tdattr.pipeline.workspace import Workspace
from tdattr.queries import load_images
from tdattr.scoring.cells import LossModel, QueryItems
from tdattr.scoring.pairs import NoiseSet
from tdattr.seeding import generator, normal
from tdattr.store import Artifact, Plan, share_out
from tdattr.tables import DataFrame
from tdattr.training.teacher import Teacher

FILE = "losses.safetensors"
LOSS_BYTES = 8  # of a float64


@dataclass(frozen=True)
class WorkspaceCounterfactuals(Counterfactuals):
    """``used``: the artifacts that were asked for, whose cost belongs to the one who asked."""

    ws: Workspace
    needs: frozenset[str]
    used: list[Artifact] = field(default_factory=list)

    @property
    def seed(self) -> int:
        """The seed of the run."""
        return self.ws.seed

    def groups(self) -> dict[str, Ids]:
        """The groups of the training items that F1 has seen and that are attributed, by name."""
        self.require("groups")
        return self.ws.attributed

    def all_groups(self) -> dict[str, Ids]:
        """Also those that are not attributed."""
        self.require("groups")
        return self.ws.groups

    def items(self) -> DataFrame:
        """What is known of the training items that F1 has seen."""
        return self.ws.data.train.items.iloc[self.ws.ids]

    def original(self) -> Generated:
        """The run's queries as F1 generates them, the controls too."""
        plan = generate(self.ws, train(self.ws))
        return Generated(load_images(plan.get()), plan.name)

    def train(self, removals: Sequence[Ids | Undecided], *, repeats: int = 1, first: int = 0) -> list[list[Trained]]:
        """The models without each of those sets of ids under ``repeats`` seeds, from the run's + ``first`` on."""
        self.require("retraining")
        seeds = [self.ws.seed + first + repeat for repeat in range(repeats)]
        plans = self.plan_trainings(removals, seeds)
        self.used.extend(plan.artifact for row in plans for plan in row)
        return [[as_trained(self.ws, plan) for plan in row] for row in plans]

    def teacher(self, teacher: Teacher) -> Trained:
        """A model of the items that F1 has seen whose condition is the groups of an item."""
        self.require("groups")
        ws = open_teacher(self.ws, teacher)
        plan = train(ws)
        self.used.append(plan.artifact)
        return as_trained(ws, plan)

    def regenerate(self, removals: Sequence[Ids]) -> list[Generated]:
        """The run's queries as the models without each of those sets generate them."""
        trainings = self.plan_generating(removals)
        plans = [generate(self.ws, training) for training in trainings]
        batches = [batch for training in trainings for batch in plan_batches(self.ws, training)]
        self.used.extend(plan.artifact for plan in (*trainings, *batches, *plans))
        share_out([training for training, plan in zip(trainings, plans, strict=True) if not plan.finished])
        return [Generated(load_images(artifact), artifact.name) for artifact in share_out(plans)]

    def plan_regenerated(self, removals: Sequence[Ids | Undecided]) -> list[Plan]:
        """The generated images, which are made of trainings and batches."""
        trainings = self.plan_generating(removals)
        return [generate(self.ws, training) for training in trainings]

    def plan_generating(self, removals: Sequence[Ids | Undecided]) -> list[Plan]:
        """The trainings without each of those sets, whose models generate the queries."""
        self.require("retraining")
        self.require("generation")
        return [plan for (plan,) in self.plan_trainings(removals, [self.ws.seed])]

    def plan_trainings(self, removals: Sequence[Ids | Undecided], seeds: Sequence[int]) -> list[list[Plan]]:
        """The trainings without each of those sets under each of the seeds, of which those that are not F1's are
        numbered. Of a set that is not decided, one that has no address yet."""
        ws, number = self.ws, count(1)

        def is_f1(removal: Ids | Undecided, seed: int) -> bool:
            return not isinstance(removal, Undecided) and len(removal) == 0 and seed == ws.seed

        total = sum(not is_f1(removal, seed) for removal in removals for seed in seeds)

        def plan(removal: Ids | Undecided, seed: int) -> Plan:
            if isinstance(removal, Undecided):
                return train_undecided(ws, removal, seed)
            return train(ws, removal, seed, "" if is_f1(removal, seed) else f"{next(number)} of {total}")

        return [[plan(removal, seed) for seed in seeds] for removal in removals]

    def query_losses(self, models: Sequence[Trained], draws: int) -> Float[np.ndarray, "model query"]:
        """The loss of every explained query under each model, a mean over ``draws`` pairs of level and noise."""
        plans = self.plan_query_losses(models, draws)
        train_missing(models, plans)
        artifacts = share_out(plans)
        losses = torch.stack([load_file(artifact.folder / FILE)["losses"] for artifact in artifacts])
        return losses.numpy()[:, self.ws.queries.indices]

    def plan_query_losses(self, models: Sequence[Trained], draws: int) -> list[Plan]:
        """An artifact for each model, of all queries that were generated."""
        ws = self.ws
        plan = generate(ws, train(ws))
        config = {"draws": draws, "seed": ws.seed, "weights": ws.weights, "diffusion": ws.diffusion.describe()}

        @cache
        def drawn() -> tuple[QueryItems, NoiseSet]:
            queries, rng = load_queries(ws, plan), generator(ws.seed, "query_losses")
            levels = ws.diffusion.training_levels(rng, draws)
            return QueryItems(queries), NoiseSet(levels, normal(rng, draws, *queries.x.shape[1:]))

        def plan_losses(model: Trained) -> Plan:
            def make(folder: Path) -> None:
                items, noise = drawn()
                losses = LossModel(ws.diffusion, model.load(), ws.device, ws.trainer.scoring_batch).table(
                    items, noise, description="Losses of the queries"
                )
                if not losses.isfinite().all():
                    raise UserError(
                        f"The losses of the queries under {model.address} are not finite: lower train.learning_rate."
                    )
                save_file({"losses": losses.double().mean(1)}, folder / FILE)

            count = ws.queries.generated
            cost = Cost(Work(evaluations=count * draws, bytes=count * LOSS_BYTES), [plan, *model.plans])
            inputs = {"model": model.address, "queries": plan.address}
            return ws.store.plan("query_losses", 2, config, inputs, make, cost=lambda: cost, like=ws.size)

        return [plan_losses(model) for model in models]

    def similarities(self, first: Tensor, second: Tensor) -> dict[str, Float[np.ndarray, " query"]]:
        """How alike the images of each pair are, by every measure of the run and to its decimals; higher = more
        alike."""
        self.require("measures")
        return {name: self.compare(name, first, second) for name in self.ws.measures}

    def compare(self, name: str, first: Tensor, second: Tensor) -> Float[np.ndarray, " query"]:
        """``similarities`` by one measure. Raises UserError where they are not finite."""
        values = self.ws.measures[name].load_rounded(self.ws.setting())(first, second)
        if not values.isfinite().all():
            raise UserError(
                f"The measure {name} gives similarities that are not finite: leave it out of metrics, or change its "
                f"settings under measures.{name}."
            )
        return values.numpy()
