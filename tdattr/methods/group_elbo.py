"""Scores of groups: how much worse the evidence lower bound of a query is under each model than under the full one."""

from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor

from tdattr.methods import Build, Context, Trained
from tdattr.scoring.elbo import ElboConfig, elbo_terms

FILE = "terms.safetensors"


def elbos(context: Context, config: ElboConfig, models: list[Trained]) -> Float[Tensor, "model query term"]:
    """Every KL term of every query under every model; float64. One artifact per model: F1's is computed once."""

    def build(model: Trained, folder: Path) -> None:
        found = elbo_terms(
            context.diffusion,
            model.load(),
            context.images,
            context.conditions,
            config,
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
