"""scikit-learn's digits against what scikit-learn itself loads."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf
from sklearn.datasets import load_digits

from tdattr.configs import build
from tdattr.data.digits import Digits
from tdattr.data.preparation import prepare
from tdattr.data.prepared import Prepared, Source, load
from tdattr.errors import UserError

YAML = Path(__file__).parents[2] / "conf" / "dataset" / "digits.yaml"
SOURCE = Digits(condition="label", held_out=10)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    folder = tmp_path_factory.mktemp("digits")
    prepare(SOURCE, folder, "digits")
    return load(folder)


def test_yaml_describes_the_source() -> None:
    assert build(OmegaConf.load(YAML).source, "dataset.source") == SOURCE


def test_counts_and_stratified_split(data: Prepared) -> None:
    assert (len(data.train), len(data.test), data.resolution, data.channels) == (1621, 176, 8, 1)
    assert set(data.test.items.label.value_counts()) == {17, 18}


def test_pixels_and_labels_survive(data: Prepared) -> None:
    images, labels = load_digits(return_X_y=True)
    expected = sorted(
        (int(label), tuple(np.rint(i * 255 / 16).astype(int))) for i, label in zip(images, labels, strict=True)
    )
    found = [
        (int(label), tuple(image.flatten().astype(int)))
        for split in (data.train, data.test)
        for image, label in zip(split.pixels, split.items.label, strict=True)
    ]
    assert sorted(found) == expected
    assert data.train.pixels.min() == 0 and data.train.pixels.max() == 255


def test_conditions_are_the_labels(data: Prepared) -> None:
    for split in (data.train, data.test):
        assert split.conditions is not None and split.conditions.shape == (len(split), 1, 10)
        assert split.conditions.argmax(-1).flatten().tolist() == split.items.label.astype(int).tolist()
        assert list(split.items.id) == list(range(len(split)))


def test_unconditional_and_nothing_held_out() -> None:
    source = Digits(condition="none", held_out=0)
    assert (source.count("train"), source.count("test")) == (1797, 0)
    example = next(source.examples("train"))
    assert example.condition is None and example.fields == {"label": "0"}


def test_fingerprint_is_the_file() -> None:
    assert SOURCE.fingerprint() == replace(SOURCE, held_out=5).fingerprint() and "digits.csv.gz" in SOURCE.fingerprint()


@pytest.mark.parametrize("change", [{"condition": "style"}, {"held_out": 1}, {"held_out": -2}])
def test_wrong_values_are_refused(change: dict[str, Any], configure: Callable[..., Source]) -> None:
    with pytest.raises(UserError, match=f"dataset.source.{next(iter(change))}="):
        configure(SOURCE, **change)


def test_missing_scikit_learn_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tdattr.data.digits.find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install scikit-learn"):
        SOURCE.fingerprint()
