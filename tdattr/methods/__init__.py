"""Attribution methods: from (training set, F1, queries) to scores, one column per training item."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tdattr.data.prepared import Prepared
from tdattr.diffusion import Diffusion
from tdattr.features import Setting
from tdattr.protocols import Scores
from tdattr.training.config import TrainConfig, TrainerConfig

Build = Callable[[Path], Mapping[str, Any] | None]


@dataclass(frozen=True)
class Trained:
    """A trained or unlearned network: what stands for it in an address, its folder, and a new copy of it."""

    address: str
    folder: Path
    load: Callable[[], nn.Module]


@dataclass(frozen=True)
class Context:
    """Everything a method may use."""

    data: Prepared
    ids: Int[np.ndarray, " target"]  # the items that F1 was trained on: the columns of the scores
    images: Float[Tensor, "query channel height width"]  # the generated images, in [-1, 1]
    conditions: Float[Tensor, "query condition"] | None
    items: pd.DataFrame  # what is known of the item that each query takes its condition from: its id and fields
    diffusion: Diffusion
    f1: Callable[[], nn.Module]  # a new copy of the trained network, in evaluation mode on the device
    f0: Callable[[], nn.Module]  # the same network freshly initialised
    train: TrainConfig
    trainer: TrainerConfig
    device: torch.device
    seed: int
    setting: Setting  # for everything that looks at images: features of the training items are shared by all models
    shared: Callable[[str, int, Mapping[str, Any], Callable[[Path], Mapping[str, Any] | None]], Path]
    # shared(stage, version, config, build): the folder of an artifact that depends on F1 and is used by all queries
    shared_many: Callable[[str, int, list[tuple[Mapping[str, Any], Build]]], list["Trained"]]
    # several of them, which jobs that want the same share out
    model: "Trained"  # F1
    queries: str  # what stands for the queries in the address of an artifact
    groups: Callable[[], dict[str, Int[np.ndarray, " _id"]]]  # of the items that F1 was trained on
    retrained: Callable[[list[Int[np.ndarray, " _id"]], int, int], list[list["Trained"]]]
    # retrained(removals, first, repeats): models without those ids, under the seeds from the run's + first on
    regenerated: Callable[[Int[np.ndarray, " id"]], Float[Tensor, "query channel height width"]]
    # the queries as the model without those ids generates them
    member: Callable[[str], "Member"]  # the stored scores of a method below ``members`` of this one's node


@dataclass(frozen=True)
class Member:
    """Another method's scores for the same queries, and the seconds that each query took."""

    scores: Scores
    seconds: float


@dataclass(frozen=True)
class Scored:
    """The scores of one query, higher = more influential, and what is worth noting about how they came about.

    A method with several ``dampings`` gives the scores of each.
    """

    scores: Float[Tensor, "*damping target"]
    facts: dict[str, float] = field(default_factory=dict)


Scorer = Callable[[int], Scored]  # from the number of a query to its scores


class Method(Protocol):
    """A ``method`` config node."""

    def check(self, network: nn.Module, data: Prepared, items: int) -> None:
        """Raise UserError where the method cannot serve this network, dataset or so few items; before any training."""
        ...

    def start(self, context: Context) -> Scorer:
        """Do what all queries share, and return the function that scores one."""
        ...
