"""How smooth a training is in its data: whether a derivative by the items' weights says what a training a step further
does (Engstrom et al. 2025, arXiv 2503.13751, empirical metasmoothness, of the queries' losses)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from jaxtyping import Float, Int
from safetensors.torch import load_file, save_file
from torch import Tensor

from tdattr.costs import NUMBER_BYTES, Cost, Work
from tdattr.metagradients.describe import PREDICTION, SMOOTHNESS
from tdattr.methods import Context
from tdattr.methods.gradient_features import noise_set
from tdattr.ranges import Range
from tdattr.scoring.cells import LossModel, QueryItems
from tdattr.scoring.gradients import GradientConfig
from tdattr.seeding import generator
from tdattr.store import Plan, share_out

FILE = "losses.safetensors"
LOSSES = "losses"
FURTHER = (0, 1, 2)  # steps along the direction: F1 is the first of the three trainings
FEWEST = 3  # queries of which a correlation is taken: that of two is 1 or -1


@dataclass(frozen=True)
class SmoothnessConfig:
    """``step``: what a random half of the items loses of its weight, in the second training, and once more in the
    third. ``least``: of what is measured, a warning comes below it."""

    step: Annotated[float, Range(above=0, most=0.5)]
    least: Annotated[float, Range(least=-1, most=1)]


def measure_smoothness(
    context: Context, config: SmoothnessConfig, gradients: GradientConfig, scores: Float[Tensor, "query item"]
) -> dict[str, float]:
    """Facts from -1 to 1. The share of the change of the queries' losses in the first step whose sign the second
    step has too, less the share where it has not; and, of enough queries, the correlation over them of the change in
    the first step with what the ``scores`` of the items that F1 sees predict of it."""
    artifacts = share_out(plan_trainings(context, config, gradients))
    first, second, third = (load_file(artifact.folder / FILE)[LOSSES].double() for artifact in artifacts)
    facts = {SMOOTHNESS: agree(second - first, third - second)}
    if len(scores) >= FEWEST:
        predicted = scores[:, draw_half(context)].double().sum(1)
        correlation = torch.corrcoef(torch.stack([predicted, second - first]))[0, 1]
        facts[PREDICTION] = float(correlation.nan_to_num())
    return facts


def draw_half(context: Context) -> Int[np.ndarray, " row"]:
    """Which of the items that F1 sees lose some of their weight."""
    return generator(context.seed, "metagradient.smoothness").permutation(len(context.ids))[: len(context.ids) // 2]


def agree(first: Float[Tensor, " query"], second: Float[Tensor, " query"]) -> float:
    """The signs' agreement, weighed by how large the first ones are; 1 where nothing changes."""
    size = first.abs().sum()
    return float((first.abs() * first.sign() * second.sign()).sum() / size) if size else 1.0


def plan_trainings(context: Context, config: SmoothnessConfig, gradients: GradientConfig) -> list[Plan]:
    """The losses of the queries under each of the three, at the noise of ``gradients``."""
    rows, noise = draw_half(context), noise_set(context, gradients)

    def plan(times: int) -> Plan:
        def build(folder: Path) -> None:
            from tdattr.methods.weighted_training import train_weighted  # Lightning takes seconds to import

            counts = torch.ones(len(context.data.train))
            counts[context.ids[rows]] = 1 - times * config.step
            network = context.f1.load() if times == 0 else train_weighted(context, counts, folder)
            model = LossModel(context.diffusion, network, context.device, context.trainer.scoring_batch)
            losses = model.table(QueryItems(context.queries), noise, description="Losses of the queries")
            save_file({LOSSES: losses.double().mean(1)}, folder / FILE)

        steps, queries = context.count_steps() if times else 0, len(context.queries)
        work = Work(
            trainings=int(times > 0),
            steps=steps,
            trained=steps * context.train.batch_size,
            evaluations=queries * len(noise),
            bytes=queries * NUMBER_BYTES,
        )
        key = {"lost": times * config.step, "queries": context.queries.address}
        key |= {"draws": gradients.draws, "levels": gradients.levels}
        return context.plan("weighted", 1, key, build).costing(lambda: Cost(work, context.f1.plans))

    return [plan(times) for times in FURTHER]
