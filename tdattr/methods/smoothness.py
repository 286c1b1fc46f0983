"""How smooth a training is in its data: whether a derivative by the items' weights says what a training a step further
does (Engstrom et al. 2025, arXiv 2503.13751, empirical metasmoothness, of the queries' outputs)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from jaxtyping import Float, Int
from safetensors.torch import load_file, save_file
from torch import Tensor

from tdattr.costs import DOUBLE_BYTES, Cost, Work
from tdattr.metagradients.describe import PREDICTION, SMOOTHNESS
from tdattr.methods import Context
from tdattr.methods.all_counted import fill
from tdattr.methods.output import Output
from tdattr.ranges import Range
from tdattr.seeding import generator
from tdattr.store import Plan, share_out

FILE = "values.safetensors"
VALUES = "values"
FURTHER = (0, 1, 2)  # steps along the direction: F1 is the first of the three trainings
FEWEST = 3  # numbers of which a correlation is taken: that of two is 1 or -1


@dataclass(frozen=True)
class SmoothnessConfig:
    """``step``: what a random half of the items loses of its weight, in the second training, and once more in the
    third. ``least``: of what is measured, a warning comes below it."""

    step: Annotated[float, Range(above=0, most=0.5)]
    least: Annotated[float, Range(least=-1, most=1)]


def measure_smoothness(
    context: Context,
    config: SmoothnessConfig,
    output: Output,
    weight: float,
    derivatives: Float[Tensor, "value item"],
) -> dict[str, float]:
    """Facts from -1 to 1. The share of the change of the queries' outputs in the first step whose sign the second
    step has too, less the share where it has not; and, of enough values, the correlation over them of the change in
    the first step with what their ``derivatives`` by the weights of the items that F1 sees predict of it."""
    artifacts = share_out(plan_trainings(context, config, output, weight))
    first, second, third = (load_file(artifact.folder / FILE)[VALUES].flatten() for artifact in artifacts)
    facts = {SMOOTHNESS: agree(second - first, third - second)}
    if len(derivatives) >= FEWEST:
        predicted = -derivatives[:, draw_half(context)].double().sum(1)
        correlation = torch.corrcoef(torch.stack([predicted, second - first]))[0, 1]
        facts[PREDICTION] = float(correlation.nan_to_num())
    return facts


def draw_half(context: Context) -> Int[np.ndarray, " row"]:
    """Which of the items that F1 sees lose some of their weight."""
    return generator(context.seed, "metagradient.smoothness").permutation(len(context.ids))[: len(context.ids) // 2]


def agree(first: Float[Tensor, " value"], second: Float[Tensor, " value"]) -> float:
    """The signs' agreement, weighed by how large the first ones are; 1 where nothing changes."""
    size = first.abs().sum()
    return float((first.abs() * first.sign() * second.sign()).sum() / size) if size else 1.0


def plan_trainings(context: Context, config: SmoothnessConfig, output: Output, weight: float) -> list[Plan]:
    """The queries' outputs under each of the three. ``weight``: what every item counts in the first."""
    rows, evaluations = draw_half(context), output.count_evaluations(context)

    def plan(times: int) -> Plan:
        def build(folder: Path) -> None:
            from tdattr.methods.weighted_training import train_weighted  # Lightning takes seconds to import

            counts = fill(context, weight)
            counts[context.ids[rows]] *= 1 - times * config.step
            network = context.f1.load() if times == 0 else train_weighted(context, counts, folder)
            save_file({VALUES: output.evaluate(context, network)}, folder / FILE)

        steps, queries = context.count_steps() if times else 0, len(context.queries)
        work = Work(
            trainings=int(times > 0),
            steps=steps,
            trained=steps * context.train.batch_size,
            evaluations=queries * (evaluations or 0),
            bytes=queries * output.size * DOUBLE_BYTES,
        )
        needs = [*context.f1.plans, *output.parts(context)]
        cost = Cost(None if evaluations is None else work, needs)
        key = {"lost": times * config.step, "queries": context.queries.address} | output.describe()
        return context.plan("weighted", 2, key, build).costing(lambda: cost)

    return [plan(times) for times in FURTHER]
