"""The curvature of EK-FAC against gradients by autograd, cell by cell, and against dense matrices."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tdattr.data.prepared import Prepared
from tdattr.diffusion.edm import EDM
from tdattr.networks import Given, Network
from tdattr.scoring.cells import TrainingItems
from tdattr.scoring.ekfac import Curvature, draw_outputs, find_names, fit, name_bias
from tdattr.scoring.gradients import GradientConfig, Gradients
from tdattr.scoring.projection import ProjectionConfig

DRAWS, SEED = 4, 7
CONFIG = GradientConfig("loss", DRAWS, "training", False, "all", ProjectionConfig("none", 8, 1))
IDS = np.array([3, 9, 20])
Build = Callable[..., Gradients]


@pytest.fixture
def build(tiny_dit: Callable[..., Network], edm: EDM, tiny_data: Prepared) -> Build:
    def make(batch_size: int = 16, **changes: Any) -> Gradients:
        network = tiny_dit(4, spread=0.05, **changes).requires_grad_(False)
        noise = CONFIG.noise_set(edm, (1, 8, 8), SEED)
        gradients = Gradients(network, edm, CONFIG, network.parameter_names("all"), noise, batch_size)
        names = find_names(gradients, TrainingItems(tiny_data.train, IDS))
        return replace(gradients, names=names, unexplained={})

    return make


def test_layers_that_are_known_are_found(build: Build) -> None:
    names = build().names
    assert {"embed.weight", "embed.bias", "blocks.0.attn.qkv.weight", "blocks.0.modulation.bias"} <= set(names)
    assert not {"registers", "unpatch.weight", "unpatch.bias"} & set(names)
    framed = build(frame_channels=[4], frame_strides=[1]).names
    assert any(name.startswith("encode") for name in framed)


@pytest.mark.parametrize("frame", [False, True])
def test_the_diagonal_is_the_mean_square_of_gradients_of_sampled_outputs(
    build: Build, tiny_data: Prepared, edm: EDM, frame: bool
) -> None:
    gradients = build(**({"frame_channels": [4], "frame_strides": [1]} if frame else {}))
    network, items = gradients.network, TrainingItems(tiny_data.train, IDS)
    curvature = fit(gradients, items, SEED)
    weights = [name for name in gradients.names if name.endswith("weight")]
    assert curvature.values.keys() == set(weights)
    sums = {name: torch.zeros_like(values) for name, values in curvature.values.items()}
    network.requires_grad_(True)
    for item in IDS:
        x = tiny_data.train.x(np.array([item]))
        given = Given(tiny_data.train.condition(np.array([item])))
        units = draw_outputs(SEED, int(item), DRAWS, (1, 8, 8))
        for level, noise, unit in zip(gradients.noise.levels, gradients.noise.noise, units, strict=True):
            error = edm.error(network, x, level[None], noise[None], given)
            root = (2 * (level**2 + 0.25) / (0.5 * level) ** 2 / 64).sqrt()  # of the second derivative of the loss
            ends = [network.get_parameter(name) for name in gradients.names]
            values = torch.autograd.grad((root * error * unit).sum(), ends)
            found = dict(zip(gradients.names, values, strict=True))
            for name in weights:
                matrix = found[name].flatten(1)
                if name_bias(name) in found:
                    matrix = torch.cat([matrix, found[name_bias(name)][:, None]], dim=1)
                rotated = curvature.outputs[name].T @ matrix.double() @ curvature.inputs[name]
                sums[name] += rotated.square() / (len(IDS) * DRAWS)
    for name, expected in sums.items():
        scale = expected.max()
        torch.testing.assert_close(curvature.values[name] / scale, expected / scale, rtol=1e-3, atol=1e-5)


def test_the_eigenvectors_are_those_of_the_tokens_of_a_layer(build: Build, tiny_data: Prepared) -> None:
    gradients = build()
    name, seen = "blocks.0.mlp.fc1.weight", []
    curvature = fit(gradients, TrainingItems(tiny_data.train, IDS), SEED)
    module = gradients.network.get_submodule(name.removesuffix(".weight"))
    hook = module.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].flatten(0, -2)))
    x, given = tiny_data.train.x(IDS), Given(tiny_data.train.condition(IDS))
    cells = gradients.cells(x, given, slice(0, DRAWS))
    gradients.diffusion.loss(gradients.network, *cells.inputs)
    hook.remove()
    tokens = torch.cat([torch.cat(seen), torch.ones(len(torch.cat(seen)), 1)], dim=1).double()
    rotated = curvature.inputs[name].T @ tokens.T @ tokens @ curvature.inputs[name]
    assert (rotated - rotated.diag().diag()).abs().max() < 1e-5 * rotated.diag().max()
    torch.testing.assert_close(rotated.diag(), torch.linalg.eigvalsh(tokens.T @ tokens), rtol=1e-4, atol=1e-4)


def test_the_inverse_is_that_of_the_dense_matrix() -> None:
    rng = np.random.default_rng(1)
    basis = [torch.from_numpy(np.linalg.qr(rng.standard_normal((size, size)))[0]) for size in (5, 3)]
    values = torch.from_numpy(rng.random((3, 5)))
    curvature = Curvature({"a.weight": basis[0]}, {"a.weight": basis[1]}, {"a.weight": values})
    rows = torch.from_numpy(rng.standard_normal((2, 3, 5)))
    vectors = torch.kron(basis[1], basis[0])
    dense = vectors @ (values.flatten() + 0.1 * values.mean()).diag() @ vectors.T
    expected = torch.linalg.solve(dense, rows.flatten(1).T).T.view(2, 3, 5)
    found = {"a.weight": rows[:, :, :4].clone(), "a.bias": rows[:, :, 4].clone()}
    curvature.solve(found, 0.1)
    torch.testing.assert_close(found["a.weight"], expected[:, :, :4])
    torch.testing.assert_close(found["a.bias"], expected[:, :, 4])
    again = Curvature.of(curvature.tensors(), torch.device("cpu"))
    assert torch.equal(again.values["a.weight"], values) and torch.equal(again.inputs["a.weight"], basis[0])


def test_a_layer_on_which_nothing_depends_counts_for_nothing() -> None:
    """As those before one that is initialised with zeros."""
    basis = {"a.weight": torch.eye(2, dtype=torch.float64)}
    curvature = Curvature(basis, basis, {"a.weight": torch.zeros(2, 2, dtype=torch.float64)})
    found = {"a.weight": torch.zeros(1, 2, 2)}
    curvature.solve(found, 0.1)
    assert torch.equal(found["a.weight"], torch.zeros(1, 2, 2))


def test_the_curvature_does_not_depend_on_the_batch_size(build: Build, tiny_data: Prepared) -> None:
    items = TrainingItems(tiny_data.train, IDS)
    few, many = (fit(build(size), items, SEED).values for size in (3, 64))
    for name, value in few.items():
        torch.testing.assert_close(value.sum(), many[name].sum(), rtol=1e-4, atol=0.0)
