"""TRAK, D-TRAK and DAS against the references' kernels, scores, projections and linear datamodeling score."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from tdattr.methods.das import das_scores, residuals
from tdattr.protocols.lds import LDS, prediction
from tdattr.scoring.gradients import Stacked
from tdattr.scoring.kernel import Kernel, decompose, load_kernel
from tdattr.scoring.projection import ProjectionConfig, project
from tests.parity.golden import golden

PLAIN = ProjectionConfig("none", 8, 1)


def kernel(phi: Tensor, folder: Path) -> Kernel:
    """The kernel of features that are given."""
    np.save(folder / "phi.npy", phi.numpy())
    features = Stacked([folder / "phi.npy"], [0, len(phi)], phi.shape[1])
    decompose(features, folder)
    return load_kernel(features, folder)


def scores(found: Kernel, queries: Tensor, damping: float) -> Tensor:
    return torch.stack([found.scores(query, damping) for query in queries])


@pytest.mark.parametrize(("which", "items"), [("Phi", "12 items"), ("Phi_wide", "4 items (fewer than features)")])
def test_scores_and_leverages_without_a_projection(which: str, items: str, tmp_path: Path) -> None:
    """A damping is then added as it is."""
    entry = golden("dtrak.scores")
    given = entry.tensors(torch.float64)
    found = kernel(given[which], tmp_path)
    dampings = entry.constants["dampings"]
    for damping in dampings:
        own = PLAIN.own_damping(damping)
        entry.check(f"scores, {items}, damping {damping:g}", scores(found, given["phi_query"], own))
        entry.check(f"leverage, {items}, damping {damping:g}", 1 - found.unleveraged(own))
    assert len(entry.outputs) == 2 * 2 * len(dampings)


@pytest.mark.parametrize("kind", ["rademacher", "normal", "sparse"])
def test_a_damping_is_in_the_references_unit(kind: Literal["rademacher", "normal", "sparse"], tmp_path: Path) -> None:
    """Features divided by the root of the dimension, as ours are, and the published damping: the same scores."""
    entry = golden("dtrak.damping_scale")
    given = entry.tensors(torch.float64)
    dimension = entry.constants["dimension"]
    projection = ProjectionConfig(kind, dimension, 1)
    found = kernel(given["Phi (in the references' scale)"] / dimension**0.5, tmp_path)
    own = projection.own_damping(entry.constants["damping"])
    entry.check("scores", scores(found, given["phi_query"] / dimension**0.5, own))


@pytest.mark.parametrize("kind", ["rademacher", "normal"])
@pytest.mark.parametrize("dimension", [64, 512])
def test_published_projections_multiply_lengths(kind: Literal["rademacher", "normal"], dimension: int) -> None:
    """Ours keep them: the ratio is the references' once it is converted as a damping is."""
    entry = golden("trak.projection_ratio")
    gradients = entry.tensors()["gradients"]
    projection = ProjectionConfig(kind, dimension, 1)
    ratios = [
        float((project(gradients, projection, seed).square().sum(1) / gradients.square().sum(1)).mean())
        for seed in range(8)
    ]
    assert np.mean(ratios) == pytest.approx(1, rel=0.05)
    unit = 1 / projection.own_damping(1.0)
    entry.check(f"dimension {dimension}, {kind}, mean of 8 seeds", np.mean(ratios) * unit)


def test_das(tmp_path: Path) -> None:
    """The published script divides the inverse by the mean of its absolute values, which ours must not contain."""
    entry = golden("das.scores")
    given = entry.tensors(torch.float64)
    roots = given["squared errors"].sqrt()
    entry.check("residual, mean", residuals(roots, "mean"))
    entry.check("residual, published code", residuals(roots, "published_code"))
    found, damping = kernel(given["Phi"], tmp_path), PLAIN.own_damping(entry.constants["damping"])
    residual = residuals(roots, "mean")

    def all_scores(leverage: bool) -> Tensor:
        return torch.stack([das_scores(found, query, residual, damping, leverage) for query in given["phi_query"]])

    entry.check("score", all_scores(leverage=True))
    plain = scores(found, given["phi_query"], damping) * residual
    torch.testing.assert_close(all_scores(leverage=False), plain.square())
    inverse = scores(replace(found, items=found.basis), torch.eye(6, dtype=torch.float64), damping)
    factor = 1 / inverse.abs().mean()
    entry.check("factor by which the published script's inverse is scaled", factor)
    scaled = (plain * factor / (1 - (1 - found.unleveraged(damping)) * factor)).square()
    theirs, ours = (np.argsort(values.numpy(), axis=1) for values in (scaled, all_scores(leverage=True)))
    assert (1 - (1 - found.unleveraged(damping)) * factor).min() < -1  # what the factor makes of 1 - leverage
    assert not np.array_equal(theirs, ours)


def test_lds() -> None:
    entry = golden("dtrak.lds")
    values, losses = entry.inputs["scores"], entry.inputs["losses"]
    subsets = [np.flatnonzero(row < 0.5) for row in entry.inputs["mask"]]
    predicted = np.concatenate([prediction(values, subset[None]) for subset in subsets])
    protocol = LDS("lds", subsets=16, share=0.5, repeats=1, draws=1, resamples=2)
    entry.check("lds", [row["lds"] for row in protocol.verdict(predicted, losses[:, None]).table])
