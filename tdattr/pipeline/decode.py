"""Decode: the training images as the codec gives them back, for what is to judge generated ones."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from tdattr.costs import Cost, Work
from tdattr.data.prepared import Prepared, Split
from tdattr.features import Setting
from tdattr.image_bytes import pack, unpack
from tdattr.pipeline.workspace import Workspace
from tdattr.progress import track
from tdattr.rows import Rows
from tdattr.store import Build, Plan

ROWS, IMAGES = "train", "decoded"  # of the array of the artifact
BLOCK = 256  # items decoded and written at a time: what an interruption costs; ours


@dataclass(frozen=True)
class DecodedSplit(Split):
    """Items whose images are those of the artifact ``decoded``, built when they are first asked for."""

    decoded: Plan | None = None

    @cached_property
    def array(self) -> UInt8[np.ndarray, "item height width channel"]:
        """All of them."""
        assert self.decoded is not None
        images: np.ndarray = np.load(self.decoded.get().folder / f"{ROWS}_{IMAGES}.npy", mmap_mode="r")
        return images

    def images(
        self, ids: Int[np.ndarray, " batch"], position: Float[np.ndarray, " batch"] | None = None
    ) -> Float[Tensor, "batch channel height width"]:
        """The decoded images with these ids, in [-1, 1]."""
        return unpack(self.array[ids])


def plan_decoded(ws: Workspace) -> Plan:
    """What the codec makes of the mode of every training item's latent."""
    split = ws.data.train

    def make(folder: Path) -> None:
        rows = Rows(folder, ROWS, len(split))
        starts = range(rows.done, len(split), BLOCK)
        for start in track(starts, "Decoding the training items", len(starts)):
            ids = np.arange(start, min(start + BLOCK, len(split)))
            rows.write(**{IMAGES: pack(ws.codec.decode(split.x(ids).to(ws.device), ws.data.channels))})
        rows.close()

    def cost() -> Cost:
        return Cost(Work(looks=len(split), bytes=int(np.prod(split.pixels.shape))), [ws.prepared, *split.plan_x(False)])

    config = {"codec": ws.codec.describe() | {"identity": dict(ws.codec.identity())}}
    like = f"{ws.cfg.codec.name} {ws.data.resolution}"
    return ws.store.plan("decoded", 1, config, ws.inputs, make, cost=cost, like=like)


def decoded_setting(ws: Workspace) -> Setting:
    """What extractors may use where they are to see training images as generated ones are seen. Their artifacts are
    others than those of the dataset's own images."""
    plan, train = plan_decoded(ws), ws.data.train
    split = DecodedSplit(train.pixels, train.conditions, train.items, train.untold, decoded=plan)
    data = Prepared(split, ws.data.test, ws.data.facts)
    setting = ws.setting()

    def make_plan(stage: str, version: int, config: Mapping[str, Any], build: Build) -> Plan:
        return setting.plan(stage, version, dict(config) | {"images": plan.address}, build)

    return replace(setting, prepared=lambda: data, plan=make_plan)
