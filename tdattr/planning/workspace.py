"""A workspace in which nothing is built: a dataset that is not there yet is outlined, as far as it is known."""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped
from omegaconf import DictConfig

from tdattr.costs import Cost, Work
from tdattr.data.preparation import check_counts, collect_rows
from tdattr.data.prepared import SPLITS, Example, Outline, Prepared, Source, Split
from tdattr.errors import Unavailable, UserError
from tdattr.features import Setting
from tdattr.features.text import TextEncoder
from tdattr.networks import Network
from tdattr.pipeline.open import open_as, pick_device
from tdattr.pipeline.prompted import plan_conditions
from tdattr.pipeline.workspace import Workspace
from tdattr.store import Artifact, Plan

log = logging.getLogger(__name__)
GPUS = ("gpu", "mps")  # accelerators that may be elsewhere
READING = "seconds"  # in the facts of a dataset that is outlined from its files: what reading them all takes
IMAGES_READ = 16  # by which that is measured


@dataclass(eq=False)
class PlannedWorkspace(Workspace):
    """A workspace of a plan, which looks at no more than it must."""

    @cached_property
    def prepared(self) -> Plan:
        """The dataset's artifact. Where its raw files, or a text encoder's, are not here, what stands for it: it has no
        address, and no other plan finds anything that is made of it."""
        try:
            return super().prepared
        except UserError as error:
            source, text = self.dataset.source, self.dataset.text
            if source.outline(SPLITS[0]) is None:
                raise
            log.warning("The dataset is counted by what its settings say. %s", error)
        config = source.describe() | {"text": None if text is None else text.describe()}
        return self.store.plan("dataset", 0, config, {}, refuse, cost=self.cost_of_data)

    @cached_property
    def data(self) -> Prepared:
        """The prepared dataset, or as much as is known of it."""
        if self.prepared.finished:
            return super().data
        data = outline_data(self.dataset.source, self.dataset.text, self.prepared)
        check_counts(data.facts["count"], self.dataset.counts, self.dataset.name)
        return self.attach_latents(data)

    def encode(self, rows: list[dict[str, str]], text: TextEncoder) -> Shaped[np.ndarray, "row *condition"]:
        """Blank where the conditions of these prompts are not stored: nothing is encoded."""
        try:
            if plan_conditions(self.store, rows, text, self.device).finished:
                return super().encode(rows, text)
        except Unavailable:
            log.warning("The weights that encode prompts are not here: nothing is found that was made with them.")
        return np.broadcast_to(np.zeros((), text.kind), (len(rows), text.width))

    def cost_of_data(self) -> Cost:
        """Every image is read once, and what is seen of it kept."""
        splits = (self.data.train, self.data.test)
        pixels = sum(int(np.prod(split.pixels.shape)) for split in splits)
        conditions = sum(split.conditions.nbytes for split in splits if split.conditions is not None)
        return Cost(Work(looks=sum(map(len, splits)), bytes=pixels + conditions), what=self.dataset.name)

    def skeleton(self) -> Network:
        """The network on the meta device, built once for all jobs that have the same one: only its shapes are read."""
        if self.size not in skeletons:
            skeletons[self.size] = super().skeleton()
        return skeletons[self.size]

    def setting(self, used: list[Artifact] | None = None) -> Setting:
        """Nothing is fetched, and weights may be missing."""
        return replace(super().setting(used), download=False, weightless=True)


skeletons: dict[str, Network] = {}  # by the size of the network


def refuse(folder: Path) -> Mapping[str, Any]:
    """What builds the artifact that stands for a dataset whose files are not here."""
    raise TypeError("a dataset that is only outlined cannot be built")


def open_planned(cfg: DictConfig) -> PlannedWorkspace:
    """The workspace of a composed config, also on a machine without its GPU. Raises UserError as a run does."""
    absent = False
    if cfg.trainer.accelerator in GPUS:
        try:
            pick_device(cfg.trainer.accelerator)
        except UserError:
            cfg.trainer.accelerator, absent = "cpu", True
    ws = open_as(PlannedWorkspace, cfg)
    ws.absent = absent
    return ws


outlined: dict[str, Prepared] = {}  # by name: most jobs of a sweep have the same dataset


def outline_data(source: Source, text: TextEncoder | None, plan: Plan) -> Prepared:
    """A dataset of blank items: their number, sizes and fields are right. Raises UserError where raw files that are
    here cannot be read."""
    if plan.name not in outlined:
        here, started = plan.key["version"] > 0, time.perf_counter()
        outlines = {split: read_outline(source, split) if here else source.outline(split) for split in SPLITS}
        splits = {split: blank(outline, text) for split, outline in outlines.items() if outline is not None}
        counts = {name: len(split) for name, split in splits.items()}
        facts: dict[str, Any] = {"count": counts, "content": f"outlined {plan.name}"}
        if here and text is None:
            listing = time.perf_counter() - started
            facts[READING] = listing + sum(counts.values()) * clock_reading(source)
        outlined[plan.name] = Prepared(splits["train"], splits["test"], facts)
    return outlined[plan.name]


def clock_reading(source: Source) -> float:
    """Seconds to read one image, from the first few."""
    examples = list(islice(source.examples(SPLITS[0]), IMAGES_READ))
    started = time.perf_counter()
    for example in examples:
        example.read()
    return (time.perf_counter() - started) / len(examples)


def read_outline(source: Source, split: str) -> Outline:
    """The outline of a split from its raw files, of which one image is read."""
    import pandas as pd

    rows: list[dict[str, Any]] = []
    first: Example | None = None
    for example in collect_rows(source.examples(split), rows):
        first = example if first is None else first
    if first is None:
        if split == SPLITS[0]:
            raise UserError("The dataset has no training images.")
        train = read_outline(source, SPLITS[0])
        return replace(train, items=train.items.iloc[:0])
    image = first.read()
    side = source.window
    shape = image.shape if side is None else (side, side, image.shape[2])
    condition = None if first.condition is None else first.condition.shape
    return Outline(pd.DataFrame(rows), (shape[0], shape[1], shape[2]), condition)


def blank(outline: Outline, text: TextEncoder | None) -> Split:
    """A split of blank items, which take no memory."""
    count, condition = len(outline.items), outline.condition
    if text is not None:
        prompts = [name for name in outline.items.columns if str(name).startswith("prompt")]
        condition = (len(prompts), text.width)
    pixels = np.broadcast_to(np.zeros((), np.uint8), (count, *outline.shape))
    kind = np.float32 if text is None else text.kind
    conditions = None if condition is None else np.broadcast_to(np.zeros((), kind), (count, *condition))
    return Split(pixels, conditions, outline.items)
