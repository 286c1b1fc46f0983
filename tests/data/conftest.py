"""What the tests of datasets share: real JPEG files whose pixels are known, and damaged ones."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file

from tdattr.configs import typed
from tdattr.data.prepared import Prepared, Source
from tdattr.diffusion.edm import EDM
from tdattr.networks.dit import DiTConfig
from tdattr.training.config import TrainConfig, TrainerConfig
from tdattr.training.pretrain import pretrain

Photograph = Callable[..., np.ndarray]


@pytest.fixture(scope="session")
def photograph() -> Photograph:
    """``photograph(path, seed)`` writes a JPEG of one colour and returns that colour, uint8 [3].

    ``mode``: RGB, L or CMYK. Outside of the central square it is of another colour.
    """

    def write(path: Path, seed: int, size: tuple[int, int] = (24, 16), mode: str = "RGB", **options: Any) -> np.ndarray:
        colour = np.random.default_rng(seed).integers(40, 216, 3, np.uint8)
        if mode == "L":
            colour = np.repeat(colour[:1], 3)
        width, height = size
        side = options.pop("side", min(size))
        pixels = np.broadcast_to(255 - colour, (height, width, 3)).copy()
        top, left = (height - side) // 2, (width - side) // 2
        pixels[top : top + side, left : left + side] = colour
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).convert(mode).save(path, quality=100, subsampling=0 if mode == "RGB" else -1)
        return colour

    return write


@pytest.fixture(scope="session")
def is_like() -> Callable[[np.ndarray, np.ndarray], bool]:
    """Whether an image has that colour everywhere, but for what JPEG and the edge of the crop change."""

    def compare(image: np.ndarray, colour: np.ndarray) -> bool:
        inside = image[1:-1, 1:-1].astype(int)
        return bool(np.abs(inside - colour).max() <= 4)

    return compare


@pytest.fixture(scope="session")
def configure() -> Callable[..., Source]:
    """``configure(source, **changes)`` builds the source that a config with those changes describes."""

    def build(source: Source, **changes: Any) -> Source:
        return typed(type(source), asdict(source) | changes, "dataset.source")  # type: ignore[call-overload]

    return build


@pytest.fixture
def train_one_step(
    tiny_config: DiTConfig,
    edm: EDM,
    tiny_train: Callable[..., TrainConfig],
    tiny_trainer: Callable[..., TrainerConfig],
    tmp_path: Path,
) -> Callable[[Prepared], None]:
    """``train_one_step(data)`` trains a tiny network on it for one step, which must change it."""

    def train(data: Prepared) -> None:
        network = tiny_config.build(data.channels, data.resolution, data.condition_size)
        before = {name: value.clone() for name, value in network.state_dict().items()}
        folder = tmp_path / "model"
        folder.mkdir()
        config = tiny_train(steps=1, batch_size=2, warmup_steps=1)
        pretrain(network, data, np.arange(len(data.train)), edm, config, tiny_trainer(), 0, folder, "Training", None)
        after = load_file(folder / "raw.safetensors")
        assert after.keys() == before.keys() and any(not after[name].equal(before[name]) for name in after)

    return train
