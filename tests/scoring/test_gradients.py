"""Per-example gradients, projections and the damped kernel against autograd item by item and dense NumPy."""

import resource
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tdattr.configs import typed
from tdattr.data.prepared import Prepared
from tdattr.diffusion.edm import EDM
from tdattr.errors import UserError
from tdattr.methods import Context, gradient_features
from tdattr.methods.das import das_scores
from tdattr.networks import Given, Network
from tdattr.scoring.cells import TrainingItems
from tdattr.scoring.gradients import GradientConfig, Gradients, Stacked, features, items_together
from tdattr.scoring.kernel import decompose, load_kernel
from tdattr.scoring.projection import ProjectionConfig, project, signs
from tdattr.seeding import torch_seed
from tdattr.store import Store
from tests.contexts import keep
from tests.methods.plain import one_by_one

DRAWS, SEED = 5, 7
NONE = ProjectionConfig("none", 8, 1)
Build = Callable[..., Gradients]


def config(**changes: Any) -> GradientConfig:
    plain = GradientConfig("loss", DRAWS, "generation", False, "all", NONE)
    return replace(plain, **changes)


@pytest.fixture
def build(tiny_dit: Callable[..., Network], edm: EDM) -> Build:
    def make(batch_size: int = 16, condition: int = 4, **changes: Any) -> Gradients:
        network = tiny_dit(condition, spread=0.05).requires_grad_(False)
        wanted = config(**changes)
        noise = wanted.noise_set(edm, (1, 8, 8), SEED)
        return Gradients(network, edm, wanted, network.parameter_names(wanted.parameters), noise, batch_size)

    return make


@pytest.mark.parametrize("output", ["loss", "squared_output", "mean_output"])
@pytest.mark.parametrize("normalise", [False, True])
def test_gradients_are_those_of_autograd(build: Build, tiny_data: Prepared, output: str, normalise: bool) -> None:
    gradients = build(output=output, normalise=normalise)
    ids = np.array([3, 9, 20])
    x, condition = tiny_data.train.x(ids), tiny_data.train.condition(ids)
    expected = one_by_one(gradients, x, condition)
    scale = expected.abs().max()
    torch.testing.assert_close(gradients.of(x, Given(condition)) / scale, expected / scale, atol=2e-5, rtol=1e-3)
    assert expected.norm(dim=1).min() > 0


@pytest.mark.parametrize("parameters", ["mlp", "block"])
def test_a_part_of_the_parameters_and_no_condition(build: Build, tiny_data: Prepared, parameters: str) -> None:
    gradients = build(parameters=parameters, condition=0)
    x = tiny_data.train.x(np.array([1, 2]))
    everything = build(condition=0)
    assert 0 < gradients.size < everything.size
    expected = one_by_one(gradients, x, None)
    torch.testing.assert_close(gradients.of(x, Given()), expected, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("frame", [False, True])
def test_inner_products_are_those_of_the_gradients(
    tiny_dit: Callable[..., Network], edm: EDM, tiny_data: Prepared, normalise: bool, frame: bool
) -> None:
    """With directions, of every cell; convolutions are in a frame."""
    shape = {"frame_channels": [4], "frame_strides": [1]} if frame else {}
    network, wanted = tiny_dit(spread=0.05, **shape).requires_grad_(False), config(normalise=normalise)
    noise = wanted.noise_set(edm, (1, 8, 8), SEED)
    gradients = Gradients(network, edm, wanted, network.parameter_names("all"), noise, 4)
    ids = np.array([3, 9, 20])
    x, given = tiny_data.train.x(ids), Given(tiny_data.train.condition(ids))
    directions = torch.from_numpy(np.random.default_rng(1).standard_normal((2, gradients.size))).float()
    found = gradients.along(gradients.cells(x, given, slice(0, DRAWS)), directions)
    expected = directions @ gradients.of(x, given).T
    torch.testing.assert_close(found.unflatten(1, (3, DRAWS)).mean(2), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("normalise", [False, True])
def test_gradients_do_not_depend_on_the_batch_size(build: Build, tiny_data: Prepared, normalise: bool) -> None:
    ids = np.arange(7)
    x = tiny_data.train.x(ids)
    given = Given(tiny_data.train.condition(ids))
    expected = build(batch_size=1000, normalise=normalise).of(x, given)
    for batch_size in (1, 3, 12):
        found = build(batch_size=batch_size, normalise=normalise).of(x, given)
        torch.testing.assert_close(found, expected, atol=1e-6 * float(expected.abs().max()), rtol=1e-4)


PROJECTIONS = [
    ProjectionConfig("rademacher", 64, 1),
    ProjectionConfig("sparse", 64, 3),
    ProjectionConfig("normal", 64, 1),
]
IDS = np.array([40, 2, 7, 30, 11])
PARTS = (gradient_features.item_features, gradient_features.query_features)


def test_progress_is_shown_batch_by_batch(
    build: Build, tiny_data: Prepared, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the gradients of a block, in batches of three items and one draw, and of their projection."""
    monkeypatch.setattr("tdattr.progress.LOG_INTERVAL_SECONDS", 0.0)
    gradients = build(batch_size=3, normalise=True, projection=PROJECTIONS[0])
    monkeypatch.setattr("tdattr.scoring.projection.MATRIX_ENTRIES", 64 * (gradients.size // 4 + 1))
    features(gradients, TrainingItems(tiny_data.train, np.arange(9)), slice(2, 7), SEED)
    shown = capsys.readouterr().err
    assert "Gradients of 3-7: 1 of 10 (10%)" in shown and "Gradients of 3-7: 9 of 10" in shown
    assert "Projection of 3-7: 3 of 4 (75%)" in shown


@pytest.mark.parametrize("projection", PROJECTIONS)
def test_features_do_not_depend_on_how_many_fit_into_memory(
    build: Build, tiny_data: Prepared, monkeypatch: pytest.MonkeyPatch, projection: ProjectionConfig
) -> None:
    gradients, items = build(projection=projection), TrainingItems(tiny_data.train, IDS)
    exact = gradients.of(tiny_data.train.x(IDS), Given(tiny_data.train.condition(IDS)))
    expected = project(exact, projection, SEED).numpy()
    close = {"atol": 1e-5 * float(np.abs(expected).max()), "rtol": 1e-3}
    np.testing.assert_allclose(features(gradients, items, slice(0, 5), SEED), expected, **close)
    monkeypatch.setattr("tdattr.scoring.gradients.BUFFER_VALUES", 2 * gradients.size)  # two items at a time
    asked, of = list[int](), Gradients.of
    monkeypatch.setattr(Gradients, "of", lambda self, x, *given: asked.append(len(x)) or of(self, x, *given))
    np.testing.assert_allclose(features(gradients, items, slice(1, 4), SEED), expected[1:4], **close)
    assert asked == [2, 1]


@pytest.mark.parametrize("projection", PROJECTIONS)
def test_stored_features_are_blocks_that_survive_a_kill(
    make_context: Callable[..., Context],
    tiny_dit: Callable[..., Network],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    projection: ProjectionConfig,
) -> None:
    store = Store(tmp_path / "store", "cpu")
    loaded = list[Network]()

    def f1() -> Network:
        loaded.append(tiny_dit(4, spread=0.05).requires_grad_(False))
        return loaded[-1]

    parts = {"f1": f1, "f0": lambda: tiny_dit(4), "plan": keep(store, model="f1")}
    context = make_context(ids=IDS, conditions=torch.eye(4), **parts)
    wanted = config(projection=projection)
    monkeypatch.setattr(gradient_features, "LEAST", 2)
    monkeypatch.setattr(gradient_features, "MOST", 2)
    asked, of = list[int](), Gradients.of

    def interrupted(self: Gradients, x: Tensor, *given: Any) -> Tensor:
        if len(asked) == 1:
            raise KeyboardInterrupt
        asked.append(len(x))
        return of(self, x, *given)

    with monkeypatch.context() as patch:
        patch.setattr(Gradients, "of", interrupted)
        with pytest.raises(KeyboardInterrupt):
            gradient_features.item_features(context, wanted)
    assert asked == [2] and len(store.built) == 1
    monkeypatch.setattr(Gradients, "of", lambda self, x, *given: asked.append(len(x)) or of(self, x, *given))
    items, queries = (part(context, wanted) for part in PARTS)
    assert asked == [2, 2, 1, 2, 2]  # what is left of the items, and the queries
    network, noise = loaded[-1], wanted.noise_set(context.diffusion, (1, 8, 8), context.seed)
    gradients = Gradients(network, context.diffusion, wanted, network.parameter_names("all"), noise, 16)
    split = context.data.train
    rows = ((items[:], split.x(IDS), split.condition(IDS)), (queries.numpy(), context.queries.x, torch.eye(4)))
    for found, x, condition in rows:
        expected = project(gradients.of(x, Given(condition)), projection, context.seed).numpy()
        np.testing.assert_allclose(found, expected, atol=1e-5 * float(np.abs(expected).max()), rtol=1e-3)
    count = len(loaded)
    again, _ = (part(context, wanted) for part in PARTS)
    assert np.array_equal(again[:], items[:]) and len(loaded) == count  # nothing is missing, no network is loaded


def stack(folder: Path, blocks: list[np.ndarray]) -> Stacked:
    """The blocks, each in a file."""
    files = [folder / f"{number}.npy" for number in range(len(blocks))]
    for file, block in zip(files, blocks, strict=True):
        np.save(file, block)
    return Stacked(files, [0, *np.cumsum([len(block) for block in blocks]).tolist()], blocks[0].shape[1])


def test_thousands_of_blocks_hold_no_files_open(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    blocks = list(np.arange(400, dtype=np.float32).reshape(400, 1, 1))
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))
    try:
        stacked = stack(tmp_path, blocks)
        first = stacked[:]
        second = [stacked[row : row + 1] for row in range(400)]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert first[:, 0].tolist() == list(range(400)) and np.array_equal(np.concatenate(second), first)


@pytest.mark.parametrize("parameters", [1, 1000, 10**6, 4_300_000, 6_000_000, 35_000_000, 146_000_000, 10**9])
def test_a_block_is_projected_in_as_few_parts_as_its_items_need(parameters: int) -> None:
    """Every part but none of the last is full, so that no projection is drawn for less than it could serve."""
    rows = gradient_features.block_rows(parameters)
    together = items_together(parameters)
    assert rows == gradient_features.MOST or (rows % together == 0 and rows >= gradient_features.LEAST)
    assert rows <= gradient_features.MOST


@pytest.mark.parametrize("sizes", [[5], [2, 2, 1], [1, 4], [3, 0, 2]])
def test_stacked_blocks_are_one_array(sizes: list[int], tmp_path: Path) -> None:
    whole = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    stacked = stack(tmp_path, np.split(whole, np.cumsum(sizes)[:-1]))
    assert stacked.shape == whole.shape
    for start in range(6):
        for stop in range(start, 7):
            assert np.array_equal(stacked[start:stop], whole[start:stop])
    assert np.array_equal(stacked[:], whole) and np.array_equal(stacked[-2:], whole[-2:])


@pytest.mark.parametrize("kind", ["rademacher", "normal", "sparse"])
def test_projected_inner_products_keep_their_theoretical_error(kind: str) -> None:
    """Var <Pa, Pb> = (|a|²|b|² + <a, b>² - 2 Σ a²b²) / k for dense signs, hardly more for normal entries (without the
    sum), and no more for sparse ones."""
    rng = torch.Generator().manual_seed(0)
    base = torch.randn(2000, generator=rng)
    a, b = base + torch.randn(2000, generator=rng), base - 0.3 * torch.randn(2000, generator=rng)
    k = 256
    exact = float(a @ b)
    error = float(((a @ a) * (b @ b) + (a @ b) ** 2 - 2 * (a**2 @ b**2)) / k) ** 0.5
    found = []
    for seed in range(60):
        p = project(torch.stack([a, b]), ProjectionConfig(kind, k, 4), seed)
        found.append(float(p[0] @ p[1]))
    assert np.mean(found) == pytest.approx(exact, abs=4 * error / 60**0.5)
    assert 0.6 * error < np.std(found) < 1.4 * error


@pytest.mark.parametrize("kind", ["rademacher", "normal", "sparse"])
def test_projections_are_linear_and_the_same_in_any_pieces(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(3, 500, generator=torch.Generator().manual_seed(0))
    wanted = ProjectionConfig(kind, 32, 2)
    monkeypatch.setattr("tdattr.scoring.projection.MATRIX_ENTRIES", 32 * 120)  # several pieces
    together = project(x, wanted, 5)
    torch.testing.assert_close(project(x[1:2], wanted, 5), together[1:2], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(
        project(x[:1] + 2 * x[1:2], wanted, 5), together[:1] + 2 * together[1:2], atol=1e-4, rtol=1e-4
    )
    assert not torch.allclose(project(x, wanted, 6), together)
    if kind == "normal":  # 120 rows at a time
        blocks = [torch.Generator().manual_seed(torch_seed(5, "projection", number)) for number in range(5)]
        rows = [torch.randn(120 if number < 4 else 20, 32, generator=rng) for number, rng in enumerate(blocks)]
        torch.testing.assert_close(together, x @ torch.cat(rows) / 32**0.5, atol=1e-4, rtol=1e-4)
    assert torch.equal(project(x, ProjectionConfig("none", 32, 2), 5), x)


def test_signs_are_fair_coins() -> None:
    found = signs(4000, 64, torch.Generator().manual_seed(1))
    assert set(found.unique().tolist()) == {-1.0, 1.0}
    assert found.mean(0).abs().max() < 5 / 4000**0.5 and found.mean(1).abs().mean() < 0.2
    assert (found.T @ found / 4000 - torch.eye(64)).abs().max() < 5 / 4000**0.5
    used = torch.full((4001 * 64,), 7.0)  # more than it takes, and what an earlier block left
    assert (
        torch.equal(signs(4000, 64, torch.Generator().manual_seed(1), used), found) and (used[4000 * 64 :] == 7).all()
    )


@pytest.mark.parametrize(("items", "size"), [(30, 12), (12, 30), (20, 20)])
def test_the_kernel_is_the_dense_inverse(items: int, size: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    phi = (rng.normal(size=(items, size)) * rng.uniform(0.1, 3, size)).astype(np.float32)
    query = rng.normal(size=size)
    blocks = stack(tmp_path, np.array_split(phi, 3))
    decompose(blocks, tmp_path)
    kernel = load_kernel(blocks, tmp_path)
    for damping in (0.01, 1.0, 50.0):
        inverse = np.linalg.inv(phi.astype(float).T @ phi + damping * np.eye(size))
        expected = query @ inverse @ phi.T
        found = kernel.scores(torch.from_numpy(query).float(), damping)
        np.testing.assert_allclose(found, expected, atol=2e-4 * np.abs(expected).max())
        leverage = np.einsum("ij,jk,ik->i", phi, inverse, phi)
        np.testing.assert_allclose(1 - kernel.unleveraged(damping), leverage, atol=2e-4)
        assert leverage.max() < 1


@pytest.mark.parametrize("items", [3, 8, 9])
@pytest.mark.parametrize("damping", [1e-14, 1e-2, 1e9])
def test_what_is_no_leverage_keeps_its_digits(items: int, damping: float, tmp_path: Path) -> None:
    """Features of length 1000 along axes, of which there are 8, two items on the last one: where the damping is small,
    the leverage of the others is 1 to the last digit of a double."""
    phi = 1000 * np.eye(items, 8, dtype=np.float32)
    phi[8:, 7] = 1000
    blocks = stack(tmp_path, [phi])
    decompose(blocks, tmp_path)
    found = load_kernel(blocks, tmp_path).unleveraged(damping)
    expected = np.full(items, damping / (1e6 + damping))
    expected[7:] = (1e6 + damping) / (2e6 + damping) if items > 8 else expected[0]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    scores = das_scores(load_kernel(blocks, tmp_path), torch.ones(8), torch.ones(items), damping, leverage=True)
    assert scores.isfinite().all()


def test_wrong_settings_are_refused() -> None:
    plain = {"output": "loss", "draws": 5, "levels": "generation", "normalise": False, "parameters": "all"}
    plain |= {"projection": {"kind": "none", "dimension": 8, "nonzeros": 1}}
    assert typed(GradientConfig, plain, "method.gradients") == config()
    for changes, words in (
        ({"output": "beauty"}, "output=beauty is unknown: choose loss, squared_output or mean_output"),
        ({"levels": "some"}, "levels=some is unknown: choose generation, discrete or training"),
        ({"draws": 0}, "draws=0 must be at least 1"),
        (
            {"projection": {"kind": "fast", "dimension": 8, "nonzeros": 1}},
            "projection.kind=fast is unknown: choose rademacher, normal, sparse or none",
        ),
    ):
        with pytest.raises(UserError, match=rf"^method\.gradients\.{words}\.$"):
            typed(GradientConfig, plain | changes, "method.gradients")
    for arguments, words in (
        (("sparse", 12, 1), "multiple of 8"),
        (("sparse", 8, 9), "nonzeros=9"),
    ):
        with pytest.raises(UserError, match=words):
            ProjectionConfig(*arguments)
