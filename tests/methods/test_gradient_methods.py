"""TRAK, D-TRAK, DAS and TracIn on a tiny network against dense NumPy on gradients from plain autograd."""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tdattr.configs import typed
from tdattr.diffusion.edm import EDM
from tdattr.errors import UserError
from tdattr.methods import Context, MethodSetup
from tdattr.methods.das import DAS, residuals
from tdattr.methods.gradient_similarity import GradientSimilarity
from tdattr.methods.trak import Trak
from tdattr.scoring.gradients import GradientConfig, Gradients
from tdattr.scoring.projection import ProjectionConfig, project
from tdattr.store import Store
from tests.contexts import IDS, keep, with_queries
from tests.methods.plain import loss_of, one_by_one

DRAWS = 3
DAMPING = 0.5
SCALE = {"loss": 1e3, "squared_output": 1.0}  # of the damping; so small a one would be all rounding beside a loss


def gradients(**changes: Any) -> GradientConfig:
    plain = GradientConfig("squared_output", DRAWS, "generation", False, "mlp", ProjectionConfig("none", 8, 1))
    return replace(plain, **changes)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """What the methods of a test share."""
    return Store(tmp_path / "store", "cpu")


@pytest.fixture
def world(make_context: Callable[..., Context], tiny_dit: Callable[..., nn.Module], store: Store) -> Context:
    """A context with a network, conditions and a store."""
    network = tiny_dit(4, spread=0.05).requires_grad_(False)
    return make_context(f1=lambda: network, f0=lambda: network, conditions=torch.eye(4), plan=keep(store))


def dense(world: Context, config: GradientConfig) -> tuple[np.ndarray, np.ndarray]:
    """Φ of the items and of the queries, by one backward pass per item and draw."""
    network = world.f1.load()
    noise = config.noise_set(world.diffusion, (1, 8, 8), world.seed)
    builder = Gradients(network, world.diffusion, config, network.parameter_names(config.parameters), noise, 8)
    items = one_by_one(builder, world.data.train.images(IDS), world.data.train.condition(IDS))
    queries = one_by_one(builder, world.queries.x, world.queries.conditions)
    network.requires_grad_(False)
    return items.double().numpy(), queries.double().numpy()


GRID = [0.3, 20.0]


def found(method: Any, world: Context) -> np.ndarray:
    scorer = method.start(world)
    return torch.stack([scorer(query).scores for query in range(4)]).numpy()


def close(value: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(value, expected, atol=2e-3 * np.abs(expected).max())


@pytest.mark.parametrize("output", ["loss", "squared_output"])
def test_trak_and_dtrak(world: Context, output: str) -> None:
    config = gradients(output=output)
    phi, queries = dense(world, config)
    damping = DAMPING * SCALE[output]
    inverse = np.linalg.inv(phi.T @ phi + damping * np.eye(phi.shape[1]))
    close(found(Trak("dtrak", config, damping, GRID), world), queries @ inverse @ phi.T)


def test_a_damping_is_divided_by_the_dimension_of_a_projection(world: Context) -> None:
    """With features as long as the references', whose root the dimension is, it is what it is to them."""
    config = gradients(projection=ProjectionConfig("rademacher", 64, 1))
    long = [8 * project(torch.from_numpy(phi).float(), config.projection, world.seed) for phi in dense(world, config)]
    phi, queries = (features.double().numpy() for features in long)
    for damping in (2.0, 300.0):
        inverse = np.linalg.inv(phi.T @ phi + damping * np.eye(64))
        close(found(Trak("dtrak", config, damping, GRID), world), queries @ inverse @ phi.T)


@pytest.mark.parametrize("leverage", [True, False])
@pytest.mark.parametrize("residual", ["mean", "published_code"])
def test_das(world: Context, edm: EDM, residual: str, leverage: bool) -> None:
    config = gradients(output="mean_output", normalise=True)
    phi, queries = dense(world, config)
    inverse = np.linalg.inv(phi.T @ phi + DAMPING * np.eye(phi.shape[1]))
    noise = config.noise_set(edm, (1, 8, 8), world.seed)
    images, conditions = world.data.train.images(IDS), world.data.train.condition(IDS)
    assert conditions is not None
    losses = [
        loss_of(world.f1.load(), x.expand(DRAWS, *x.shape), noise.levels, noise.noise, condition.expand(DRAWS, -1))
        for x, condition in zip(images, conditions, strict=True)
    ]
    roots = np.sqrt(torch.stack(losses).double().numpy())
    if residual == "published_code":
        roots = roots / np.linalg.norm(roots, axis=1, keepdims=True)
    kept = 1 - np.diag(phi @ inverse @ phi.T) if leverage else 1.0
    expected = (queries @ inverse @ phi.T * roots.mean(1) / kept) ** 2
    close(found(DAS("das", config, DAMPING, GRID, residual, leverage), world), expected)


def test_das_is_finite_at_the_ends_of_the_published_grid(world: Context) -> None:
    """Where nearly all of an item is its leverage, 1 minus it must keep digits."""
    config = gradients(output="mean_output", normalise=True, projection=ProjectionConfig("rademacher", 16384, 1))
    scores = found(DAS("das", config, "grid", [1e-2, 5e6], "mean", True), world)
    assert np.isfinite(scores).all() and (scores > 0).all()


def test_a_grid_gives_the_scores_of_every_damping(world: Context) -> None:
    config = gradients(output="mean_output", normalise=True)
    for make in (
        lambda damping: Trak("dtrak", config, damping, GRID),
        lambda damping: DAS("das", config, damping, GRID, "mean", True),
    ):
        method = make("grid")
        assert method.dampings == GRID
        assert make(1.0).dampings is None
        every = found(method, world)
        assert every.shape == (4, len(GRID), len(IDS))
        for place, damping in enumerate(GRID):
            np.testing.assert_array_equal(every[:, place], found(make(damping), world))


@pytest.mark.parametrize("normalise", [False, True])
def test_tracin_and_cosine(world: Context, normalise: bool) -> None:
    config = gradients(output="loss", normalise=normalise)
    phi, queries = dense(world, config)
    close(found(GradientSimilarity("tracin", config, False), world), queries @ phi.T)
    lengths = np.linalg.norm(queries, axis=1)[:, None] * np.linalg.norm(phi, axis=1)
    close(found(GradientSimilarity("gradient_cosine", config, True), world), queries @ phi.T / lengths)


def test_an_item_that_is_the_query_is_found(world: Context) -> None:
    condition = world.data.train.condition(IDS)
    assert condition is not None
    copies = with_queries(world, images=world.data.train.images(IDS[:4]), conditions=condition[:4])
    for method in (
        Trak("dtrak", gradients(), 1e-9, GRID),
        GradientSimilarity("gradient_cosine", gradients(output="loss"), True),
    ):
        assert found(method, copies).argmax(1).tolist() == [0, 1, 2, 3]


def test_projected_scores_are_near_the_exact_ones(world: Context) -> None:
    exact = found(GradientSimilarity("gradient_cosine", gradients(output="loss"), True), world)
    projected = gradients(output="loss", projection=ProjectionConfig("rademacher", 4096, 1))
    near = found(GradientSimilarity("gradient_cosine", projected, True), world)
    assert np.abs(near - exact).max() < 6 / 4096**0.5 and np.abs(near - exact).max() > 1e-6


def test_dampings_share_features_and_kernel(world: Context, store: Store) -> None:
    scores = [found(Trak("dtrak", gradients(), damping, GRID), world) for damping in (0.1, 10.0)]
    stages = [name.split("/")[0] for name in store.built]
    assert stages == ["gradients", "gradients", "kernel"]  # of the items, of the queries
    assert np.abs(scores[0] - scores[1]).max() > 0


def test_what_cannot_work_is_refused(make_setup: Callable[..., MethodSetup]) -> None:
    for method in (
        Trak("dtrak", gradients(parameters="head"), 1.0, GRID),
        DAS("das", gradients(parameters="head"), 1.0, GRID, "mean", True),
        GradientSimilarity("tracin", gradients(parameters="head"), False),
    ):
        with pytest.raises(UserError, match="no part 'head'"):
            method.check_network(make_setup(items=10).network)
    good = asdict(DAS("das", gradients(), 1.0, GRID, "mean", True))
    for damping in (0, -1.0, float("nan")):
        with pytest.raises(UserError, match=r"^method.damping=.* must be above 0, or grid\.$"):
            typed(DAS, good | {"damping": damping}, "method")
    with pytest.raises(UserError, match=r"^method.damping: .* it may also be grid\.$"):
        typed(DAS, good | {"damping": "large"}, "method")
    with pytest.raises(UserError, match=r"^method.grid\[1\]=0.0 must be above 0\.$"):
        typed(DAS, good | {"damping": "grid", "grid": [1, 0]}, "method")
    with pytest.raises(UserError, match=r"^method.grid must hold at least one number\.$"):
        typed(DAS, good | {"grid": []}, "method")
    with pytest.raises(UserError, match=r"^method.residual=other is unknown: choose mean or published_code.$"):
        typed(DAS, good | {"residual": "other"}, "method")


def test_residuals_by_hand() -> None:
    roots = torch.tensor([[3.0, 4.0], [1.0, 1.0]])
    torch.testing.assert_close(residuals(roots, "mean"), torch.tensor([3.5, 1.0]))
    torch.testing.assert_close(residuals(roots, "published_code"), torch.tensor([0.7, 0.5**0.5]))
