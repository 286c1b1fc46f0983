"""Scores of groups: how much worse the evidence lower bound of a query is under each model than under the full one."""

from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float, Int
from safetensors.torch import load_file, save_file
from torch import Tensor

from tdattr.methods import Build, Context, Trained
from tdattr.scoring.elbo import ElboConfig, drawn, elbo_terms
from tdattr.seeding import generator

FILE = "terms.safetensors"


def elbos(context: Context, config: ElboConfig, models: list[Trained]) -> Float[Tensor, "model query term"]:
    """Every KL term of every query under every model; float64. One artifact per model: F1's is computed once.

    With ``config.importance`` the terms that were drawn, weighted so that they sum to the whole on average.
    """
    everywhere = config.terms(context.diffusion)
    if config.importance is None:
        return terms_at(context, config, everywhere, models)
    (sizes,) = terms_at(context, replace(config, importance=None), everywhere, [context.model])
    chosen, weights = drawn(sizes.mean(0), config.importance, generator(context.seed, "elbo.importance"))
    return terms_at(context, config, everywhere[chosen], models) * weights


def terms_at(
    context: Context, config: ElboConfig, places: Int[Tensor, " term"], models: list[Trained]
) -> Float[Tensor, "model query term"]:
    """The terms at these levels, which ``config`` and F1 decide."""

    def build(model: Trained, folder: Path) -> None:
        found = elbo_terms(
            context.diffusion,
            model.load(),
            context.images,
            context.conditions,
            config,
            places,
            context.seed,
            context.trainer.scoring_batch,
            context.device,
            "Evidence lower bounds",
        )
        save_file({"terms": found}, folder / FILE)

    wanted: list[tuple[dict[str, object], Build]] = [
        ({"elbo": asdict(config), "of": model.address, "queries": context.queries}, partial(build, model))
        for model in models
    ]
    made = context.shared_many("elbo", 1, wanted)  # type: ignore[arg-type]
    return torch.stack([load_file(artifact.folder / FILE)["terms"] for artifact in made])


def differences(terms: Float[Tensor, "model query term"]) -> Float[Tensor, "query group"]:
    """Sum over the terms of KL_g - KL_1, the first model being the full one (GUDA)."""
    return (terms[1:] - terms[:1]).sum(2).T
