"""Encode: the moments of the latents of all items, stored once for all trainings, methods and runs."""

import logging
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from tdattr.codecs import Codec
from tdattr.configs import name_class
from tdattr.costs import NUMBER_BYTES, Cost, Work
from tdattr.data.latents import FILE, Latents
from tdattr.data.names import FIELD
from tdattr.data.prepared import Prepared, Split
from tdattr.errors import UserError
from tdattr.progress import track
from tdattr.rows import Rows
from tdattr.store import Plan, Store

log = logging.getLogger(__name__)
LATENTS = "latents"  # the stage
BLOCK = 256  # items encoded and written at a time: what an interruption costs; ours


def attach_latents(data: Prepared, dataset: Plan, codec: Codec, store: Store, device: torch.device) -> Prepared:
    """The dataset whose x is made of latents, which are encoded when they are first asked for. ``dataset``: its
    artifact. Under a codec whose x is the image, the dataset as it is."""
    if not codec.latent:
        return data

    def attach(split: Split, name: str) -> Split:
        plans = {
            mirrored: plan_latents(split, name, mirrored, data.content, dataset, codec, store, device)
            for mirrored in (False, True)
        }
        return replace(split, latents=Latents(plans, codec.x, codec.draws))

    return replace(data, train=attach(data.train, "train"), test=attach(data.test, "test"))


def plan_latents(
    split: Split,
    name: str,
    mirrored: bool,
    content: str,
    dataset: Plan,
    codec: Codec,
    store: Store,
    device: torch.device,
) -> Plan:
    """The moments of the items of a split, or of their mirrored images, as one array that is written block by block.

    They are float32: float16 would round a mean of 5 by up to 0.002, which need not be little beside the spread of a
    latent, and 24 000 items of 256 x 256 pixels take 0.8 GB under the VAE of Stable Diffusion.
    """
    image = (split.pixels.shape[3], *split.pixels.shape[1:3])
    title = f"Latents ({name}, mirrored)" if mirrored else f"Latents ({name})"

    def make(folder: Path) -> dict[str, float]:
        rows = Rows(folder, LATENTS, len(split))
        starts = range(rows.done, len(split), BLOCK)
        for start in track(starts, title, len(starts)):
            ids = np.arange(start, min(start + BLOCK, len(split)))
            images = split.images(ids)
            moments = codec.encode((images.flip(-1) if mirrored else images).to(device)).float().cpu()
            wrong = ids[(~moments.isfinite()).flatten(1).any(1).numpy()]
            if len(wrong):
                raise UserError(
                    f"The latent of {name_item(split, wrong[0])} of the {name} split is not finite: mend or remove its "
                    "image, or choose another VAE with codec.weights."
                )
            rows.write(moments=moments.numpy())
        rows.close()
        facts = describe_x(codec, np.load(folder / FILE, mmap_mode="r"))
        log.info("%s: x has mean %.3g and standard deviation %.3g.", title, facts["x_mean"], facts["x_std"])
        return facts

    def cost() -> Cost:
        count = len(split)
        size = count * math.prod(codec.shape(image)) * codec.numbers * NUMBER_BYTES
        return Cost(Work(looks=count, bytes=size), [dataset], name)

    values = {key: value for key, value in codec.describe().items() if key not in codec.training}
    config = {"codec": values | {"identity": dict(codec.identity())}, "split": name, "mirrored": mirrored}
    like = f"{name_class(codec)} {codec.identity()} {image}"
    return store.plan(LATENTS, 1, config, {"dataset": content}, make, label=lambda: title, cost=cost, like=like)


def describe_x(codec: Codec, moments: np.ndarray) -> dict[str, float]:
    """Mean and standard deviation of x, by the first block: what the diffusion variant must be told of its scale."""
    x = codec.x(torch.from_numpy(np.array(moments[:BLOCK])), None).double()
    return {"x_mean": float(x.mean()), "x_std": float(x.std(correction=0))}


def name_item(split: Split, item: int | np.integer) -> str:
    """An item as a user knows it."""
    named = f" ({split.items[FIELD].iloc[item]})" if FIELD in split.items else ""
    return f"item {item}{named}"
