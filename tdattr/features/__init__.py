"""Features: from images to vectors, by networks that were trained elsewhere or on the dataset's own groups."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tdattr.configs import Node, walk
from tdattr.costs import Cost, Work
from tdattr.data.prepared import Prepared, Split
from tdattr.errors import Unavailable, UserError
from tdattr.features.text import TextEncoder
from tdattr.progress import track
from tdattr.rows import Rows
from tdattr.store import Build, Plan

Images = Float[Tensor, "batch channel height width"]  # in [-1, 1], gray or colour, on any device
Embed = Callable[[Images], Float[Tensor, "batch feature"]]


@dataclass(frozen=True)
class Setting:
    """What extractors and measures may use."""

    prepared: Callable[[], Prepared]  # the dataset, prepared when it is first needed
    device: torch.device
    batch_size: int
    seed: int
    download: bool  # whether weights may be fetched from a model hub
    plan: Callable[[str, int, Mapping[str, Any], Build], Plan]
    # plan(stage, version, config, build): an artifact that depends on the dataset alone
    weightless: bool = False  # nothing is computed: weights may be missing, and nothing is known of them then

    @property
    def data(self) -> Prepared:
        """The dataset."""
        return self.prepared()

    def shared(self, stage: str, version: int, config: Mapping[str, Any], build: Build) -> Path:
        """The folder of such an artifact, built where it is missing."""
        return self.plan(stage, version, config, build).get().folder


class Loadable(Node, ABC):
    """A config node that looks at images: an extractor or a measure.

    ``packages``: those whose code decides what it computes; their versions are in the address of its results.
    """

    packages: ClassVar[tuple[str, ...]] = ()

    def identity(self, setting: Setting) -> Mapping[str, str]:
        """What its numbers depend on besides the node's own values: the digests of weight files, for example.

        Called before anything is computed. Raises UserError, saying which file is expected where and how to fetch it,
        and TypeError where a class leaves fields unaddressed and does not say here what they stand for.
        """
        hidden = set(self.unaddressed) - {"name"}
        if hidden:
            raise TypeError(f"{type(self).__name__}.identity must say what {', '.join(sorted(hidden))} stand for")
        return {}

    def describe_with_identity(self, setting: Setting) -> dict[str, Any]:
        """All that its numbers depend on: its values, its identity and the versions of packages."""
        return self.describe() | {"identity": self.identity_with_versions(setting)}

    def identity_with_versions(self, setting: Setting) -> dict[str, str]:
        """Its identity, and the versions of the packages of itself and of what it looks through."""
        parts = [self, *(part for _, part in walk(self) if isinstance(part, Loadable))]
        packages = sorted({package for part in parts for package in part.packages})
        try:
            identity = dict(self.identity(setting))
        except Unavailable:
            if not setting.weightless:
                raise
            identity = {"weights": "missing"}
        return identity | {f"version of {package}": version(package) for package in packages}

    def artifacts(self, setting: Setting) -> Sequence[Plan]:
        """What ``load`` builds where it is missing."""
        return [plan for _, part in walk(self) if isinstance(part, Loadable) for plan in part.artifacts(setting)]

    @abstractmethod
    def load(self, setting: Setting) -> Callable[..., Tensor]:
        """What it computes, as a function."""


class Extractor(Loadable):
    """An ``extractor`` config node."""

    name: str

    @abstractmethod
    def load(self, setting: Setting) -> Embed:
        """The function from a batch of images to their vectors, one per image, of any length."""


def identities(node: Node, setting: Setting) -> dict[str, Any]:
    """The identities and versions of all extractors and measures, and the identities of all text encoders, inside a
    config node, by dotted name."""
    found = {name: part.identity_with_versions(setting) for name, part in walk(node) if isinstance(part, Loadable)}
    return found | {name: identity_of_text(part, setting) for name, part in walk(node) if isinstance(part, TextEncoder)}


def identity_of_text(encoder: TextEncoder, setting: Setting) -> dict[str, str]:
    """The identity of a text encoder."""
    try:
        return dict(encoder.identity())
    except Unavailable:
        if not setting.weightless:
            raise
        return {"weights": "missing"}


def unit_vectors(embed: Embed, images: Images, setting: Setting) -> Float[Tensor, "image feature"]:
    """The vectors of some images, of length 1, in float32 on the CPU; computed ``setting.batch_size`` at a time."""
    return torch.cat([torch.nn.functional.normalize(part, dim=1) for part in embed_batches(embed, images, setting)])


def embed_batches(embed: Embed, images: Images, setting: Setting) -> Iterator[Float[Tensor, "batch feature"]]:
    """The vectors of some images as the network gives them, batch by batch, in float32 on the CPU.

    Raises UserError where they are not finite.
    """
    for part in images.split(setting.batch_size):
        with torch.inference_mode():
            vectors = embed(part.to(setting.device)).float().cpu()
        if not vectors.isfinite().all():
            raise UserError(
                "A feature extractor gives vectors that are not finite: give it other weights, or choose another one."
            )
        yield vectors


def training_vectors(extractor: Extractor, embed: Embed, setting: Setting) -> Float[np.ndarray, "item feature"]:
    """The vectors of all training items, of length 1. ``embed``: the loaded extractor."""
    return np.load(plan_vectors(extractor, embed, setting).get().folder / "train_features.npy", mmap_mode="r")


def plan_vectors(extractor: Extractor, embed: Embed | None, setting: Setting) -> Plan:
    """Those vectors: an artifact, computed in blocks that survive a kill. ``embed``: None where it is not built."""

    def build(folder: Path) -> None:
        assert embed is not None
        split = setting.data.train
        rows = Rows(folder, "train", len(split))
        for images in blocks(split, setting.batch_size, f"Features ({extractor.name})", rows.done):
            rows.write(features=unit_vectors(embed, images, setting).numpy())
        rows.close()

    config = extractor.describe_with_identity(setting)
    plan = setting.plan("features", 2, config, build)
    cost = Cost(Work(looks=len(setting.data.train), unsized=True), extractor.artifacts(setting), extractor.name)
    return replace(plan, like=extractor.name, cost=lambda: cost)


def blocks(split: Split, size: int, description: str, start: int = 0) -> Iterator[Images]:
    """The images of a split from item ``start`` on, block by block, with a progress bar."""
    starts = range(start, len(split), size)
    for first in track(starts, description, len(starts)):
        yield split.images(np.arange(first, min(first + size, len(split))))
