"""Is F1 any good? A cheap look at the queries, and the Fréchet distance of more images to the training items."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from safetensors.numpy import load_file, save_file
from torch import Tensor

from tdattr.costs import Cost, Work
from tdattr.features import Embed, Extractor, Images, embed_batches
from tdattr.ids import Ids, digest_ids
from tdattr.interim import ROWS
from tdattr.metrics.frechet import Moments, frechet_distance, moments
from tdattr.metrics.nearness import describe_scales, find_far
from tdattr.pipeline.generate import count_evaluations, guidance, sample
from tdattr.pipeline.train import train
from tdattr.pipeline.workspace import Workspace
from tdattr.progress import track
from tdattr.rows import Rows
from tdattr.seeding import generator
from tdattr.store import Plan, provenance

log = logging.getLogger(__name__)
BLOCK_SAMPLES = 256  # generated at a time, at least; what an interruption costs at most
MOST_ITEMS = 1000  # that queries are compared with, half of them as the held-out ones
FEWEST_HELD_OUT = 20  # of fewer, 99 % is their maximum, beyond which many good images lie


def plan_health(ws: Workspace) -> Plan | None:
    """The Fréchet distance of F1's samples, and that of as many training items drawn at random: the least that so many
    images can be expected to reach. FID where the extractor is Inception. None where ``health.samples`` is 0."""
    samples, extractor, setting = ws.health.samples, ws.health.extractor, ws.setting()
    if not samples or extractor is None:
        return None
    f1 = train(ws)
    config = {
        "extractor": extractor.describe_with_identity(setting),
        "diffusion": ws.diffusion.describe(),
        "codec": ws.codec.describe() | {"identity": dict(ws.codec.identity())},
        "samples": samples,
        "guidance": guidance(ws),
        "weights": ws.weights,
        "seed": ws.seed,
    }

    def make(folder: Path) -> dict[str, float]:
        split = ws.data.train
        embed = extractor.load(setting)
        everything = items_moments(ws, extractor, embed)
        repeated = samples > len(ws.ids)
        images = generate_samples(ws, f1, samples, folder)
        drawn = split.images(generator(ws.seed, "health.items").choice(ws.ids, samples, replace=repeated))
        return {
            "frechet_distance": frechet_distance(moments(embed_batches(embed, images, setting)), everything),
            "frechet_distance_of_items": frechet_distance(moments(embed_batches(embed, drawn, setting)), everything),
        }

    def cost() -> Cost:
        passes = count_evaluations(ws)
        work = None if passes is None else Work(evaluations=samples * passes, images=samples, looks=2 * samples)
        return Cost(work, [f1, plan_moments(ws, extractor, None)], extractor.name)

    like = f"{ws.size} {extractor.name}"
    return ws.store.plan("health", 2, config, {"model": f1.address}, make, cost=cost, like=like)


def generate_samples(ws: Workspace, f1: Plan, samples: int, folder: Path) -> Images:
    """So many of F1's images under conditions of items that are drawn; an interrupted call is resumed in ``folder``."""
    ids = generator(ws.seed, "health.conditions").choice(ws.ids, samples, replace=samples > len(ws.ids))
    rows = Rows(folder, ROWS, samples)
    size = ws.queries.batch_size * -(-BLOCK_SAMPLES // ws.queries.batch_size)  # whole batches of the sampler
    starts = range(rows.done, samples, size)
    for start in track(starts, "Generating for the health check", len(starts)):
        block = range(start, min(start + size, samples))
        rngs = [generator(ws.seed, "health.sample", number) for number in block]
        _, images = sample(ws, f1, rngs, ws.data.train.condition(ids[block.start : block.stop]))
        rows.write(images=images.numpy())
    return torch.from_numpy(rows.arrays["images"])


def examine(ws: Workspace) -> dict[str, Any]:
    """What ``plan_health`` finds, for the summary; nothing where there is no health check."""
    plan, extractor, samples = plan_health(ws), ws.health.extractor, ws.health.samples
    if plan is None or extractor is None:
        return {}
    facts = provenance(plan.get())["facts"]
    log.info(
        "F1's samples: Fréchet distance %.3g to the training items (%s, %d samples; as many training items: %.3g).",
        facts["frechet_distance"], extractor.name, samples, facts["frechet_distance_of_items"],
    )  # fmt: skip
    return {"health": facts | {"extractor": extractor.name, "samples": samples}}


def measure_far(ws: Workspace, queries: Images) -> float | None:
    """How many of the queries are, in [0, 1], as `find_far_queries` has it."""
    far = find_far_queries(ws, queries)
    return None if far is None else float(far.float().mean())


def find_far_queries(ws: Workspace, queries: Images) -> Bool[Tensor, " query"] | None:
    """Which of the queries are less like the training items than 99 % of held-out items are: see `find_far`.

    Some items stand for the training set, as many others are held out from them. None where there are too few.
    """
    drawn = generator(ws.seed, "health.near").permutation(ws.ids)[:MOST_ITEMS]
    references, held_out = np.array_split(drawn, 2)
    if len(held_out) < FEWEST_HELD_OUT:
        return None

    def describe(ids: Ids) -> Tensor:
        blocks = np.array_split(np.sort(ids), -(-len(ids) // ws.trainer.feature_batch))
        return torch.cat([describe_scales(ws.data.train.images(block)) for block in blocks])

    return find_far(describe_scales(queries), describe(held_out), describe(references))


def warn_far(ws: Workspace, far: float | None) -> str | None:
    """What there is to say where more than ``health.far`` of the queries are far from the data."""
    if far is None or far <= ws.health.far:
        return None
    return (
        f"{100 * far:.0f} % of the queries are less like the training items than 99 % of held-out items are: F1 does "
        f"not generate such images, so that attributing them says little; {remedy_far(ws)}."
    )


def remedy_far(ws: Workspace) -> str:
    """What can be done about that, which depends on where F1's weights are from."""
    if ws.checkpoint is not None:
        return "give a checkpoint that does, or train F1 here with checkpoint=null"
    return ws.model.remedy if ws.model.has_weights else "train it longer"


def items_moments(ws: Workspace, extractor: Extractor, embed: Embed) -> Moments:
    """The moments of the vectors of the items that F1 was trained on: an artifact that all models share."""
    content = load_file(plan_moments(ws, extractor, embed).get().folder / "moments.safetensors")
    return Moments(content["mean"], content["covariance"])


def plan_moments(ws: Workspace, extractor: Extractor, embed: Embed | None) -> Plan:
    """That artifact; ``embed``: None where it is not built."""
    setting = ws.setting()

    def make(folder: Path) -> None:
        assert embed is not None
        rows = Rows(folder, ROWS, len(ws.ids))
        starts = range(rows.done, len(ws.ids), setting.batch_size)
        for start in track(starts, f"Features ({extractor.name})", len(starts)):
            images = ws.data.train.images(ws.ids[start : start + setting.batch_size])
            for vectors in embed_batches(embed, images, setting):
                rows.write(vectors=vectors.numpy())
        computed = moments(torch.from_numpy(rows.arrays["vectors"]).split(setting.batch_size))
        save_file({"mean": computed.mean, "covariance": computed.covariance}, folder / "moments.safetensors")

    config = extractor.describe_with_identity(setting) | {"ids": digest_ids(ws.ids)}
    cost = Cost(Work(looks=len(ws.ids), unsized=True), extractor.artifacts(setting), extractor.name)
    return replace(setting.plan("moments", 2, config, make), like=extractor.name, cost=lambda: cost)
