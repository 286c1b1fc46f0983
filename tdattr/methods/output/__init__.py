"""Output functions: what of a query is differentiated by the weights of training items, behind one contract."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from tdattr.configs import Node
from tdattr.costs import NUMBER_BYTES, Cost, Work
from tdattr.methods import Context, MethodSetup
from tdattr.methods.gradient_features import count_parameters
from tdattr.networks import Given, Network
from tdattr.store import Plan, share_out

FILE = "derivatives.npy"
PART = "all"  # of the network: what a training changes


class Output(Node, ABC):
    """The base class of ``output`` config nodes, which are frozen dataclasses: one number of a query under a network,
    or several, such as directions in which a picture may move.

    ``needs``: as a method's. ``signed``: whether a score below zero counts against the query. ``counts``: the settings
    that say how many numbers there are, for messages.
    """

    needs: ClassVar[frozenset[str]] = frozenset()
    signed: ClassVar[bool] = True
    counts: ClassVar[str] = "queries.attributed"

    name: str

    @property
    def size(self) -> int:
        """How many numbers of a query there are."""
        return 1

    def check(self, setup: MethodSetup) -> None:
        """Raise UserError where the output does not suit the variant."""
        return None

    @abstractmethod
    def count_evaluations(self, context: Context) -> int | None:
        """How often the network is evaluated for a query; None: the variant does not say."""

    def parts(self, context: Context) -> list[Plan]:
        """The artifacts besides F1 that its values are made of."""
        return []

    @abstractmethod
    def evaluate(self, context: Context, network: Network) -> Float[Tensor, "query direction"]:
        """The numbers of every query under a network in evaluation mode; float64 on the CPU."""

    @abstractmethod
    def differentiate(self, context: Context, network: Network, query: int) -> Float[Tensor, "direction parameter"]:
        """Their derivatives for one query by the parameters of such a network, flattened in the order of
        ``Network.parameter_names``; in the precision of the network and on its device."""

    def score(self, derivatives: Float[Tensor, "query direction item"]) -> Float[Tensor, "query item"]:
        """Scores, of the derivatives by the weights of the items. By default those of a loss: what of it an item takes
        away."""
        return -derivatives[:, 0]

    def plan(self, context: Context) -> list[Plan]:
        """The derivatives under F1, an artifact for each query."""

        @cache
        def network() -> Network:
            return context.f1.load()

        def plan_query(query: int) -> Plan:
            def build(folder: Path) -> None:
                np.save(folder / FILE, self.differentiate(context, network(), query).float().cpu().numpy())

            key = self.describe() | {"queries": context.queries.address, "query": query}
            return context.plan("outputs", 1, key, build).costing(lambda: self.cost(context))

        return [plan_query(query) for query in range(len(context.queries))]

    def cost(self, context: Context) -> Cost:
        """What the derivatives of one query under F1 take."""
        evaluations, needs = self.count_evaluations(context), [*context.f1.plans, *self.parts(context)]
        if evaluations is None:
            return Cost(None, needs)
        kept = self.size * count_weights(context) * NUMBER_BYTES
        return Cost(Work(gradients=self.size * evaluations, bytes=kept), needs)

    def load(self, context: Context) -> Float[Tensor, "output parameter"]:
        """The derivatives under F1: those of the first query, those of the second, and so on; jobs share them out."""
        artifacts = share_out(self.plan(context), "Derivatives of the queries")
        return torch.cat([torch.from_numpy(np.load(artifact.folder / FILE)) for artifact in artifacts])


def count_weights(context: Context) -> int:
    """How many weights a training changes."""
    return count_parameters(context, PART)


class Reweighted(nn.Module):
    """A network with other tensors in the place of some of its parameters."""

    def __init__(self, network: Network, weights: dict[str, Tensor]) -> None:
        super().__init__()
        self.network, self.weights = network, weights

    def forward(self, x: Tensor, c_noise: Tensor, given: Given) -> Tensor:
        """That of the network."""
        return functional_call(self.network, self.weights, (x, c_noise, given))


def differentiate(
    network: Network, compute: Callable[[nn.Module], Float[Tensor, " value"]]
) -> Float[Tensor, "value parameter"]:
    """The derivatives of the values that ``compute`` makes of a network, by its parameters; one pass back for each."""
    weights = {name: network.get_parameter(name).detach().requires_grad_() for name in network.parameter_names(PART)}
    with torch.enable_grad():
        values = compute(Reweighted(network, weights))
        rows = [
            torch.autograd.grad(value, list(weights.values()), retain_graph=True, materialize_grads=True)
            for value in values
        ]
    return torch.stack([torch.cat([part.flatten() for part in row]) for row in rows])
