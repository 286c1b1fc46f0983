"""What MUCS's authors say of times on one H100 (arXiv 2605.17938), and what follows for other networks."""

from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from tdattr.costs import BACKWARD, Work
from tdattr.networks import Given
from tdattr.pipeline.attribute import settle
from tdattr.pipeline.train import TRAINED, sizes
from tdattr.planning.workspace import PlannedWorkspace
from tdattr.report.papers import read_table
from tdattr.store import Plan
from tdattr.tables import DataFrame

MINUTE_SECONDS = 60.0
# C.2 of the paper: 1 to 2 days for a training, "depending if the dataset is small, like CIFAR10, or larger, like COCO".
# Of ArtBench-10, between them, it says nothing: 1.5 days. ``passes``: steps times batch (its Table 4)
TRAININGS = Path(__file__).parent / "published.csv"
MODELS = {"cifar10": "dit_b", "artbench10": "dit_b_64", "coco": "dit_b_coco"}  # of its Table 6
# stages that Table 6 counts as scores
LOSSES = "losses"
WITHIN = (LOSSES, "gradients", "kernel", "fisher", "fisher_round", "features", "threshold")
SCORED = "query_scores"
# Multiplications and additions of one forward pass through DiT/B at 32 x 32, and MUCS's figures for it on CIFAR-10:
# a training, and for a query 100 losses of 50 000 items in 22.8 minutes
REFERENCE_OPERATIONS = 52_042_186_752
TRAINING_RATE = 25_600_000 * BACKWARD * REFERENCE_OPERATIONS / (1440 * MINUTE_SECONDS)  # operations a second
SCORING_RATE = 50_000 * 100 * REFERENCE_OPERATIONS / (22.8 * MINUTE_SECONDS)

TRAINING, SCORES, SCALED = "MUCS C.2", "MUCS Table 6", "by operations"
SOURCES = {
    TRAINING: "MUCS (arXiv 2605.17938), C.2: 1 (CIFAR-10) to 2 days (COCO) for a training on an H100; ArtBench-10: 1.5",
    SCORES: "MUCS, Table 6: minutes per query on an H100, in which is all that a method prepares",
    SCALED: "by the operations of a pass through the network, as many a second as MUCS has on CIFAR-10 (C.2, Table 6)",
}


def look_up(plan: Plan, work: Work, what: str, ws: PlannedWorkspace) -> tuple[float, str] | None:
    """The seconds of an artifact and where they stand; None where the paper does not have such a model or method, or
    evaluates more losses."""
    dataset, model = ws.dataset.name, str(ws.cfg.model.name)
    if plan.stage == TRAINED:
        table = read_trainings()
        found = table[(table["dataset"] == dataset) & (table["model"] == model)]
        if found.empty:
            return None
        [row] = found.to_dict("records")
        return MINUTE_SECONDS * row["minutes"] * work.trained / row["passes"], TRAINING
    if MODELS.get(dataset) != model or saves_losses(plan, what, ws):
        return None
    if plan.stage in WITHIN:
        return 0.0, SCORES
    scores = read_table("table_6")
    found = scores[(scores["dataset"] == dataset) & (scores["method"] == what)]
    if plan.stage != SCORED or found.empty:
        return None
    return MINUTE_SECONDS * float(found["minutes"].iloc[0].removeprefix("<")), SCORES


def saves_losses(plan: Plan, what: str, ws: PlannedWorkspace) -> bool:
    """Whether it belongs to scores that take fewer losses than the paper's."""
    own = plan.stage == LOSSES or (plan.stage == SCORED and what == ws.method.name)
    return own and settle(ws, ws.method).decides_top


def scale(work: Work, ws: PlannedWorkspace) -> float:
    """The seconds that an H100 takes, if it has as many operations a second as in the paper's training and scoring."""
    operations = count_operations(ws)
    training, scoring = BACKWARD * (work.trained + work.gradients), work.evaluations
    return operations * (training / TRAINING_RATE + scoring / SCORING_RATE)


@cache
def read_trainings() -> DataFrame:
    """The paper's trainings."""
    import pandas as pd

    return pd.read_csv(TRAININGS)


known: dict[str, int] = {}  # operations by the size of a network


def count_operations(ws: PlannedWorkspace) -> int:
    """Multiplications and additions of a forward pass of one item, counted on a network without numbers."""
    if ws.size not in known:
        network, (channels, resolution, _) = ws.skeleton().eval().to("meta"), sizes(ws)
        x, level = torch.zeros(1, channels, resolution, resolution, device="meta"), torch.zeros(1, device="meta")
        told = ws.data.train.condition(np.zeros(1, int))
        given = Given(None if told is None else told.to("meta"))
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(x, level, given)
        known[ws.size] = counter.get_total_flops()
    return known[ws.size]
