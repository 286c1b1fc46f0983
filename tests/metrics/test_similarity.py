"""SSIM against its definition in double precision."""

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate
from torch import Tensor

from tdattr.features import Setting
from tdattr.metrics.comparison import compare
from tdattr.metrics.similarity import MSE, SSIM, Measure, in_batches

ssim = SSIM(sigma=1.5, window=11).compare


def reference(first: Tensor, second: Tensor, window: int, sigma: float) -> list[float]:
    """Wang et al. 2004 on pairs in [-1, 1], at every pixel, the image continued by reflection, in float64."""
    offsets = np.arange(window) - (window - 1) / 2
    bell = np.exp(-(offsets**2) / (2 * sigma**2))
    weights = np.outer(bell, bell) / bell.sum() ** 2
    c1, c2 = 0.01**2, 0.03**2

    def mean(image: np.ndarray) -> np.ndarray:
        return correlate(image, weights[None], mode="mirror")

    values = []
    for p, q in zip((first.double().numpy() + 1) / 2, (second.double().numpy() + 1) / 2, strict=True):
        mean_p, mean_q = mean(p), mean(q)
        variances = mean(p * p) - mean_p**2 + mean(q * q) - mean_q**2
        covariance = mean(p * q) - mean_p * mean_q
        luminance = (2 * mean_p * mean_q + c1) / (mean_p**2 + mean_q**2 + c1)
        values.append(float((luminance * (2 * covariance + c2) / (variances + c2)).mean()))
    return values


def pairs(count: int, channels: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """From alike to unlike, in [-1, 1]."""
    rng = torch.Generator().manual_seed(height)
    first = torch.rand(count, channels, height, width, generator=rng) * 2 - 1
    other = torch.rand(count, channels, height, width, generator=rng) * 2 - 1
    return first, torch.lerp(first, other, torch.linspace(0.1, 1, count)[:, None, None, None])


@pytest.mark.parametrize("shape", [(3, 16, 16), (1, 20, 13), (1, 11, 11)], ids=str)
def test_large_images_use_the_published_window(shape: tuple[int, int, int]) -> None:
    first, second = pairs(3, *shape)
    expected = reference(first, second, 11, 1.5)
    np.testing.assert_allclose(ssim(first, second), expected, atol=2e-5)
    assert expected[0] > 0.5 > expected[-1]


@pytest.mark.parametrize(("size", "window"), [(8, 7), (10, 9), (9, 9), (5, 5)])
def test_smaller_images_use_the_largest_odd_window_that_fits(size: int, window: int) -> None:
    first, second = pairs(2, 1, size, size)
    np.testing.assert_allclose(ssim(first, second), reference(first, second, window, 1.5 * window / 11), atol=2e-5)


@pytest.mark.parametrize("size", [8, 28])
def test_identical_images_are_1_and_others_less(size: int) -> None:
    first, second = pairs(4, 3, size, size)
    torch.testing.assert_close(ssim(first, first), torch.ones(4))
    values = ssim(first, second)
    assert values.max() < 0.999
    assert (values.diff() < 0).all()
    torch.testing.assert_close(ssim(second, first), values)
    flat = torch.full((2, 1, 8, 8), -1.0)
    torch.testing.assert_close(ssim(flat, flat), torch.ones(2))


def test_a_pair_does_not_depend_on_the_others() -> None:
    first, second = pairs(3, 1, 12, 12)
    alone = [ssim(first[i : i + 1], second[i : i + 1]) for i in range(3)]
    assert alone[0].shape == (1,)
    torch.testing.assert_close(ssim(first, second), torch.cat(alone))


def test_mse_is_that_of_pixels_between_0_and_1(setting: Setting) -> None:
    first, second = pairs(3, 3, 6, 6)
    a, b = ((images.double().numpy() + 1) / 2 for images in (first, second))
    measure = MSE().load(setting)
    np.testing.assert_allclose(measure(first, second), 1 - ((a - b) ** 2).mean((1, 2, 3)), atol=1e-6)
    torch.testing.assert_close(measure(first, first), torch.ones(3))
    black = torch.full((1, 1, 4, 4), -1.0)
    assert measure(black, -black).item() == 0


def test_batches_change_nothing() -> None:
    first, second = pairs(5, 1, 12, 12)
    torch.testing.assert_close(in_batches(ssim, 2)(first, second), ssim(first, second))


@pytest.mark.parametrize("measure", [MSE(), SSIM(sigma=1.5, window=11)], ids=["mse", "ssim"])
def test_what_is_rounding_decides_nothing(measure: Measure, setting: Setting) -> None:
    """Images that nothing has changed, but for the last bits: their similarities tie."""
    first, _ = pairs(6, 1, 12, 12)
    again = first * (1 + 3e-7)
    values = measure.load_rounded(setting)(first, again)
    assert values.dtype == torch.float64
    assert values.tolist() == [1.0] * 6
    assert compare(values.numpy(), np.ones(6)).auc == 0.5
    first, second = pairs(6, 1, 12, 12)
    plain = measure.load(setting)(first, second).double()
    torch.testing.assert_close(
        measure.load_rounded(setting)(first, second), plain, atol=0.6 * 0.1**measure.decimals, rtol=0
    )


def test_float32_gives_as_many_decimals_of_ssim_as_it_says() -> None:
    rng = torch.Generator().manual_seed(0)
    coarse = torch.rand(20, 1, 3, 3, generator=rng) * 2 - 1
    smooth = torch.nn.functional.interpolate(coarse, size=(16, 16), mode="bilinear")
    other = (smooth + 0.01 * torch.randn(smooth.shape, generator=rng)).clamp(-1, 1)
    error = np.abs(ssim(smooth, other).double().numpy() - reference(smooth, other, 11, 1.5)).max()
    assert 1e-6 < error < 0.1**SSIM.decimals


def test_versions_of_packages_are_part_of_what_a_measure_is(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    measure = SSIM(sigma=1.5, window=11)
    before = measure.describe_with_identity(setting)
    monkeypatch.setattr("tdattr.features.version", lambda package: f"another {package}")
    after = measure.describe_with_identity(setting)
    assert after != before and after["identity"] == {"version of torchmetrics": "another torchmetrics"}
    assert MSE().describe_with_identity(setting)["identity"] == {}
