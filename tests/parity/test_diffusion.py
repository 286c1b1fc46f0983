"""EDM and VP as MUCS's code has them: losses, levels and samplers."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from tdattr.diffusion.edm import EDM
from tdattr.diffusion.vp import VP
from tdattr.networks import Given
from tdattr.schedules import rate
from tests.diffusion.fakes import rngs, variant
from tests.parity.golden import golden
from tests.parity.networks import Toy


@pytest.fixture
def edm() -> EDM:
    return variant("edm")


@pytest.fixture
def vp() -> VP:
    return variant("vp", c_noise="timestep")


@pytest.mark.parametrize("network", ["toy", "zero"])
def test_edm_s_denoiser_and_loss(edm: EDM, network: str) -> None:
    entry = golden("mucs.edm_loss")
    inputs, sigma = entry.tensors(), torch.tensor(entry.constants["sigma"])
    net, given = Toy(**entry.constants) if network == "toy" else Toy(), Given(inputs["c"])
    noised = edm.noised(inputs["x"], sigma, inputs["noise"])
    with torch.no_grad():
        denoised = edm.denoise(net, noised, sigma, given)[:, 0, 0, 0]
        loss = edm.loss(net, inputs["x"], sigma, inputs["noise"], given)
    entry.check(f"denoised, {network} network, first pixel of each item", denoised)
    entry.check(f"loss, {network} network", loss)


@pytest.mark.parametrize("guidance", [1, 2])
def test_heun(edm: EDM, guidance: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the sampler returns; clamping belongs to the codec."""
    entry = golden("mucs.heun")
    z, c = entry.tensors()["z"], entry.tensors()["c"]
    monkeypatch.setattr("tdattr.diffusion.edm.draw_noise", lambda *_: z)
    sampler = replace(edm, steps=entry.constants["steps"])
    with torch.inference_mode():
        found = sampler.sample(Toy(**entry.constants), rngs(2), tuple(z.shape[1:]), Given(c), float(guidance))
    entry.check(f"image, guidance {guidance}", found)


def test_generation_levels(edm: EDM) -> None:
    entry = golden("mucs.generation_levels")
    assert (edm.sigma_min, edm.sigma_max, edm.rho) == tuple(
        entry.constants[k] for k in ("sigma_min", "sigma_max", "rho")
    )
    entry.check("levels", edm.generation_levels(entry.constants["steps"]))


def test_vp_s_sigma_and_time(vp: VP) -> None:
    entry = golden("mucs.vp_sigma")
    sigma = vp.sigma(torch.tensor(entry.constants["t"], dtype=torch.float64))
    entry.check("sigma", sigma)
    entry.check("time", vp.time(sigma))


def test_vp_s_loss(vp: VP) -> None:
    entry = golden("mucs.vp_loss")
    inputs, sigma = entry.tensors(), torch.tensor(entry.constants["sigma"])
    with torch.no_grad():
        entry.check("loss", vp.loss(Toy(**entry.constants), inputs["x"], sigma, inputs["noise"]))


@pytest.fixture
def sampled(vp: VP, monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """By the sampler as it is, which goes on to t = 0."""
    entry = golden("mucs.vp_sampler")
    z = entry.tensors()["z"]
    monkeypatch.setattr("tdattr.diffusion.vp.draw_noise", lambda *_: z)
    with torch.inference_mode():
        return replace(vp, steps=entry.constants["steps"]).sample(Toy(**entry.constants), rngs(2), tuple(z.shape[1:]))


def test_vp_s_sampler(vp: VP, sampled: Tensor) -> None:
    """The published loop stops at the last time above 0; the step from there moves images by half a percent."""
    entry = golden("mucs.vp_sampler")
    times = vp.generation_times(entry.constants["steps"]).tolist()
    with torch.inference_mode():
        network, z = Toy(**entry.constants), entry.tensors()["z"]
        found = vp.integrate(network, z, times)
        entry.check("image", found)
        torch.testing.assert_close(vp.integrate(network, z, [*times, 0.0]), sampled, rtol=1e-4, atol=1e-6)
    apart = (sampled - found).norm() / found.norm()
    assert 1e-3 < apart < 6e-3


def test_the_rate_rises_with_every_step() -> None:
    """The reference's changes once per epoch of 1 000 updates, from 0.005 up: ours is within a tenth of it."""
    entry = golden("mucs.rate_factor")
    steps = np.array(entry.constants["steps"])
    ours = [rate(int(step), 10_000, "constant", 200_000) for step in steps]
    np.testing.assert_allclose(ours, np.minimum((steps + 1) / 10_000, 1))
    entry.check("factor", np.minimum(0.005 + 0.0995 * (steps // 1000), 1))
    apart = np.array(entry.outputs["factor"]) - ours
    np.testing.assert_allclose(apart, [0.0049, 0.0048, -0.095, 0.0044, 0.0024, -0.0995, 0], atol=1e-9)
