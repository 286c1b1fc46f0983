"""Are images of a dataset's kind? Handwritten digits, and what is none."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn.functional import avg_pool2d

from tdattr.metrics.nearness import describe_scales, find_far


def digits() -> Tensor:
    """In [-1, 1] and in random order."""
    images = torch.from_numpy(load_digits().images).float()[:, None] / 8 - 1
    return images[np.random.default_rng(0).permutation(len(images))[:1100]]


def far(images: Tensor) -> float:
    every = digits()
    far = find_far(describe_scales(images), describe_scales(every[:500]), describe_scales(every[500:1000]))
    return float(far.float().mean())


def test_others_of_the_kind_are_as_near_as_those_held_out() -> None:
    assert far(digits()[1000:]) < 0.04


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_noise_blur_and_flat_images_are_far(share: float) -> None:
    rng = torch.Generator().manual_seed(0)
    real = digits()[1000:1040]
    kinds = {
        "noise": torch.rand(real.shape, generator=rng) * 2 - 1,
        "blurred": avg_pool2d(real, 3, 1, 1),
        "flat": torch.zeros_like(real),
        "negative": -real,
    }
    for name, images in kinds.items():
        mixed = torch.where(torch.arange(40)[:, None, None, None] < 40 * share, images, real)
        assert far(mixed) == pytest.approx(share, abs=0.1 * share + 0.03), name


def test_statistics_worked_out_by_hand() -> None:
    image = torch.tensor([[1.0, 0.0, 0.5, 0.5], [0.0, 1.0, 0.5, 0.5]]).repeat(1, 2, 1, 1)[:, :1]
    # of 2 x 2 pixels: half of them differ from their block's mean by 0.5; the two blocks do not differ
    expected = [0.5, np.log(0.125 + 1e-6) / 2]
    torch.testing.assert_close(describe_scales(image), torch.tensor([expected]).float())
    square = torch.tensor([[1.0, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])[None, None]
    fine, coarse = np.log(1e-6) / 2, np.log(3 / 16 + 1e-6) / 2  # blocks 1, 0, 0, 0 around a mean of 1/4
    torch.testing.assert_close(describe_scales(square), torch.tensor([[0.25, fine, coarse]]).float())
    assert describe_scales(torch.zeros(2, 3, 5, 7)).shape == (2, 3 + 2)  # odd sizes lose their last row


def test_statistics_that_never_differ_do_not_count() -> None:
    images = torch.rand(60, 1, 1, 1, generator=torch.Generator().manual_seed(0))
    described = torch.cat([describe_scales(images), torch.zeros(60, 1)], 1)
    assert find_far(described[:20], described[20:40], described[40:]).float().mean() <= 0.2
