"""Journey-TRAK against a plain loop: sample by hand, noise every predicted clean item, one backward pass for each."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tdattr.diffusion import Diffusion
from tdattr.methods import Context
from tdattr.methods.journey_trak import JourneyTrak
from tdattr.methods.trak import Trak
from tdattr.networks import Given
from tdattr.scoring.gradients import GradientConfig, Gradients
from tdattr.scoring.pairs import NoiseSet
from tdattr.scoring.projection import ProjectionConfig
from tdattr.seeding import generator, normal
from tdattr.store import Store
from tests.contexts import IDS, keep
from tests.diffusion.fakes import variant
from tests.methods.plain import one_by_one

SEED, STEPS, DAMPING = 5, 4, 0.5  # the seed of ``make_context``
CONFIG = GradientConfig("loss", 3, "generation", False, "mlp", ProjectionConfig("none", 8, 1))
DDIM = {"timesteps": 20, "steps": STEPS, "beta_end": 0.4}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store", "cpu")


@pytest.fixture
def world(make_context: Callable[..., Context], tiny_dit: Callable[..., nn.Module], store: Store) -> Context:
    network = tiny_dit(4, spread=0.05).requires_grad_(False)
    parts: dict[str, Any] = {"f1": lambda: network, "f0": lambda: network, "plan": keep(store)}
    return make_context(diffusion=variant("ddpm", **DDIM), conditions=torch.eye(4), **parts)


def scores(method: Trak, context: Context) -> Tensor:
    scorer = method.start(context)
    return torch.stack([scorer(query).scores for query in range(len(context.queries))])


def method(**changes: Any) -> JourneyTrak:
    return JourneyTrak("journey_trak", replace(CONFIG, **changes), DAMPING, [DAMPING])


def ddim_by_hand(diffusion: Diffusion, network: nn.Module, query: int, guidance: float | None) -> list[Tensor]:
    """The predicted clean items of a query: t = 15, 10, 5, 0."""
    x = normal(generator(SEED, "query", query), 1, 1, 8, 8)
    condition = torch.eye(4)[query : query + 1]
    clean = []
    for t in (15, 10, 5, 0):
        kept = diffusion.alpha_bar[t].float()
        told = (((1 - kept) / kept).log() / 8).expand(1)
        eps = network(x, told, Given(condition))
        if guidance is not None:
            without = network(x, told, Given(condition, torch.tensor([True])))
            eps = without + guidance * (eps - without)
        clean.append(((x - (1 - kept).sqrt() * eps) / kept.sqrt()).clamp(-1, 1))
        after = diffusion.alpha_bar[t - 5].float() if t else torch.tensor(1.0)
        x = after.sqrt() * clean[-1] + (1 - after).sqrt() * eps
    return clean


@pytest.mark.parametrize("guidance", [None, 3.0])
@pytest.mark.parametrize("normalise", [False, True])
def test_the_queries_features_are_taken_along_their_paths(
    world: Context, normalise: bool, guidance: float | None
) -> None:
    world = replace(world, queries=replace(world.queries, guidance=guidance))
    found = scores(method(normalise=normalise), world)
    network, diffusion = world.f1.load(), world.diffusion
    config = replace(CONFIG, normalise=normalise)
    names = network.parameter_names("mlp")
    rng, builders = generator(SEED, "journey.noise"), []
    for t in (15.0, 10.0, 5.0, 0.0):
        noise = NoiseSet(torch.tensor([t]), normal(rng, 1, 1, 8, 8))
        builders.append(Gradients(network, diffusion, config, names, noise, 8))
    queries = []
    for query in range(4):
        with torch.no_grad():
            clean = ddim_by_hand(diffusion, network, query, guidance)
        steps = [one_by_one(b, x, torch.eye(4)[[query]]) for b, x in zip(builders, clean, strict=True)]
        queries.append(torch.cat(steps).mean(0))
    shared = config.noise_set(diffusion, (1, 8, 8), SEED)
    items = Gradients(network, diffusion, config, names, shared, 8)
    split = world.data.train
    phi = one_by_one(items, split.images(IDS), split.condition(IDS)).double().numpy()
    network.requires_grad_(False)
    inverse = np.linalg.inv(phi.T @ phi + DAMPING * np.eye(phi.shape[1]))
    expected = torch.stack(queries).double().numpy() @ inverse @ phi.T
    np.testing.assert_allclose(found, expected, atol=2e-3 * np.abs(expected).max())


def test_items_are_those_of_trak_and_queries_its_own(world: Context, store: Store) -> None:
    """Their features are shared; the queries' are not, and differ from TRAK's."""
    trak = scores(Trak("trak", CONFIG, DAMPING, [DAMPING]), world)
    assert len(store.built) == 3  # the items' features, the kernel, the queries' features
    journey = scores(method(), world)
    assert len(store.built) == 4
    assert (journey - trak).abs().max() > 0.1 * trak.abs().max()


def test_a_query_s_path_does_not_depend_on_the_others(world: Context, store: Store) -> None:
    """Nor on which of the run's images are explained: its noise is that of its own number."""
    together = scores(method(), world)
    world = replace(world, queries=world.queries.select(slice(1, 3)))
    torch.testing.assert_close(scores(method(), world), together[1:3], atol=1e-4, rtol=1e-3)


def test_paths_are_projected_as_items_are(world: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = method(projection=ProjectionConfig("rademacher", 64, 1))
    together = wanted.query_features(world)
    exact = method().query_features(world)
    assert together.shape == (4, 64)
    assert float((together.norm(dim=1) / exact.norm(dim=1)).mean()) == pytest.approx(1, abs=0.3)
    parts = replace(world, plan=keep(Store(world.setting.shared("x", 1, {}, lambda folder: None), "cpu")))
    monkeypatch.setattr("tdattr.methods.journey_trak.items_together", lambda parameters: 3)
    torch.testing.assert_close(wanted.query_features(parts), together, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("name", ["edm", "vp", "flow"])
def test_every_variant_has_a_path(world: Context, name: str) -> None:
    world = replace(world, diffusion=variant(name, steps=STEPS))
    assert scores(method(), world).isfinite().all()
