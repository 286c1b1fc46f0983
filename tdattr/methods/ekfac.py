"""Influence functions with EK-FAC (Grosse et al. 2023, arXiv 2308.03296), of a diffusion model's losses (Mlodozeniec et
al. 2024, arXiv 2410.13850)."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor

from tdattr.configs import describe
from tdattr.costs import NO_WORK, NUMBER_BYTES, Cost, Work
from tdattr.errors import UserError
from tdattr.metagradients.room import FEWER, HELD, Room, check_room
from tdattr.methods import Context, MethodWork, Scored, Scorer
from tdattr.methods.gradient_features import Differentiating, count_parameters, open_gradients
from tdattr.methods.kept_items import load_items, save_items
from tdattr.networks import Network
from tdattr.ranges import Positive
from tdattr.scoring.cells import Items, QueryItems, TrainingItems
from tdattr.scoring.ekfac import Curvature, count_curvature, find_names, fit
from tdattr.scoring.gradients import GradientConfig, Gradients, items_together
from tdattr.scoring.layer_gradients import is_product
from tdattr.scoring.projection import spans
from tdattr.store import Plan

log = logging.getLogger(__name__)
CURVATURE, FILE = "curvature.safetensors", "influences.safetensors"
LEFT_OUT = "parameters_left_out"  # the name of a fact: a share of those that are asked for


@dataclass(frozen=True)
class EKFAC(Differentiating):
    """∇L(query) (G + damping)⁻¹ ∇L(item) / n, where G is the Gauss-Newton matrix of the mean loss of the n items, by
    EK-FAC: what leaving the item out adds to the query's loss, if the training has ended at a minimum.

    ``damping``: this multiple of the mean eigenvalue of a layer. Parameters outside of linear layers and convolutions
    are left out.
    """

    name: str
    gradients: GradientConfig
    damping: Positive

    def __post_init__(self) -> None:
        check_whole(self.gradients, "ekfac divides")

    def check_network(self, network: Network) -> None:
        """The part must have layers that it knows. Raises UserError."""
        super().check_network(network)
        check_layers(network, network.parameter_names(self.gradients.parameters), self.name)

    def check_room(self, outline: Callable[[], Context], root: Path) -> None:
        """The curvature and the derivatives of all queries must fit; what they take is said. Raises UserError."""
        context = outline()
        if self.plan(context).finished:
            return
        check_double(context.device, self.name)
        network, part = context.skeleton(), self.gradients.parameters
        curvature, size = count_curvature(network, network.parameter_names(part)), count_parameters(context, part)
        needed = Room(HELD * (curvature + len(context.queries) * size * NUMBER_BYTES), curvature)
        remedy = f"lower queries.attributed, {FEWER}"
        check_room(needed, context.device, root, remedy, "The curvature of ekfac")

    def work(self, context: Context) -> MethodWork:
        """All queries at once."""
        return MethodWork(NO_WORK, needs=[self.plan_curvature(context), self.plan(context)])

    def start(self, context: Context) -> Scorer:
        """The influences on all queries."""
        scores, facts = load_items(self.plan(context).get().folder / FILE)
        if facts[LEFT_OUT]:
            log.info("ekfac leaves out %.1f %% of the parameters, outside of its layers.", 100 * facts[LEFT_OUT])
        return lambda query: Scored(scores[query], facts)

    def plan_curvature(self, context: Context) -> Plan:
        """Of F1, for all queries and dampings."""
        items = TrainingItems(context.data.train, context.ids)

        def build(folder: Path) -> None:
            gradients = open_gradients(context, context.f1.load(), self.of_items)
            gradients = replace(gradients, names=find_names(gradients, items), unexplained={})
            save_file(fit(gradients, items, context.seed).tensors(), folder / CURVATURE)

        cost = Cost(Work(gradients=2 * len(items) * self.gradients.draws, unsized=True), context.f1.plans, self.name)
        return context.plan("ekfac", 1, describe(self.of_items), build).costing(lambda: cost)

    def plan(self, context: Context) -> Plan:
        """The influences of the items on all queries."""
        items, queries = TrainingItems(context.data.train, context.ids), QueryItems(context.queries)

        def build(folder: Path) -> dict[str, Any]:
            stored = load_file(self.plan_curvature(context).get().folder / CURVATURE)
            gradients = open_gradients(context, context.f1.load(), self.of_items)
            covered = replace(gradients, names=find_names(gradients, items), unexplained={})
            of_queries = replace(covered, config=self.gradients, unexplained={})
            directions = of_queries.of_items(queries, slice(0, len(queries)))
            Curvature.of(stored, context.device).solve(covered.by_name(directions), self.damping)
            scores = along(covered, items, directions).T / len(items)
            facts = {LEFT_OUT: 1 - covered.size / gradients.size}
            save_items(folder / FILE, scores, facts)
            return facts

        cost = Cost(
            Work(
                gradients=(len(items) + len(queries)) * self.gradients.draws,
                bytes=len(items) * len(queries) * NUMBER_BYTES,
            ),
            [*context.f1.plans, self.plan_curvature(context)],
            self.name,
        )
        key = describe(self.gradients) | {"damping": self.damping, "queries": context.queries.address}
        return context.plan("influences", 1, key, build).costing(lambda: cost)


def check_whole(config: GradientConfig, does: str) -> None:
    """Raise UserError where gradients are projected or normalised. ``does``: what a method does to them, for the
    message."""
    if config.projection.kind != "none" or config.normalise:
        raise UserError(f"{does} whole gradients: leave method.gradients.projection.kind=none and normalise=false.")


def check_layers(network: Network, names: Sequence[str], method: str) -> None:
    """Raise UserError, in the name of a method, where none of the parameters is of a layer that EK-FAC knows."""
    known = {f"{prefix}.weight".lstrip(".") for prefix, each in network.named_modules() if is_product(each)}
    if not known.intersection(names):
        raise UserError(
            f"{method} knows linear layers and convolutions, and what is differentiated has none: change "
            "method.gradients.parameters."
        )


def check_double(device: torch.device, method: str) -> None:
    """Raise UserError, in the name of a method, where the device does not compute in double precision."""
    if device.type == "mps":
        raise UserError(f"{method} computes in double precision, which mps does not: set trainer.accelerator=cpu.")


def along(
    gradients: Gradients, items: Items, directions: Float[Tensor, "query parameter"]
) -> Float[Tensor, "item query"]:
    """The inner products with the items' gradients, of which as many are held at a time as fit."""
    parts = spans(len(items), items_together(gradients.size))
    products = [gradients.of_items(items, part, "Gradients of the items") @ directions.T for part in parts]
    return torch.cat(products)
