"""CLIP, read from a folder as the hub has it: a tiny model of the right architecture, made and saved here."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torchvision.transforms import functional as vision

from tdattr.configs import typed
from tdattr.errors import UserError
from tdattr.features import Setting, identities
from tdattr.features.clip import ClipImage, ClipText, preprocessing
from tdattr.files import known
from tdattr.methods.features import Features
from tests.features.tiny_clip import MEAN, SIZE, STD, WIDTH, save_clip


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("weights") / "clip"
    return folder, save_clip(folder)


def image(folder: Path, **changes: Any) -> ClipImage:
    return ClipImage(
        **{"name": "c", "weights": str(folder), "file": "model.safetensors", "output": "projected"} | changes
    )


def pictures(size: int, channels: int = 3) -> torch.Tensor:
    return torch.rand(3, channels, size, size, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.parametrize("output", ["projected", "pooled"])
def test_image_vectors_are_those_of_the_model(saved: tuple[Path, Any], setting: Setting, output: str) -> None:
    folder, model = saved
    x = pictures(SIZE)
    standard = vision.normalize((x + 1) / 2, MEAN, STD)
    with torch.inference_mode():
        pooled = model.vision_model(pixel_values=standard).pooler_output
        expected = model.visual_projection(pooled) if output == "projected" else pooled
    torch.testing.assert_close(image(folder, output=output).load(setting)(x), expected)


def test_other_sizes_and_gray_are_made_to_fit(saved: tuple[Path, Any], setting: Setting) -> None:
    folder, model = saved
    x = pictures(8, channels=1)
    enlarged = vision.resize((x + 1) / 2, [SIZE, SIZE], vision.InterpolationMode.BICUBIC, antialias=True).clamp(0, 1)
    with torch.inference_mode():
        standard = vision.normalize(enlarged.expand(-1, 3, -1, -1), MEAN, STD)
        expected = model.visual_projection(model.vision_model(pixel_values=standard).pooler_output)
    torch.testing.assert_close(image(folder).load(setting)(x), expected, atol=1e-5, rtol=1e-4)


def test_texts(saved: tuple[Path, Any]) -> None:
    folder, model = saved
    encode = ClipText("c", str(folder), "model.safetensors", batch_size=2, width=8).load(torch.device("cpu"))
    texts = ["a cat", "dogs, 2", "a" * 50, "ein kätzchen – 子猫", "A cat"]
    vectors = encode(texts)
    assert vectors.shape == (5, WIDTH) and vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(vectors[0], vectors[4], atol=1e-6)  # CLIP's tokenizer lowers
    assert np.abs(vectors[0] - vectors[1]).max() > 1e-3
    np.testing.assert_allclose(encode(texts[::-1]), vectors[::-1], atol=1e-6)  # whatever stands in the same batch
    order = {piece: index for index, piece in enumerate(json.loads((folder / "vocab.json").read_text()))}
    ids = [0, order["a</w>"], order["c"], order["a"], order["t</w>"], 1]
    with torch.inference_mode():
        alone = model.text_projection(model.text_model(torch.tensor([ids])).pooler_output)
    np.testing.assert_allclose(vectors[0], torch.nn.functional.normalize(alone, dim=1)[0], atol=1e-5)


def test_the_identity_follows_the_weights_and_not_their_place(
    saved: tuple[Path, Any], setting: Setting, tmp_path: Path
) -> None:
    folder, _ = saved
    save_clip(tmp_path / "same")
    save_clip(tmp_path / "other", seed=1)
    first = identities(Features("clip", image(folder)), setting)
    assert identities(Features("clip", image(tmp_path / "same")), setting) == first
    assert identities(Features("clip", image(tmp_path / "other")), setting) != first


def test_what_is_missing_or_damaged_is_named(saved: tuple[Path, Any], setting: Setting, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"model.safetensors, config.json, .*nowhere/deep: put them there"):
        image(tmp_path / "nowhere" / "deep").identity(setting)
    with pytest.raises(UserError, match=r"hf download org/model model.safetensors config.json") as caught:
        image(Path("org/model")).identity(setting)
    assert "\n" not in str(caught.value)
    save_clip(tmp_path / "clip")
    (tmp_path / "clip" / "preprocessor_config.json").rename(tmp_path / "away")
    with pytest.raises(UserError, match=r"Weights are missing, preprocessor_config.json expected in "):
        image(tmp_path / "clip").identity(setting)
    (tmp_path / "away").rename(tmp_path / "clip" / "preprocessor_config.json")
    path = tmp_path / "clip" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"holds no CLIP model .*fetch it again"):
        image(tmp_path / "clip").load(setting)
    node = {"name": "c", "weights": "w", "file": "f", "output": "middle"}
    with pytest.raises(UserError, match=r"^extractor.output=middle is unknown: choose projected or pooled\.$"):
        typed(ClipImage, node, "extractor")


def test_weights_that_are_not_all_there_are_refused(saved: tuple[Path, Any], setting: Setting, tmp_path: Path) -> None:
    save_clip(tmp_path / "clip")
    path = tmp_path / "clip" / "model.safetensors"
    tensors = load_file(path)
    del tensors["visual_projection.weight"]
    save_file(tensors, path)
    with pytest.raises(UserError, match=r"lacks 1 tensor of the model, first visual_projection.weight"):
        image(tmp_path / "clip").load(setting)


def test_the_named_file_is_the_one_that_is_read(saved: tuple[Path, Any], setting: Setting, tmp_path: Path) -> None:
    save_clip(tmp_path / "clip")
    other = save_clip(tmp_path / "other", seed=1)
    torch.save(other.state_dict(), tmp_path / "clip" / "pytorch_model.bin")
    x = pictures(SIZE)
    first, second = (image(tmp_path / "clip", file=name) for name in ("model.safetensors", "pytorch_model.bin"))
    assert not torch.allclose(first.load(setting)(x), second.load(setting)(x))
    torch.testing.assert_close(second.load(setting)(x), image(tmp_path / "other").load(setting)(x))
    assert first.identity(setting) != second.identity(setting)


@pytest.mark.parametrize(
    ("content", "size"),
    [({"size": {"height": 32, "width": 32}}, 32), ({"size": 24}, 24), ({"size": {"shortest_edge": 16}}, 16)],
)
def test_forms_of_the_preprocessing(tmp_path: Path, content: dict[str, Any], size: int) -> None:
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps(content | {"image_mean": MEAN, "image_std": STD}))
    assert preprocessing(tmp_path) == (size, MEAN, STD)
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"does not hold size, image_mean and image_std .*fetch it again"):
        preprocessing(tmp_path)


def test_digests_are_read_once_per_process(saved: tuple[Path, Any], setting: Setting) -> None:
    image(saved[0]).identity(setting)
    before = len(known)
    image(saved[0]).identity(setting)
    assert len(known) == before > 0


def hub_text(repository: Path, monkeypatch: pytest.MonkeyPatch) -> ClipText:
    """That of a hub repository, of which this machine has the files in that folder."""
    monkeypatch.setattr("tdattr.pretrained.find_snapshot", lambda *given, **more: repository)
    return ClipText("c", "org/model", "model.safetensors", batch_size=2, width=8)


def test_optional_files_of_the_hub_count_by_what_they_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, bare, other = tmp_path / "whole", tmp_path / "bare", tmp_path / "other"
    save_clip(whole)
    for folder in (bare, other):
        shutil.copytree(whole, folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):  # what a machine may have or not
        (bare / name).unlink()
    (other / "added_tokens.json").write_text(json.dumps({"cat": 60}))
    cpu = torch.device("cpu")
    identity = hub_text(whole, monkeypatch).identity()
    vectors = hub_text(whole, monkeypatch).load(cpu)(["a cat"])
    text = hub_text(bare, monkeypatch)
    assert text.identity() == identity and set(identity) == {"model.safetensors", "config.json", "tokenizer"}
    np.testing.assert_array_equal(text.load(cpu)(["a cat"]), vectors)
    assert hub_text(other, monkeypatch).identity() != identity
    local = ClipText("c", str(whole), "model.safetensors", batch_size=2, width=8).identity()
    files = {"model.safetensors", "config.json", "vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json"}
    assert set(local) == files  # as ever: the digest of every file that is there
