"""The codec that does nothing but keep images in their range."""

import torch
from omegaconf import OmegaConf

from tdattr.codecs.pixels import Pixels
from tdattr.configs import build
from tdattr.seeding import generator
from tests.conftest import CONF


def test_images_are_their_own_moments_and_x() -> None:
    codec = build(OmegaConf.load(CONF / "codec" / "pixels.yaml"), "codec")  # type: ignore[arg-type]
    images = torch.rand(3, 1, 8, 8) * 2 - 1
    assert codec == Pixels("pixels") and codec.identity() == {}
    for rng in (None, generator(0, "test.codec")):
        assert torch.equal(codec.decode(codec.x(codec.encode(images), rng)), images)


def test_decoded_images_are_in_range() -> None:
    x = torch.tensor([-3.0, -1.0, 0.2, 1.0, 1.5]).view(1, 1, 1, 5)
    assert Pixels("pixels").decode(x).flatten().tolist() == [-1.0, -1.0, x[0, 0, 0, 2].item(), 1.0, 1.0]
