"""The glyphs: 62 characters in 21 typefaces, split evenly, every one of them visible."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

from tdattr.configs import build
from tdattr.data import glyphs, typefaces
from tdattr.data.glyphs import OBJECTS, Glyphs
from tdattr.data.preparation import prepare
from tdattr.data.prepared import Prepared, Source, load
from tdattr.data.style_prompts import PromptForm
from tdattr.data.typefaces import FONTPKG, MATPLOTLIB, STYLES, find_font, list_packages
from tdattr.errors import UserError

YAML = Path(__file__).parents[2] / "conf" / "dataset" / "glyphs.yaml"
SOURCE = Glyphs(
    resolution=16, typefaces="matplotlib", characters="all", condition="object", prompts="typeface", held_out=2
)
NAMES = [f"{family} {cut}" for _, family, cut, _ in MATPLOTLIB]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    folder = tmp_path_factory.mktemp("glyphs")
    prepare(SOURCE, folder, "glyphs")
    return load(folder)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip the slow drawing where only conditions and counts matter."""
    blank = dict.fromkeys(OBJECTS, np.zeros((16, 16, 1), np.uint8))
    monkeypatch.setattr(glyphs, "draw", lambda path, resolution: blank)


def test_yaml_describes_the_source() -> None:
    assert build(OmegaConf.load(YAML).source, "dataset.source") == SOURCE


def test_counts_and_split(data: Prepared) -> None:
    assert (len(data.train), len(data.test), data.resolution, data.channels) == (1178, 124, 16, 1)
    pairs = [set(zip(split.items.object, split.items["style"], strict=True)) for split in (data.train, data.test)]
    assert not pairs[0] & pairs[1] and len(pairs[0] | pairs[1]) == 1302
    assert set(data.test.items.object.value_counts()) == {2}
    held_out = data.test.items["style"].value_counts()
    assert set(held_out.index) == set(NAMES) and set(held_out) <= {5, 6}


def test_every_image_is_visible_and_its_own(data: Prepared) -> None:
    for split in (data.train, data.test):
        assert (split.pixels.max(axis=(1, 2, 3)) > 100).all()
        assert (split.pixels.min(axis=(1, 2, 3)) < 50).all()
    drawn: dict[str, list[bytes]] = {style: [] for style in NAMES}
    for split in (data.train, data.test):
        for style, image in zip(split.items["style"], split.pixels, strict=True):
            drawn[style].append(image.tobytes())
    for style, characters in drawn.items():
        assert len(set(characters)) == len(OBJECTS), style


def test_prompts_and_fields(data: Prepared) -> None:
    rows = data.train.items.set_index(["object", "style"])
    assert rows.loc[("A", "STIX General Bold"), "prompt"] == "the capital letter A in a bold serif upright typeface"
    assert str(rows.loc[("7", "DejaVu Sans Mono Oblique"), "prompt"]).startswith("the digit 7 in a monospaced")
    assert set(data.train.items.family) == {family for _, family, _, _ in MATPLOTLIB}
    assert set(data.train.items.object) == set(OBJECTS)


@pytest.mark.parametrize(("condition", "size"), [("object", 62), ("style", 21), ("family", 9)])
def test_class_conditions(undrawn: None, condition: str, size: int) -> None:
    source = replace(SOURCE, condition=condition)
    names: dict[int, set[str]] = {}
    for example in source.examples("train"):
        vector = example.condition
        assert vector is not None and vector.shape == (1, size) and vector.sum() == 1
        names.setdefault(int(vector.argmax()), set()).add(example.fields[condition])
    assert len(names) == size and all(len(found) == 1 for found in names.values())


def test_prompt_condition_and_none(undrawn: None) -> None:
    example = next(replace(SOURCE, condition="prompt").examples("train"))
    assert example.condition is not None and example.condition.shape == (1, 62 + 6)
    assert example.condition.dtype == np.float32 and example.condition.sum() == 1 + len(
        example.fields["descriptors"].split()
    )
    assert next(replace(SOURCE, condition="none").examples("train")).condition is None


@pytest.mark.parametrize(
    ("characters", "first", "count"), [("capitals", "A", 26), ("small", "a", 26), ("digits", "0", 10)]
)
def test_some_of_the_characters(undrawn: None, characters: str, first: str, count: int) -> None:
    source = replace(SOURCE, characters=characters)
    examples = list(source.examples("train"))
    assert len(examples) == source.count("train") == 19 * count
    assert examples[0].fields["object"] == first
    assert len({example.fields["object"] for example in examples}) == count
    vectors = {example.fields["object"]: example.condition for example in examples}
    assert all(vector is not None and vector.shape == (1, count) for vector in vectors.values())
    assert sum(vector for vector in vectors.values() if vector is not None).min() == 1  # each has its own place


def test_wrong_values_are_refused(configure: Callable[..., Source]) -> None:
    with pytest.raises(UserError, match="dataset.source.characters=greek is unknown"):
        configure(SOURCE, characters="greek")
    with pytest.raises(UserError, match="dataset.source.condition=colour is unknown"):
        configure(SOURCE, condition="colour")
    with pytest.raises(UserError, match="dataset.source.held_out=21"):
        configure(SOURCE, held_out=21)


def test_nothing_held_out(undrawn: None) -> None:
    source = replace(SOURCE, held_out=0)
    assert (source.count("train"), source.count("test")) == (1302, 0) and not list(source.examples("test"))


def test_depictions_are_read_as_the_prompts_of_guda_c_are(undrawn: None) -> None:
    examples = list(replace(SOURCE, prompts="depiction", held_out=0).examples("train"))
    words: dict[str, set[frozenset[str]]] = {}
    for example in examples:
        prompt = PromptForm().parse(example.prompts[0])
        character = example.fields["object"]
        assert prompt.object.startswith("the ") and prompt.object.endswith(f" {character}")
        said = "digit" if character.isdigit() else "capital" if character.isupper() else "small"
        assert prompt.object.split()[1] == said
        words.setdefault(example.fields["family"], set()).add(frozenset(prompt.descriptors))
    assert words == {family: {frozenset(style)} for family, style in STYLES.items()}
    assert len({frozenset(style) for style in STYLES.values()}) == len(STYLES)
    orders = {example.prompts[0].partition("featuring")[2] for example in examples}
    assert len(orders) > len(STYLES)  # the order of the words says nothing


def test_the_other_typefaces(undrawn: None) -> None:
    pytest.importorskip("fontpkg_arvo", reason="the extra fonts is not installed")
    source = replace(SOURCE, typefaces="fontpkg", characters="digits", condition="prompt", prompts="depiction")
    examples = list(source.examples("train"))
    assert len(examples) == source.count("train") == 10 * (len(FONTPKG) - 2)
    for example in examples:
        words = PromptForm().parse(example.prompts[0]).descriptors
        assert len(set(words)) == 3 and set(words) <= set(example.fields["descriptors"].split())
        assert example.condition is not None and example.condition[0, 10:].sum() == len(
            example.fields["descriptors"].split()
        )
    assert {typeface.family for typeface in FONTPKG}.isdisjoint(typeface.family for typeface in MATPLOTLIB)
    assert all(find_font("fontpkg", typeface).is_file() for typeface in FONTPKG)
    assert len(source.fingerprint()) == 12  # the packages, and Pillow


def test_a_missing_package_of_fonts_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(typefaces.COLLECTIONS, "fontpkg", [FONTPKG[0]._replace(file="nowhere/None")])
    with pytest.raises(UserError, match=r"fontpkg_nowhere, which is missing: run pip install 'tdattr\[fonts\]'"):
        list_packages("fontpkg")
