"""The part of the generation schedule that unlearning and scoring use: a given share of it, or one that MUCS's authors
let the training items choose (the option ``auto`` of their code; it is not in the paper).

The rule: below half of the distance between near training items, noise hardly hides which of them an item is, so the
levels with less noise than that are left out.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tdattr import ranges
from tdattr.costs import Cost, Work
from tdattr.diffusion import Diffusion
from tdattr.errors import UserError
from tdattr.files import to_json
from tdattr.methods import Context
from tdattr.progress import track
from tdattr.store import Plan
from tdattr.training.items import permutation

AUTO: Literal["auto"] = "auto"
Share = ranges.Share | Literal["auto"]
BATCH_SIZE, BATCHES_BEFORE, QUANTILE, FACTOR = 100, 3, 0.05, 0.5  # the authors' code
FILE = "threshold.json"


def check_share(node: str, levels: Literal["training", "discrete", "generation"], share: Share | None) -> None:
    """Raise UserError unless there is a share of the schedule just where levels are of it."""
    if levels != "generation" and share is not None:
        raise UserError(f"{node}.schedule_share={share} has no effect with {node}.levels={levels}: set it to null.")
    if levels == "generation" and share is None:
        raise UserError(f"{node}.schedule_share must be a number, or auto, with {node}.levels=generation.")


def find_share(context: Context, wanted: Share, pairs: int) -> float:
    """The share itself. For ``auto``, that of the ``pairs`` levels of the whole schedule which have more noise than the
    threshold; the threshold is a stored artifact that all queries and both uses have in common.

    Raises UserError where there is no such level.
    """
    if wanted != "auto":
        return wanted
    share = share_above(context.diffusion, pairs, load_threshold(context))
    if share == 0:
        raise UserError(
            "The training items are so far apart that no level of the generation schedule hides one behind another: "
            "give method.score.schedule_share and method.unlearn.schedule_share as numbers instead of auto."
        )
    return share


def load_threshold(context: Context) -> float:
    """The noise level that separates near training items, as a ratio of noise to signal; estimated once and stored."""
    return float(json.loads((plan_threshold(context).get().folder / FILE).read_text()))


def plan_threshold(context: Context) -> Plan:
    """The artifact of that level."""
    rule: dict[str, Any] = {
        "batch_size": BATCH_SIZE,
        "batches_before": BATCHES_BEFORE,
        "quantile": QUANTILE,
        "factor": FACTOR,
    }

    def build(folder: Path) -> dict[str, float]:
        threshold = find_threshold(neighbour_distances(training_batches(context, BATCH_SIZE)))
        (folder / FILE).write_text(to_json(threshold))
        return {"threshold": threshold}

    cost = Cost(Work(looks=len(context.ids)))
    return context.plan("threshold", 1, rule, build).costing(lambda: cost)


def training_batches(context: Context, batch_size: int) -> Iterator[Float[Tensor, "batch *x"]]:
    """The items once, in the order of the training's first epoch, in whole batches: the authors' code passes once over
    those that it unlearns with.

    The items are neither mirrored nor augmented. Where there are fewer than two batches, the items make two smaller
    ones. Raises UserError for a single item.
    """
    ids = context.ids[permutation(context.seed, 0, len(context.ids))]
    size = min(batch_size, len(ids) // 2)
    if size == 0:
        raise UserError("schedule_share=auto compares training items with each other: it needs at least two of them.")
    count = len(ids) // size
    for batch in track(range(count), "Distances between training items", count):
        yield context.data.train.x(ids[batch * size : (batch + 1) * size])


def neighbour_distances(batches: Iterable[Float[Tensor, "batch *x"]]) -> Float[np.ndarray, " distance"]:
    """|a - b| / sqrt(number of values), float32, for each item a of a batch and each b of the up to three batches
    before it."""
    before: list[Tensor] = []
    distances = []
    for batch in batches:
        flat = batch.flatten(1)
        if before:
            distances.append((torch.cdist(flat, torch.cat(before)) / flat.shape[1] ** 0.5).flatten().float().numpy())
        before = [*before, flat][-BATCHES_BEFORE:]
    return np.concatenate(distances)


def find_threshold(distances: Float[np.ndarray, " distance"]) -> float:
    """Half of the 5 % quantile: of the distances in order, the one with the index floor(0.05 · count)."""
    index = int(QUANTILE * len(distances))
    return FACTOR * float(np.partition(distances, index)[index])


def share_above(diffusion: Diffusion, pairs: int, threshold: float) -> float:
    """The share of the ``pairs`` levels of the whole generation schedule whose ratio of noise to signal is above the
    threshold. Under EDM and VP that ratio is sigma."""
    ratio = (-diffusion.log_snr(diffusion.generation_levels(pairs)) / 2).exp()
    return float((ratio > threshold).double().mean())
