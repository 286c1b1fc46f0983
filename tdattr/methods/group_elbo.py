"""Scores of groups: how much worse the evidence lower bound of a query is under each model than under the full one."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float, Int
from safetensors.torch import load_file, save_file
from torch import Tensor

from tdattr.configs import describe
from tdattr.costs import Cost, Work
from tdattr.counterfactuals import Trained, train_missing
from tdattr.methods import Context
from tdattr.scoring.cells import QueryItems
from tdattr.scoring.elbo import ElboConfig, draw_terms, elbo_terms
from tdattr.seeding import generator
from tdattr.store import Plan, share_out

FILE = "terms.safetensors"
TERM_BYTES = 8  # of a float64


def elbos(context: Context, config: ElboConfig, models: Sequence[Trained]) -> Float[Tensor, "model query term"]:
    """Every KL term of every query under every model; float64. One artifact per model: F1's is computed once.

    With ``config.importance`` the terms that were drawn, weighted so that they sum to the whole on average. A model is
    loaded, and so trained where it must be, only if its artifact is missing; jobs share these out.
    """
    terms, weights = choose_terms(context, config)
    return terms_at(context, config, terms, models) * weights


def choose_terms(context: Context, config: ElboConfig) -> tuple[Int[Tensor, " term"], Float[Tensor, " term"]]:
    """Those that are visited, and the weights with which they sum to the whole: 1, unless they are drawn."""
    if config.importance is not None:
        return draw_by_importance(context, config)
    every_term = config.terms(context.diffusion)
    return every_term, torch.ones(len(every_term), dtype=torch.float64)


def draw_by_importance(context: Context, config: ElboConfig) -> tuple[Int[Tensor, " drawn"], Float[Tensor, " drawn"]]:
    """The terms that are drawn in proportion to their size under F1, and their weights."""
    assert config.importance is not None
    every_term = config.terms(context.diffusion)
    (sizes,) = terms_at(context, replace(config, importance=None), every_term, [context.f1])
    drawn, weights = draw_terms(sizes.mean(0), config.importance, generator(context.seed, "elbo.importance"))
    return every_term[drawn], weights


def terms_at(
    context: Context, config: ElboConfig, terms: Int[Tensor, " term"], models: Sequence[Trained]
) -> Float[Tensor, "model query term"]:
    """The terms at these indices of the discrete levels, which ``config`` and F1 decide."""
    plans = plan_terms(context, config, terms, models)
    train_missing(models, plans)
    artifacts = share_out(plans)
    return torch.stack([load_file(artifact.folder / FILE)["terms"] for artifact in artifacts])


def plan_elbos(context: Context, config: ElboConfig, models: Sequence[Trained]) -> list[Plan]:
    """What ``elbos`` builds. Which terms it draws by importance is decided by F1's: until these are there, at most so
    many."""
    every_term = config.terms(context.diffusion)
    if config.importance is None:
        return plan_terms(context, config, every_term, models)
    complete = replace(config, importance=None)
    whole = plan_terms(context, complete, every_term, [context.f1])
    if whole[0].finished:
        return [*whole, *plan_terms(context, config, draw_by_importance(context, config)[0], models)]
    most = every_term[: config.importance]
    bounds = []
    for model, drawn in zip(models, plan_terms(context, config, most, models), strict=True):
        cost = Cost(count_terms(context, config, len(most)).bound(True), [*whole, *model.plans])
        bounds.append(drawn.costing(lambda cost=cost: cost))  # type: ignore[misc]
    return [*whole, *bounds]


def count_terms(context: Context, config: ElboConfig, terms: int) -> Work:
    """What so many terms of all queries take under one model."""
    values = len(context.queries) * terms
    return Work(evaluations=values * config.draws, bytes=values * TERM_BYTES)


def plan_terms(
    context: Context, config: ElboConfig, terms: Int[Tensor, " term"], models: Sequence[Trained]
) -> list[Plan]:
    """An artifact of those terms for each model."""

    def plan(model: Trained) -> Plan:
        def build(folder: Path) -> None:
            values = elbo_terms(
                context.diffusion,
                model.load(),
                QueryItems(context.queries),
                config,
                terms,
                context.seed,
                context.trainer.scoring_batch,
                context.device,
                "Evidence lower bounds",
            )
            save_file({"terms": values}, folder / FILE)

        key = {"elbo": describe(config), "of": model.address, "queries": context.queries.address}
        cost = Cost(count_terms(context, config, len(terms)), model.plans)
        return context.plan("elbo", 2, key, build).costing(lambda: cost)

    return [plan(model) for model in models]


def differences(terms: Float[Tensor, "model query term"]) -> Float[Tensor, "query group"]:
    """Sum over the terms of KL_g - KL_1, the first model being the full one (GUDA)."""
    return (terms[1:] - terms[:1]).sum(2).T
