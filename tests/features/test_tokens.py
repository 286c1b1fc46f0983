"""Token ids as conditions: those of the tokenizer, and prompts that it would cut."""

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import CLIPTokenizer

from tdattr.data.preparation import prepare
from tdattr.data.prepared import load
from tdattr.errors import UserError
from tdattr.features.tokens import Tokens
from tdattr.networks.dit import DiTConfig
from tdattr.networks.stable_diffusion import StableDiffusionConfig
from tests.networks.tiny_pipeline import TOKENS, merges, save_pipeline, vocabulary

FITS = "the capital letter a in a bold sans-serif slanted typeface"  # words and marks: one token each
LONG = "the capital letter q in a typeface of letters that nobody has seen"
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_pipeline(tmp_path_factory.mktemp("weights") / "sd")


def test_ids_are_those_of_the_tokenizer(folder: Path) -> None:
    texts = ["a bold letter", "", FITS, "Digit 7"]
    found = Tokens("tokens", str(folder), False).load(CPU)(texts)
    assert found.shape == (4, TOKENS) and found.dtype == np.int32
    pieces = vocabulary()
    start, end = pieces["<|startoftext|>"], pieces["<|endoftext|>"]
    words = [pieces[word] for word in ("a</w>", "bold</w>", "letter</w>")]
    assert found[0].tolist() == [start, *words, *[end] * (TOKENS - 4)]
    assert found[1].tolist() == [start, *[end] * (TOKENS - 1)]
    assert found[3].tolist()[:4] == [start, pieces["digit</w>"], pieces["7</w>"], end]


def test_the_files_of_a_published_folder(folder: Path, tmp_path: Path) -> None:
    """vocab.json and merges.txt, as older versions of transformers wrote them."""
    save_published(tmp_path, vocabulary())
    shutil.copy(folder / "tokenizer" / "tokenizer_config.json", tmp_path / "tokenizer")
    published = Tokens("tokens", str(tmp_path), False)
    files = ("merges.txt", "tokenizer_config.json", "vocab.json")
    assert sorted(published.identity()) == [f"tokenizer/{name}" for name in files]
    np.testing.assert_array_equal(published.load(CPU)([FITS]), Tokens("tokens", str(folder), False).load(CPU)([FITS]))


@pytest.mark.parametrize(
    ("name", "content"), [("special_tokens_map", {"pad_token": "a</w>"}), ("added_tokens", {"letter": 200})]
)
def test_every_file_that_changes_ids_is_in_the_identity(
    name: str, content: dict[str, object], folder: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "sd"
    shutil.copytree(folder, copy)
    (copy / "tokenizer" / f"{name}.json").write_text(json.dumps(content))
    before, after = Tokens("tokens", str(folder), False), Tokens("tokens", str(copy), False)
    assert not np.array_equal(before.load(CPU)(["a bold letter"]), after.load(CPU)(["a bold letter"]))
    assert after.identity().keys() - before.identity().keys() == {f"tokenizer/{name}.json"}


def test_prompts_that_would_be_cut_are_counted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tdattr.features.tokens.TOGETHER", 2)
    prompts = [FITS, LONG, FITS, LONG + " 2", LONG]
    tokens = Tokens("tokens", str(folder), False)
    with pytest.raises(UserError, match=rf"3 of 5 prompts have more than the {TOKENS} tokens .* The first is '{LONG}'"):
        tokens.check(iter(prompts))
    with pytest.raises(UserError, match="1 of 2 prompts has .*dataset.text.truncate=true"):
        tokens.load(CPU)([FITS, LONG])
    tokens.check(iter([FITS] * 5))
    fits, long = tokens.measure([FITS, LONG])
    assert fits <= TOKENS < long and tokens.measure([]) == []


def test_the_whole_of_a_long_prompt_is_not_repeated(folder: Path) -> None:
    tokens, long = Tokens("tokens", str(folder), False), " ".join(["the capital letter q"] * 40)
    with pytest.raises(UserError, match=rf"1 of 1 prompt has more than .* The first is '{long[:79]}…'\.$"):
        tokens.check([long])


def test_cut_prompts_are_named(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    tokens = Tokens("tokens", str(folder), True)
    with caplog.at_level(logging.WARNING):
        tokens.check(iter([FITS, LONG, FITS]))
    assert f"1 of 3 prompts has more than the {TOKENS} tokens" in caplog.text and LONG in caplog.text
    [row] = tokens.load(CPU)([LONG])
    whole = CLIPTokenizer.from_pretrained(str(folder / "tokenizer"))(LONG)["input_ids"]
    assert len(whole) > TOKENS and row.tolist() == [*whole[: TOKENS - 1], whole[-1]]


def model(folder: Path) -> StableDiffusionConfig:
    return StableDiffusionConfig("sd15", str(folder), "", "trained", False, False, "timestep")


def save_published(folder: Path, pieces: dict[str, int]) -> Path:
    """The files of a published tokenizer."""
    (folder / "tokenizer").mkdir(parents=True)
    (folder / "tokenizer" / "vocab.json").write_text(json.dumps(pieces))
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges())]
    (folder / "tokenizer" / "merges.txt").write_text("\n".join(lines) + "\n")
    return folder


def test_the_network_must_read_the_same_ids(folder: Path, tmp_path: Path, tiny_config: DiTConfig) -> None:
    """Whichever files they are from; a network of another tokenizer, or one that is told no ids, is refused."""
    Tokens("tokens", str(folder), False).check_network(model(folder))
    same, other = save_published(tmp_path / "same", vocabulary()), tmp_path / "other"
    pieces = list(vocabulary())
    save_published(other, {piece: index for index, piece in enumerate([*pieces[:2], *pieces[:1:-1]])})
    for place in (same, other):
        shutil.copy(folder / "tokenizer" / "tokenizer_config.json", place / "tokenizer")
    Tokens("tokens", str(same), False).check_network(model(folder))
    with pytest.raises(UserError) as error:
        Tokens("tokens", str(other), False).check_network(model(folder))
    assert str(error.value) == (
        f"The tokenizer of dataset.text.weights={other} gives other token ids than that of model.weights={folder}, "
        "which the model reads: leave dataset.text.weights out."
    )
    config = json.loads((same / "tokenizer" / "tokenizer_config.json").read_text())
    longer = save_published(tmp_path / "longer", vocabulary())
    (longer / "tokenizer" / "tokenizer_config.json").write_text(json.dumps(config | {"model_max_length": TOKENS + 1}))
    with pytest.raises(UserError, match="gives other token ids"):
        Tokens("tokens", str(longer), False).check_network(model(folder))
    with pytest.raises(UserError, match="gives token ids, which this model is not told: choose model=sd15"):
        Tokens("tokens", str(folder), False).check_network(tiny_config)


def test_they_are_stored_as_conditions(folder: Path, tmp_path: Path) -> None:
    from tdattr.data.glyphs import Glyphs

    source = Glyphs(8, "matplotlib", "digits", "object", "typeface", 2)
    tokens = Tokens("tokens", str(folder), False)
    prepare(source, tmp_path, "digits", tokens.load(CPU))
    data = load(tmp_path)
    assert data.condition_size == TOKENS
    condition = data.train.condition(np.array([3]))
    assert condition is not None and condition.dtype == torch.int32
    np.testing.assert_array_equal(condition.numpy(), tokens.load(CPU)([data.train.items["prompt"][3]]))


def test_a_missing_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="tokenizer/vocab.json.* set dataset.text.weights"):
        Tokens("tokens", str(tmp_path), False).identity()
    with pytest.raises(UserError, match="needs a tokenizer: choose model=sd15, or set dataset.text.weights"):
        Tokens("tokens", None, False).identity()
