"""The queries of a run: the generated images that are explained, and how they lie in an artifact."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Shaped
from safetensors.torch import load_file, save_file
from torch import Tensor

from tdattr.configs import Settings
from tdattr.errors import UserError
from tdattr.experiments import ITSELF
from tdattr.ranges import Count, CountOrZero, PositiveOrZero
from tdattr.seeding import generator
from tdattr.store import Artifact
from tdattr.tables import DataFrame

SAMPLED = "images.safetensors"
TABLE = "queries.csv"


@dataclass(frozen=True)
class QueriesConfig(Settings):
    """The ``queries`` node: how many images F1 generates to be explained, and how.

    ``prompts``, a file, or one ``prompt`` takes the place of the test split. ``where``: by the key of a line of the
    file, which values are used; None: all. ``conditions``: what the images show, as values of a field of the items, in
    turn. ``seeds``: the numbers of the noise that each image comes from; None: 0, 1, 2, …

    ``images``, files and folders, takes the place of what F1 generates. What they show is said by one ``condition`` or
    ``prompt`` for all, by a file of ``captions``, or by the names of the files.

    ``explained``: with a method whose ``self`` is set it is ``itself``, and nothing is generated.
    """

    attributed: Count
    controls: CountOrZero
    guidance: PositiveOrZero | None
    batch_size: Count
    explained: Literal["attributed", "controls", "itself"]
    prompts: str | None
    prompt: str | None
    where: dict[str, list[str]] | None
    conditions: list[CountOrZero | str] | None
    seeds: list[CountOrZero] | None
    images: Any  # str | list[str] | None, a union that OmegaConf does not know; a number, where a name looks like one
    captions: str | None
    condition: str | None

    def __post_init__(self) -> None:
        if self.explained == ITSELF and (chosen := [*self.chosen, *self.told]):
            raise UserError(f"method.self=true asks about no pictures: leave out queries.{chosen[0]}.")
        if self.explained == "controls" and self.images is not None:
            raise UserError("queries.explained=controls has no effect with queries.images, all of which are explained.")
        if self.explained == "controls" and self.seeds is not None:
            raise UserError("queries.explained=controls has no effect with queries.seeds, all of which are explained.")
        if self.explained == "controls" and self.controls < 1:
            raise UserError("queries.explained=controls needs queries.controls of at least 1.")
        if self.prompts is not None and self.prompt is not None:
            raise UserError(
                f"queries.prompts={self.prompts} and queries.prompt are both given: set queries.prompts=null, or leave "
                "queries.prompt out."
            )
        if self.prompt is not None and not self.prompt.strip():
            raise UserError("queries.prompt is empty: write what the queries are to show, or leave it out.")
        read_paths(self.images)
        if self.seeds is not None and (not self.seeds or len(set(self.seeds)) < len(self.seeds)):
            raise UserError("queries.seeds must name numbers that all differ, such as [0,1,2].")
        if self.conditions is not None and not self.conditions:
            raise UserError("queries.conditions is empty: name what the images are to show, or leave it out.")
        if self.images is not None and len(self.told) > 1:
            first, second, *_ = self.told
            raise UserError(f"queries.{first} and queries.{second} both say what the pictures show: leave one out.")

    def unread(self) -> dict[str, str]:
        """What is for generated images, where the user brings pictures, and the other way round; which lines of a file
        are used, where there is none; and numbers of images that follow from others."""
        if self.explained == ITSELF:
            every = (entry.name for entry in fields(self) if entry.name != "explained")
            return dict.fromkeys(every, f"explained={ITSELF}")
        unread = {} if self.prompts is not None else {"where": "prompts=null"}
        if self.images is not None:
            names = ("attributed", "controls", "batch_size", "guidance", "prompts", "conditions", "seeds")
            return unread | dict.fromkeys(names, "images")
        unread |= dict.fromkeys(("captions", "condition"), "images=null")
        if self.seeds is not None:
            unread |= dict.fromkeys(("attributed", "controls"), "seeds")
        return unread

    @property
    def chosen(self) -> list[str]:
        """The settings that choose other queries than those that F1 generates for the items."""
        said = {"images": self.images, "seeds": self.seeds, "prompts": self.prompts, "conditions": self.conditions}
        return [name for name, value in said.items() if value is not None]

    @property
    def told(self) -> list[str]:
        """The settings that say what pictures show."""
        said = {"prompt": self.prompt, "condition": self.condition, "captions": self.captions}
        return [name for name, value in said.items() if value is not None]

    @property
    def generated(self) -> int:
        """How many images are generated."""
        return self.attributed + self.controls

    @property
    def numbers(self) -> list[int]:
        """The number of the noise that each generated image comes from."""
        return list(range(self.generated)) if self.seeds is None else self.seeds

    @property
    def indices(self) -> slice:
        """Which of the generated images a method explains."""
        return slice(self.attributed, self.generated) if self.explained == "controls" else slice(0, self.attributed)

    @property
    def count(self) -> int:
        """How many images a method explains."""
        return self.indices.stop - self.indices.start


def read_paths(images: Any) -> list[str]:
    """The paths of ``queries.images``, one or a list; none of None. Raises UserError for an empty one, an empty list,
    and what is no text or number."""
    if images is None:
        return []
    paths = images if isinstance(images, list) else [images]
    named = [path for path in paths if isinstance(path, (str, int, float)) and not isinstance(path, bool)]
    if not paths or len(named) < len(paths) or not all(str(path).strip() for path in named):
        raise UserError(f"queries.images={images} must be a picture, a folder of pictures, or a list of both.")
    return [str(path) for path in named]


@dataclass(frozen=True)
class Queries:
    """Items being explained."""

    x: Float[Tensor, "query *x"]  # what the network sees: as the sampler left it, not clamped (MUCS code)
    images: Float[Tensor, "query channel height width"]  # what people and feature extractors see, in [-1, 1]
    conditions: Shaped[Tensor, "query *condition"] | None
    items: DataFrame  # what is known of the item that each takes its condition from: its id and fields
    address: str  # what stands for them in the address of an artifact
    indices: slice  # which of the run's generated images they are
    guidance: float | None = None  # the weight with which they were generated; None: without
    numbers: tuple[int, ...] = ()  # of the noise that each comes from; none of pictures that were not generated,
    names: tuple[str, ...] = ()  # which have names in their place

    def __len__(self) -> int:
        return len(self.images)

    @property
    def labels(self) -> list[str]:
        """What each is called: a picture by its name, a generated image by its place among the explained ones."""
        return list(self.names) or [f"query {index}" for index in range(len(self))]

    def select(self, indices: slice) -> "Queries":
        """Some of them."""
        return Queries(
            self.x[indices],
            self.images[indices],
            None if self.conditions is None else self.conditions[indices],
            self.items.iloc[indices],
            f"{self.address}/{indices.start}-{indices.stop}",
            slice(self.indices.start + indices.start, self.indices.start + indices.stop),
            self.guidance,
            self.numbers[indices],
            self.names[indices],
        )


def query_generator(seed: int, number: int) -> np.random.Generator:
    """The noise of that number, which one of the run's generated images comes from."""
    return generator(seed, "query", number)


def save_sampled(
    folder: Path, x: Float[Tensor, "query *x"], images: Float[Tensor, "query channel height width"]
) -> None:
    """Write what a ``generate`` artifact holds of its queries."""
    save_file({"x": x.contiguous(), "images": images.contiguous()}, folder / SAMPLED)


def load_x(generated: Artifact) -> Float[Tensor, "query *x"]:
    """The x of a ``generate`` artifact, as the sampler left it."""
    return load_file(generated.folder / SAMPLED)["x"]


def load_images(generated: Artifact) -> Float[Tensor, "query channel height width"]:
    """The images of a ``generate`` artifact, in [-1, 1]."""
    return load_file(generated.folder / SAMPLED)["images"]
