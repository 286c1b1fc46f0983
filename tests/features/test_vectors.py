"""Vectors of the training items: of length 1, the same for any batch size, an artifact that survives a kill."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from tdattr import checkpoints
from tdattr.checkpoints import Checkpoint
from tdattr.errors import UserError
from tdattr.features import Embed, Extractor, Setting, identities, training_vectors, unit_vectors
from tdattr.features.classifier import Classifier
from tdattr.metrics.feature_similarity import FeatureSimilarity
from tdattr.metrics.similarity import MSE
from tdattr.rows import Rows


@dataclass(frozen=True)
class Corners(Extractor):
    """Two pixels of an image and a constant; counts what it is asked for and can be made to fail."""

    unaddressed: ClassVar[tuple[str, ...]] = ("name", "seen", "fail_after")

    name: str = "corners"
    seen: list[int] = field(default_factory=list)
    fail_after: int = 10**9

    def identity(self, setting: Setting) -> Mapping[str, str]:
        return {}

    def load(self, setting: Setting) -> Embed:
        def embed(images: Tensor) -> Tensor:
            if sum(self.seen) >= self.fail_after:
                raise KeyboardInterrupt
            self.seen.append(len(images))
            return torch.stack([images[:, 0, 0, 0], images[:, 0, -1, -1], torch.full((len(images),), 0.5)], 1)

        return embed


def expected(setting: Setting) -> np.ndarray:
    values = setting.data.train.pixels[..., 0].astype(float) / 127.5 - 1
    vectors = np.stack([values[:, 0, 0], values[:, -1, -1], np.full(len(values), 0.5)], 1)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("batch_size", [1, 7, 48, 1000])
def test_vectors_do_not_depend_on_the_batch_size(setting: Setting, batch_size: int) -> None:
    setting = replace(setting, batch_size=batch_size)
    corners = Corners()
    found = training_vectors(corners, corners.load(setting), setting)
    assert isinstance(found, np.memmap) and max(corners.seen) <= batch_size
    np.testing.assert_allclose(found, expected(setting), atol=1e-6)
    asked = len(corners.seen)
    training_vectors(corners, corners.load(setting), setting)
    assert len(corners.seen) == asked  # the artifact is there


def test_a_kill_costs_one_block(setting: Setting) -> None:
    killed = Corners(fail_after=20)
    with pytest.raises(KeyboardInterrupt):
        training_vectors(killed, killed.load(setting), setting)
    again = Corners()
    found = training_vectors(again, again.load(setting), setting)
    assert sum(killed.seen) == 20 and sum(again.seen) == 48 - 20
    np.testing.assert_allclose(found, expected(setting), atol=1e-6)


def test_rows_go_on_where_they_stopped(tmp_path: Any) -> None:
    rows = Rows(tmp_path, "a", 5)
    rows.write(x=np.arange(4).reshape(2, 2), y=np.ones((2, 3), np.uint8))
    rows = Rows(tmp_path, "a", 5)
    assert rows.done == 2 and rows.shape("x") == (2,) and rows.shape("z") is None
    rows.write(x=np.full((3, 2), 7), y=np.zeros((3, 3), np.uint8))
    rows.close()
    assert np.load(tmp_path / "a_x.npy").tolist() == [[0, 1], [2, 3], [7, 7], [7, 7], [7, 7]]
    assert np.load(tmp_path / "a_y.npy").sum() == 6 and (tmp_path / "a.progress").exists()


def classifier(**changes: Any) -> Classifier:
    plain = Classifier("classifier", "test_resnet", "label", 16, 60, 16, 3e-3, 0.0, 0.0)
    return replace(plain, **changes)


def test_an_interrupted_classifier_ends_at_the_same_weights(
    setting: Setting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "INTERVAL_SECONDS", 0.0)
    write, steps = Checkpoint.write, []

    def stop(self: Checkpoint, content: Any, parts: Any) -> None:
        write(self, content, parts)
        steps.append(content["steps"])
        if steps == [1, 2, 3, 4]:
            raise KeyboardInterrupt

    def train(name: str) -> tuple[Any, float]:
        (tmp_path / name).mkdir(exist_ok=True)
        return classifier(steps=6).train(setting, tmp_path / name)

    model, accuracy = train("whole")
    monkeypatch.setattr(Checkpoint, "write", stop)
    with pytest.raises(KeyboardInterrupt):
        train("killed")
    resumed, found = train("killed")
    assert steps == [1, 2, 3, 4, 5, 6] and found == accuracy
    assert all(torch.equal(value, resumed.state_dict()[name]) for name, value in model.state_dict().items())


def test_the_classifier_learns_the_groups(setting: Setting) -> None:
    # random images can only be learned by heart: 48 of them are, and their classes end up apart
    data = setting.data
    embed = classifier(steps=150).load(setting)
    vectors = unit_vectors(embed, data.train.images(np.arange(48)), setting)
    labels = data.train.items["label"].to_numpy()
    cosines = (vectors @ vectors.T).numpy()
    same = labels[:, None] == labels
    others = ~np.eye(48, dtype=bool)
    assert cosines[same & others].mean() > cosines[~same].mean() + 0.2


def test_the_classifier_is_an_artifact_of_seed_and_groups(setting: Setting, tmp_path: Path) -> None:
    images = setting.data.train.images(np.arange(4))
    few = classifier(steps=2)
    first = few.load(setting)(images)
    torch.testing.assert_close(few.load(setting)(images), first, rtol=0, atol=0)
    assert not torch.equal(few.load(replace(setting, seed=4))(images), first)
    halves = classifier(steps=2, by=write_halves(tmp_path, "a"))
    assert halves.identity(setting) != few.identity(setting)
    assert not torch.equal(halves.load(setting)(images), first)


def test_a_group_may_be_called_seed(setting: Setting, tmp_path: Path) -> None:
    halves = classifier(by=write_halves(tmp_path, "seed"))
    first, second = (halves.identity(replace(setting, seed=seed)) for seed in (1, 2))
    assert first != second


def write_halves(folder: Path, first: str) -> str:
    """A manifest of two groups, the first one of that name."""
    path = folder / "halves.json"
    path.write_text(json.dumps({first: list(range(24)), "b": list(range(24, 48))}))
    return str(path)


def test_networks_there_must_be(setting: Setting) -> None:
    with pytest.raises(UserError, match="timm has no network nope"):
        classifier(architecture="nope").identity(setting)


def test_groups_there_must_be(setting: Setting, tmp_path: Path) -> None:
    one = tmp_path / "one.json"
    one.write_text(json.dumps({"all": list(range(48))}))
    for by, count in ((None, 0), (str(one), 1)):
        with pytest.raises(UserError, match=rf"by={by} gives {count}: set dataset.groups .* another extractor"):
            classifier(by=by).identity(setting)


@dataclass(frozen=True)
class Hiding(Extractor):
    """Leaves out what it reads and does not say what lies there."""

    unaddressed: ClassVar = ("name", "weights", "url")

    name: str
    weights: str
    url: str

    def load(self, setting: Setting) -> Embed:
        return lambda images: images.mean((2, 3))


def test_what_is_left_out_of_the_address_must_be_in_the_identity(setting: Setting) -> None:
    hiding = Hiding("hiding", "/somewhere", "https://example.org")
    with pytest.raises(TypeError, match=r"^Hiding.identity must say what url, weights stand for$"):
        hiding.identity(setting)
    with pytest.raises(TypeError, match=r"Hiding.identity"):
        identities(FeatureSimilarity(hiding), setting)
    with pytest.raises(TypeError, match=r"Hiding.identity"):
        training_vectors(hiding, hiding.load(setting), setting)

    class Saying(Hiding):
        def identity(self, setting: Setting) -> Mapping[str, str]:
            return {"weights": "digest"}

    class Addressed(Hiding):
        unaddressed: ClassVar = ("name",)

    assert Saying("saying", "/somewhere", "u").identity(setting) == {"weights": "digest"}
    assert Addressed("addressed", "/somewhere", "u").identity(setting) == {}
    assert identities(FeatureSimilarity(Saying("saying", "w", "u")), setting) == {"extractor": {"weights": "digest"}}
    assert MSE().identity(setting) == {}


def test_a_measure_depends_on_the_packages_of_what_it_looks_through(setting: Setting) -> None:
    @dataclass(frozen=True)
    class Packaged(Hiding):
        unaddressed: ClassVar = ("name",)
        packages: ClassVar = ("torch", "numpy")

    measure = FeatureSimilarity(Packaged("packaged", "w", "u"))
    expected = {f"version of {name}": version(name) for name in ("numpy", "torch")}
    assert measure.describe_with_identity(setting)["identity"] == expected
    assert identities(measure, setting) == {"extractor": expected}
