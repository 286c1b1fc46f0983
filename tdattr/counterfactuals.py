"""Models of other training sets, as methods and protocols ask for them; ``tdattr.pipeline`` makes them."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from torch import Tensor

from tdattr.ids import Ids
from tdattr.networks import Network
from tdattr.store import Plan, share_out
from tdattr.tables import DataFrame
from tdattr.wording import counted

if TYPE_CHECKING:
    from tdattr.training.teacher import Teacher

NEEDS = ("groups", "retraining", "measures", "generation")  # what a method or protocol must declare before it gets it


@dataclass(frozen=True)
class Trained:
    """A trained or unlearned network. It has an address before it is there: ``load`` trains it where it must."""

    address: str
    load: Callable[[], Network]  # a new copy, in evaluation mode on the device
    plans: Sequence[Plan] = ()  # what ``load``, or running it on items, builds where it is missing


def train_missing(models: Sequence[Trained], plans: Sequence[Plan]) -> None:
    """Train those of the models, some at once, that can be and whose plan of the same place is missing."""
    missing = [model for model, plan in zip(models, plans, strict=True) if not plan.finished]
    trainings = {part.name: part for model in missing for part in model.plans if part.joint is not None}
    if len(trainings) > 1:
        share_out(list(trainings.values()))


@dataclass(frozen=True)
class Undecided:
    """A removal that scores decide which are not there yet: of at least ``least`` items. Those that are decided ``by``
    the same are the same."""

    by: str
    least: int


@dataclass(frozen=True)
class Generated:
    """The run's queries as one model generates them, the attributed ones first, and the name of their artifact."""

    images: Float[Tensor, "query channel height width"]
    artifact: str


def name_removal(removed: Ids, groups: Mapping[str, Ids]) -> str:
    """What a removal takes away, for messages: ``serif (224 items)``, ``3 groups (400 items)`` or ``27 items``."""
    items = counted(len(removed), "item")
    whole = [name for name, ids in groups.items() if len(ids) and np.isin(ids, removed).all()]
    if not whole or sum(len(groups[name]) for name in whole) != len(removed):
        return items
    return f"{whole[0] if len(whole) == 1 else f'{len(whole)} groups'} ({items})"


class Undeclared(TypeError):
    """A method or protocol asks for something that is not in its ``needs``: its results would not depend on it."""


class Counterfactuals(ABC):
    """What would be without some of the training items.

    ``needs``: which of NEEDS the one who asks has declared; the address of its results contains what belongs to them.
    """

    needs: frozenset[str]

    def require(self, need: str) -> None:
        """Raise Undeclared unless ``need`` was declared."""
        if need not in self.needs:
            raise Undeclared(f"add {need!r} to `needs` of the class that asks for it, so that its results depend on it")

    @property
    @abstractmethod
    def seed(self) -> int:
        """The seed of the run."""

    @abstractmethod
    def groups(self) -> dict[str, Ids]:
        """The groups of the training items that F1 has seen and that are attributed, by name. Needs ``groups``."""

    @abstractmethod
    def all_groups(self) -> dict[str, Ids]:
        """Also those that are not attributed. Needs ``groups``."""

    @abstractmethod
    def items(self) -> DataFrame:
        """What is known of the training items that F1 has seen, a row each."""

    @abstractmethod
    def original(self) -> Generated:
        """The run's queries as F1 generates them, the controls too."""

    @abstractmethod
    def train(self, removals: Sequence[Ids | Undecided], *, repeats: int = 1, first: int = 0) -> list[list[Trained]]:
        """The models without each of those sets of ids, ``repeats`` of each: under the run's seed + ``first`` and the
        seeds after it. Nothing is trained before a model is loaded; one without a set that is not decided can only be
        planned. Needs ``retraining``."""

    @abstractmethod
    def teacher(self, teacher: "Teacher") -> Trained:
        """A model of the items that F1 has seen whose condition is the groups of an item. Needs ``groups``."""

    @abstractmethod
    def regenerate(self, removals: Sequence[Ids]) -> list[Generated]:
        """The run's queries, from their own seeds, as the models without each of those sets generate them; jobs that
        want the same share the work. Needs ``retraining`` and ``generation``."""

    @abstractmethod
    def plan_regenerated(self, removals: Sequence[Ids | Undecided]) -> Sequence[Plan]:
        """What ``regenerate`` builds for each of them. Needs ``retraining`` and ``generation``."""

    @abstractmethod
    def plan_query_losses(self, models: Sequence[Trained], draws: int) -> Sequence[Plan]:
        """What ``query_losses`` builds."""

    @abstractmethod
    def query_losses(self, models: Sequence[Trained], draws: int) -> Float[np.ndarray, "model query"]:
        """The loss of every explained query under each model, a mean over ``draws`` levels and noise images of the
        training distribution that are the same for all queries and models."""

    @abstractmethod
    def similarities(
        self, first: Float[Tensor, "query channel height width"], second: Float[Tensor, "query channel height width"]
    ) -> dict[str, Float[np.ndarray, " query"]]:
        """How alike the images of each pair are, by every measure of the run; higher = more alike. Needs
        ``measures``."""
