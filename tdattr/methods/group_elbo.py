"""Scores of groups: how much worse the evidence lower bound of a query is under each model than under the full one."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float, Int
from safetensors.torch import load_file, save_file
from torch import Tensor

from tdattr.configs import describe
from tdattr.counterfactuals import Trained
from tdattr.methods import Context
from tdattr.scoring.cells import QueryItems
from tdattr.scoring.elbo import ElboConfig, draw_terms, elbo_terms
from tdattr.seeding import generator
from tdattr.store import Plan, share_out

FILE = "terms.safetensors"


def elbos(context: Context, config: ElboConfig, models: Sequence[Trained]) -> Float[Tensor, "model query term"]:
    """Every KL term of every query under every model; float64. One artifact per model: F1's is computed once.

    With ``config.importance`` the terms that were drawn, weighted so that they sum to the whole on average. A model is
    loaded, and so trained where it must be, only if its artifact is missing; jobs share these out.
    """
    every_term = config.terms(context.diffusion)
    if config.importance is None:
        return terms_at(context, config, every_term, models)
    (sizes,) = terms_at(context, replace(config, importance=None), every_term, [context.f1])
    drawn, weights = draw_terms(sizes.mean(0), config.importance, generator(context.seed, "elbo.importance"))
    return terms_at(context, config, every_term[drawn], models) * weights


def terms_at(
    context: Context, config: ElboConfig, terms: Int[Tensor, " term"], models: Sequence[Trained]
) -> Float[Tensor, "model query term"]:
    """The terms at these indices of the discrete levels, which ``config`` and F1 decide."""

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
        return context.plan("elbo", 2, key, build)

    artifacts = share_out([plan(model) for model in models])
    return torch.stack([load_file(artifact.folder / FILE)["terms"] for artifact in artifacts])


def differences(terms: Float[Tensor, "model query term"]) -> Float[Tensor, "query group"]:
    """Sum over the terms of KL_g - KL_1, the first model being the full one (GUDA)."""
    return (terms[1:] - terms[:1]).sum(2).T
