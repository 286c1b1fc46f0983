"""LPIPS, features and the Fréchet distance against their definitions; which measures a run takes."""

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from omegaconf import OmegaConf
from scipy import linalg
from torch import Tensor, nn

from tdattr.configs import typed
from tdattr.errors import UserError
from tdattr.features import Embed, Extractor, Setting
from tdattr.metrics.choice import choose_measures
from tdattr.metrics.feature_similarity import FeatureSimilarity
from tdattr.metrics.frechet import Moments, frechet_distance, moments
from tdattr.metrics.perceptual import LPIPS


def pictures(count: int, size: int = 64, channels: int = 3) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(0)
    first = torch.rand(count, channels, size, size, generator=rng) * 2 - 1
    other = torch.rand(count, channels, size, size, generator=rng) * 2 - 1
    return first, torch.lerp(first, other, torch.linspace(0.1, 0.9, count)[:, None, None, None])


@pytest.fixture(scope="module")
def alexnet(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, nn.Module]:
    """torchvision's file with random weights, its large last layers cut down."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = torchvision.models.alexnet(weights=None).eval()
    path = tmp_path_factory.mktemp("weights") / "alexnet.pth"
    torch.save({name: value for name, value in network.state_dict().items() if name.startswith("features")}, path)
    return path, network.features


def lpips_of(path: Path, size: int = 64, net: str = "alex") -> LPIPS:
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()[:8] if path.exists() else "0" * 8
    return LPIPS(net, str(path), "https://example.org/net.pth", sha256, size)


def test_lpips_is_its_formula(alexnet: tuple[Path, nn.Module], setting: Setting) -> None:
    """Zhang et al. 2018, eq. 1, with the package's linear weights and channels unit-normalised at every position."""
    import lpips

    path, layers = alexnet
    first, second = pictures(4)
    found = lpips_of(path).load(replace(setting, batch_size=3))(first, second)
    weights = torch.load(Path(lpips.__file__).parent / "weights" / "v0.1" / "alex.pth", "cpu", weights_only=True)
    shift = torch.tensor([-0.030, -0.088, -0.188])[:, None, None]
    scale = torch.tensor([0.458, 0.448, 0.450])[:, None, None]
    total = torch.zeros(4)
    x, y = ((images - shift) / scale for images in (first, second))
    taken = 0
    with torch.inference_mode():
        for layer in layers:
            x, y = layer(x), layer(y)
            if isinstance(layer, nn.ReLU):
                a, b = (each / (each.norm(dim=1, keepdim=True) + 1e-10) for each in (x, y))
                total += ((a - b) ** 2 * weights[f"lin{taken}.model.1.weight"]).sum(1).mean((1, 2))
                taken += 1
    assert taken == 5
    torch.testing.assert_close(found, 1 - total, atol=1e-4, rtol=1e-4)
    assert (found.diff() < 0).all()


def test_lpips_of_gray_and_of_small_images(alexnet: tuple[Path, nn.Module], setting: Setting) -> None:
    compare = lpips_of(alexnet[0], size=96).load(setting)
    first, second = pictures(2, size=16, channels=1)
    values = compare(first, second)
    assert values.shape == (2,) and (values < 1).all()
    torch.testing.assert_close(compare(first, first), torch.ones(2))
    torch.testing.assert_close(compare(first.expand(-1, 3, -1, -1), second.expand(-1, 3, -1, -1)), values)


def test_lpips_files_that_do_not_fit(alexnet: tuple[Path, nn.Module], setting: Setting, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is not torchvision's vgg network"):
        lpips_of(alexnet[0], net="vgg").load(setting)
    with pytest.raises(
        UserError, match=r"curl -L --create-dirs -o .*none.pth .*set measures.lpips.weights to where it"
    ):
        lpips_of(tmp_path / "none.pth").identity(setting)
    with pytest.raises(UserError, match=r"set measures.lpips.sha256 to its digest"):
        replace(lpips_of(alexnet[0]), sha256="abcdef01").identity(setting)
    node = {"net": "resnet", "weights": "w", "url": "u", "sha256": "0", "size": 224}
    with pytest.raises(UserError, match=r"measures.lpips.net=resnet is unknown: choose vgg or alex"):
        typed(LPIPS, node, "measures.lpips")


@dataclass(frozen=True)
class Mean(Extractor):
    """An extractor: the mean colour."""

    name: str = "mean"

    def identity(self, setting: Setting) -> Mapping[str, str]:
        return {"weights": "m"}

    def load(self, setting: Setting) -> Embed:
        return lambda images: 10 * images.mean((2, 3))


def test_feature_similarity_is_the_cosine(setting: Setting) -> None:
    first, second = pictures(12)
    measure = FeatureSimilarity(Mean())
    a, b = (images.mean((2, 3)).double().numpy() for images in (first, second))
    expected = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    np.testing.assert_allclose(measure.load(setting)(first, second), expected, atol=1e-5)
    assert measure.identity(setting) == {"weights": "m"}


def test_moments_do_not_depend_on_the_batches_nor_on_a_large_mean() -> None:
    values = np.random.default_rng(0).normal(size=(40, 3)) @ np.diag([1, 2, 0.1]) + 1e4
    found = moments(torch.from_numpy(values).split(7))
    np.testing.assert_allclose(found.mean, values.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.covariance, np.cov(values.T), atol=1e-9)


def test_frechet_distance_against_its_formula() -> None:
    rng = np.random.default_rng(1)
    first, second = (rng.normal(size=(60, 4)) @ rng.normal(size=(4, 4)) + shift for shift in (0, 0.5))
    a, b = (moments([torch.from_numpy(values)]) for values in (first, second))
    root = linalg.sqrtm(np.cov(first.T) @ np.cov(second.T)).real
    expected = ((first.mean(0) - second.mean(0)) ** 2).sum() + np.trace(np.cov(first.T) + np.cov(second.T) - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(expected)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)
    # one dimension, by hand: (3 - 1)² + 4 + 9 - 2 sqrt(36)
    assert frechet_distance(
        Moments(np.array([1.0]), np.array([[4.0]])), Moments(np.array([3.0]), np.array([[9.0]]))
    ) == pytest.approx(5)


MODULE = "tdattr.metrics"
NODES = OmegaConf.create(
    {
        "mse": {"_target_": f"{MODULE}.similarity.MSE"},
        "mean": {
            "_target_": f"{MODULE}.feature_similarity.FeatureSimilarity",
            "extractor": {"_target_": f"{__name__}.Mean", "name": "mean"},
        },
        "lpips": {
            "_target_": f"{MODULE}.perceptual.LPIPS",
            "net": "vgg",
            "weights": "/nowhere/vgg.pth",
            "url": "https://example.org/vgg.pth",
            "sha256": "397923af",
            "size": 224,
        },
    }
)


def test_named_measures(setting: Setting) -> None:
    assert list(choose_measures(["mean", "mse", "mean"], NODES, setting)) == ["mean", "mse"]
    assert list(choose_measures("mse", NODES, setting)) == ["mse"]
    for wrong, words in ((["beauty"], "names 'beauty': name some of lpips, mean, mse"), ([], "is empty")):
        with pytest.raises(UserError, match=f"^metrics {words}"):
            choose_measures(wrong, NODES, setting)
    with pytest.raises(UserError, match=r"Weights are missing, /nowhere/vgg.pth"):
        choose_measures(["mse", "lpips"], NODES, setting)


def test_auto_takes_what_is_there_and_names_what_is_not(setting: Setting, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert list(choose_measures("auto", NODES, replace(setting, download=True))) == ["mse", "mean"]
    assert "metrics=auto takes mse, mean." in caplog.text
    assert "metrics=auto leaves out lpips. Weights are missing, /nowhere/vgg.pth expected: fetch it" in caplog.text


def test_auto_fetches_nothing(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    downloads: list[Any] = []

    def identity(self: Mean, setting: Setting) -> Mapping[str, str]:
        downloads.append(setting.download)
        return {}

    monkeypatch.setattr(Mean, "identity", identity)
    choose_measures("auto", NODES, replace(setting, download=True))
    choose_measures(["mean"], NODES, replace(setting, download=True))
    assert downloads == [False, True]
