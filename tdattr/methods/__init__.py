"""Attribution methods: from (training set, F1, queries) to scores, one column per training item or per group."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tdattr.costs import NO_WORK, Work
from tdattr.counterfactuals import Counterfactuals, Trained
from tdattr.data.preparation import Encode
from tdattr.data.prepared import Prepared
from tdattr.diffusion import Diffusion
from tdattr.features import Setting
from tdattr.features.text import TextEncoder
from tdattr.ids import Ids
from tdattr.networks import Network
from tdattr.queries import Queries
from tdattr.recorder import Recorder
from tdattr.scores import Attributor, Scores, Twins
from tdattr.store import Build, Plan
from tdattr.training.config import ScoringPrecision, TrainConfig, TrainerConfig


@dataclass(frozen=True)
class Context:
    """Everything a method may use."""

    data: Prepared
    ids: Int[np.ndarray, " target"]  # the items that F1 was trained on: the columns of the scores
    queries: Queries  # those that are explained
    diffusion: Diffusion
    f1: Trained  # the trained network
    f0: Callable[[], Network]  # the same network freshly initialised
    initial: Callable[[], Network]  # the same, as the training of F1 begins: with what it trains
    skeleton: Callable[[], Network]  # the same network without numbers, for what its size alone decides
    train: TrainConfig
    trainer: TrainerConfig
    device: torch.device
    seed: int
    setting: Setting  # for everything that looks at images: features of the training items are shared by all models
    plan: Callable[[str, int, Mapping[str, Any], Build], Plan]
    # plan(stage, version, config, build): an artifact that depends on F1, the seed and ``config``
    counterfactuals: Counterfactuals  # models of other training sets, as far as ``needs`` declares them
    member: Callable[[str], "Member"]  # the stored scores of a method that this one ``uses``
    decode: Callable[[Tensor], Tensor]  # the images of x, in [-1, 1]
    encode: Callable[[], Encode] | None = None  # loads what makes conditions of prompts; None: nothing does
    text: Mapping[str, Any] = field(default_factory=dict)  # all that these depend on besides the prompts
    weights: str = "ema"  # which of a training's weights F1 has: raw, or their average, ema
    precision_of_losses: ScoringPrecision | None = None  # None: the method has not declared that it needs losses
    top: int | None = None  # how many of the highest scores the protocol asks for; None: every score
    recorder: Recorder = Recorder()  # what lets others see how a computation goes  # noqa: RUF009

    def count_steps(self, without: Int[np.ndarray, " removed"] | None = None) -> int:
        """How many steps the training of F1 takes, or one without some of its items."""
        left = self.ids if without is None else np.setdiff1d(self.ids, without)
        return self.train.count_steps(len(left))

    def share(self, stage: str, version: int, config: Mapping[str, Any], build: Build) -> Path:
        """The folder of an artifact that depends on F1 and is used by all queries, built where it is missing."""
        return self.plan(stage, version, config, build).get().folder


@dataclass(frozen=True)
class Member:
    """Another method's scores for the same queries, the seconds that each query took, and what the method noted of
    each."""

    scores: Scores
    seconds: float
    facts: Sequence[Mapping[str, float]]


@dataclass(frozen=True)
class Scored:
    """The scores of one query, higher = more influential, and ``facts`` about how they were computed, by name.

    A method with several ``dampings`` gives the scores of each. ``standard_errors``: of the scores, where they are
    estimated from draws. ``twins``: with the scores of items for themselves.
    """

    scores: Float[Tensor, "*damping target"]
    facts: dict[str, float] = field(default_factory=dict)
    standard_errors: Float[Tensor, "*damping target"] | None = None
    twins: Twins | None = None


Scorer = Callable[[int], Scored]  # from the index of a query to its scores


@dataclass(frozen=True)
class MethodWork:
    """What scoring takes: ``query``, for one query, but for the disk that its scores fill; ``setup``, what all queries
    share and nothing keeps; and ``needs``, the artifacts that scoring asks for, F1 among them where it is loaded.
    ``usual``: of a query as a rule, where ``query`` is a bound that is rarely reached."""

    query: Work
    setup: Work = NO_WORK
    needs: Sequence[Plan] = ()
    usual: Work | None = None


@dataclass(frozen=True)
class MethodSetup:
    """What a method may check before anything is trained."""

    network: Network  # at its initialisation
    diffusion: Diffusion
    data: Prepared
    items: int  # that F1 is trained on
    train: TrainConfig
    text: TextEncoder | None = None  # makes conditions of the items' prompts; None: nothing does
    groups: Mapping[str, Ids] = field(default_factory=dict)  # of these items, where the method scores groups
    attributed: Mapping[str, Ids] = field(default_factory=dict)  # those that it scores
    trained: bool = True  # whether F1 is trained here, in that precision
    precision: str = "32-true"
    devices: int = 1  # on which F1 is trained
    query_fields: Collection[str] | None = None  # what is known of every query; None: what is known of the items


class Method(Attributor, ABC):
    """A ``method`` config node: a frozen dataclass whose fields are its constants.

    ``needs``: what it asks of ``Context.counterfactuals``: ``groups``, ``retraining``, ``measures``; how queries were
    generated (``generation``), which is not known of a user's own pictures; and ``losses`` of training items
    (`tdattr.methods.f1_losses`). The address of its scores then contains the groups, how models are trained, the
    measures, or the precision of the losses; what is not declared is refused when it is asked for.
    ``for_pictures``: what to do where it asks how pictures were generated that were not, and ``remedy``: what to change
    where scores are not finite, as the ends of sentences.
    ``signed``: whether a score below zero counts against the query; False: of a similarity, of which only the order
    says something.
    """

    for_pictures: ClassVar[str] = "choose another method"
    remedy: ClassVar[str] = "look for a division or an overflow among its settings, under method"

    @property
    def needs(self) -> frozenset[str]:
        """See the class."""
        return frozenset()

    @property
    def signed(self) -> bool:
        """See the class."""
        return True

    def uses(self) -> Mapping[str, "Method"]:
        """Other methods whose scores it reads, by the name that ``Context.member`` takes."""
        return {}

    def settle(self, top: int | None, items: int) -> "Method":
        """With what it leaves open decided for a protocol that asks for the ``top`` highest of the scores of so many
        items; ``top`` None: for every score."""
        return self

    def compared(self, train: TrainConfig) -> Mapping[str, float]:
        """Those of its settings that runs are compared by, under short names that methods share: ``lambda``, the weight
        of forgetting, and ``unlearning_rate``, the learning rate of unlearning. ``train``: how F1 is trained."""
        return {}

    def check_text(self, text: TextEncoder | None) -> None:
        """Raise UserError where the method does not suit what makes conditions of prompts, None for nothing; before the
        dataset is prepared."""
        return None

    def check_network(self, network: Network) -> None:
        """Raise UserError where the network, which may lie on the meta device, lacks a part that the method trains or
        differentiates; before the dataset is prepared."""
        return None

    def check(self, setup: MethodSetup) -> None:
        """Raise UserError where the method does not suit the network, variant, dataset or number of items."""
        return None

    def check_room(self, outline: Callable[[], Context], root: Path) -> None:
        """Raise UserError where scoring fits neither into the memory of the device nor onto the disk of ``root``, where
        artifacts are; called where the scores are not there yet. ``outline`` makes a context as ``work`` is given."""
        return None

    def warn(self, facts: Mapping[str, float]) -> list[str]:
        """Why its scores may be worse than they could be, in sentences. ``facts``: what it noted of the queries, as
        means over them."""
        return []

    def without(self, context: Context) -> Mapping[str, Trained]:
        """The models without a group by which it scores, by the group: what it has in place of F1 trained on the rest.
        None is trained before it is loaded; of ``context`` the queries may not be there yet."""
        return {}

    def work(self, context: Context) -> MethodWork | None:
        """What ``start`` and scoring take, for ``plan=true``: nothing is computed. Of ``context`` the shapes hold, but
        queries may not be there yet, and no model is loaded. None: unknown."""
        return None

    @abstractmethod
    def start(self, context: Context) -> Scorer:
        """Compute what all queries share, and return the function that scores one."""
