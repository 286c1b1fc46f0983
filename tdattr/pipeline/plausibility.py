"""Could F1 have made these pictures at all? Their losses under it, beside those of items that it is not trained on."""

import logging
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from safetensors.torch import load_file, save_file

from tdattr.costs import Cost, Work
from tdattr.errors import UserError
from tdattr.experiments import ITSELF
from tdattr.features import Images
from tdattr.ids import digest_ids
from tdattr.metrics.unlikely import UNCOMPARED, warn_uncompared, warn_unlikely
from tdattr.pipeline.generate import generate, load_queries
from tdattr.pipeline.health import find_far_queries, measure_far, warn_far
from tdattr.pipeline.train import load_network, train
from tdattr.pipeline.workspace import Workspace
from tdattr.scoring.cells import LossModel, QueryItems, TrainingItems
from tdattr.scoring.pairs import NoiseSet
from tdattr.seeding import generator, normal
from tdattr.store import Plan

log = logging.getLogger(__name__)
FILE = "losses.safetensors"
MOST_ITEMS = 200  # that pictures are compared with; ours
DRAWS = 50  # of level and noise, the same for all; ours
LIMIT = 0.99  # of the distribution that the items' losses have: one picture in a hundred of their kind lies beyond


def plan_plausibility(ws: Workspace) -> Plan:
    """The mean losses of the user's pictures and of held-out items, of which there may be none, at the same draws of
    the training's levels and noise."""
    f1 = train(ws)
    pictures = generate(ws, f1)
    split, held_out = ws.held_out
    ids = np.sort(generator(ws.seed, "plausibility.items").permutation(held_out)[:MOST_ITEMS])

    def make(folder: Path) -> None:
        rng, network = generator(ws.seed, "plausibility"), load_network(ws, f1)
        noise = NoiseSet(ws.diffusion.training_levels(rng, DRAWS), normal(rng, DRAWS, *ws.x_shape))
        model = LossModel(ws.diffusion, network, ws.device, ws.trainer.scoring_batch)
        losses = {"pictures": model.table(QueryItems(load_queries(ws, pictures)), noise)}
        if len(ids):
            losses["items"] = model.table(TrainingItems(split, ids), noise, description="Losses of held-out items")
        if not all(values.isfinite().all() for values in losses.values()):
            raise UserError("The losses of the first model are not finite: lower train.learning_rate.")
        save_file({name: values.double().mean(1) for name, values in losses.items()}, folder / FILE)

    config = {"draws": DRAWS, "items": digest_ids(ids), "seed": ws.seed, "weights": ws.weights}
    config |= {"diffusion": ws.diffusion.describe()}
    cost = Cost(Work(evaluations=(len(ws.pictures) + len(ids)) * DRAWS), [f1, pictures])
    inputs = {"model": f1.address, "queries": pictures.address, "dataset": ws.data.content}
    return ws.store.plan("plausibility", 2, config, inputs, make, cost=lambda: cost, like=ws.size)


@dataclass(frozen=True)
class Look:
    """What is seen of the explained queries: the share of generated ones that is ``far`` from the data, or what there
    is to say of each of the user's ``pictures``."""

    far: float | None
    pictures: list[dict[str, Any]]

    def warn(self, ws: Workspace) -> list[str]:
        """Why attributing them may say little."""
        warnings = warn_far(ws, self.far), warn_unlikely(self.pictures), warn_uncompared(self.pictures)
        return [warning for warning in warnings if warning is not None]


def say(warning: str, beginning: str = "Warning") -> None:
    """Log a warning. That nothing is held out, which is so for all jobs of a command, is said once."""
    if warning == UNCOMPARED:
        say_uncompared()
    else:
        log.warning("%s: %s", beginning, warning)


@cache
def say_uncompared() -> None:
    """Log, the first time in this process, that the pictures' losses are compared with nothing."""
    log.warning("Warning: %s", UNCOMPARED)


def look_at(ws: Workspace, images: Images) -> Look:
    """Look at the explained queries' images, where there are any."""
    if ws.queries.explained == ITSELF:
        return Look(None, [])
    return Look(None, compare_pictures(ws, images)) if ws.pictures else Look(measure_far(ws, images), [])


def compare_pictures(ws: Workspace, images: Images) -> list[dict[str, Any]]:
    """For each picture its name, its loss, the share of the held-out items whose loss is lower, in [0, 1], whether the
    loss lies beyond their one-sided 99 % prediction limit, and whether the picture looks far from the training items;
    None where there are too few items to say."""
    losses = load_file(plan_plausibility(ws).get().folder / FILE)
    items = losses["items"].numpy() if "items" in losses else np.zeros(0)
    limit, far = predict_limit(items), find_far_queries(ws, images)
    return [
        {
            "picture": name,
            "loss": loss,
            "share_below": float((items < loss).mean()) if len(items) else None,
            "beyond": None if limit is None else loss > limit,
            "far": None if far is None else bool(far[index]),
        }
        for index, (name, loss) in enumerate(zip(ws.pictures, losses["pictures"].tolist(), strict=True))
    ]


def predict_limit(losses: Float[np.ndarray, " item"]) -> float | None:
    """The loss below which a further item's lies with a probability of ``LIMIT``, if the logarithms of losses are
    normal: mean + t · s · sqrt(1 + 1/n), by Student's distribution. None for fewer than two items."""
    from scipy.stats import t  # takes a second to import

    logs, count = np.log(losses), len(losses)
    if count < 2:
        return None
    return float(np.exp(logs.mean() + t.ppf(LIMIT, count - 1) * logs.std(ddof=1) * np.sqrt(1 + 1 / count)))
