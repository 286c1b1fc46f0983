"""A Stable Diffusion from the command line, at the size of a toy: prompts, base weights, MUCS and LOGO on pixels."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from tests.e2e.console import tdattr
from tests.e2e.tiny_text import MUCS, SMALL, TOKENS
from tests.networks.tiny_pipeline import save_pipeline


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sd")
    save_pipeline(folder / "sd")
    return folder


def weights(folder: Path) -> list[dict[str, torch.Tensor]]:
    return [load_file(path) for path in sorted(folder.glob("outputs/artifacts/pretrain/*/raw.safetensors"))]


def test_mucs_and_logo(folder: Path) -> None:
    base = load_file(folder / "sd" / "unet" / "diffusion_pytorch_model.safetensors")
    encoder = (folder / "sd" / "text_encoder" / "model.safetensors").read_bytes()
    done = tdattr("method=mucs", *MUCS, *SMALL, TOKENS, folder=folder)
    assert "Adopted from the checkpoint" in done.stderr and "diffusion.sampler=dpm_solver" in done.stderr
    assert "diffusion.clip" not in done.stderr  # which DPM-Solver++ does not do
    [f1] = weights(folder)
    assert f1.keys() == {f"unet.{name}" for name in base}  # the U-Net alone
    moved = max(float((f1[f"unet.{name}"] - value).abs().max()) for name, value in base.items())
    assert 0 < moved < 0.1  # it starts from the base
    assert not list(folder.glob("outputs/artifacts/pretrain/*/ema.safetensors"))

    done = tdattr("method=logo", "protocol=logo", "elbo.stride=300", *SMALL, TOKENS, folder=folder)
    assert "Retraining 9 of 9" in done.stderr
    folds = weights(folder)
    assert len(folds) == 1 + 9
    for fold in folds:  # also they start from there
        assert max(float((fold[f"unet.{name}"] - value).abs().max()) for name, value in base.items()) < 0.1
    summary = json.loads(max(folder.glob("outputs/runs/**/summary.json"), key=lambda p: p.stat().st_mtime).read_text())
    assert summary["agreement"]["spearman"]["mean"] == 1
    assert (folder / "sd" / "text_encoder" / "model.safetensors").read_bytes() == encoder


def test_the_base_as_f1(folder: Path) -> None:
    before = len(weights(folder))
    done = tdattr("method=random", "until=generate", "model.f1=base", *SMALL, TOKENS, folder=folder)
    assert "Training" not in done.stderr and len(weights(folder)) == before
    [f1] = [load_file(path) for path in folder.glob("outputs/artifacts/checkpoint/*/raw.safetensors")]
    base = load_file(folder / "sd" / "unet" / "diffusion_pytorch_model.safetensors")
    assert all(torch.equal(f1[f"unet.{name}"], value) for name, value in base.items())


@pytest.mark.parametrize("form", ["file", "folder", "pipeline"])
def test_a_unet_that_diffusers_has_saved_is_f1(folder: Path, tmp_path: Path, form: str) -> None:
    (tmp_path / "sd").symlink_to(folder / "sd")
    save_pipeline(tmp_path / "own", seed=7)
    given = {"file": "own/unet/diffusion_pytorch_model.safetensors", "folder": "own/unet", "pipeline": "own"}[form]
    done = tdattr("method=random", "until=generate", f"checkpoint={given}", *SMALL, TOKENS, folder=tmp_path)
    assert "Training" not in done.stderr
    [f1] = [load_file(path) for path in tmp_path.glob("outputs/artifacts/checkpoint/*/raw.safetensors")]
    own = load_file(tmp_path / "own" / "unet" / "diffusion_pytorch_model.safetensors")
    assert f1.keys() == {f"unet.{name}" for name in own}
    assert all(torch.equal(f1[f"unet.{name}"], value) for name, value in own.items())


def test_a_unet_of_another_size_is_refused_before_anything_is_prepared(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "sd").symlink_to(folder / "sd")
    save_pipeline(tmp_path / "own", block_out_channels=(16, 32))
    done = tdattr("method=random", "checkpoint=own/unet", *SMALL, TOKENS, folder=tmp_path, check=False)
    assert done.returncode == 1 and "was made by another architecture: of its tensors" in done.stderr
    assert "the first unet.conv_in.bias (file (16,), model (8,))" in done.stderr
    (tmp_path / "empty").mkdir()
    done = tdattr("method=random", "checkpoint=empty", *SMALL, TOKENS, folder=tmp_path, check=False)
    assert "checkpoint=empty is a folder without diffusion_pytorch_model.safetensors: give" in done.stderr
    assert not list(tmp_path.glob("outputs/artifacts/*/*"))


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ([], "is told prompts but the dataset has conditions of 62 numbers: choose +text@dataset.text=tokens"),
        ([TOKENS, "weights=ema"], "train.keep=raw does not store weights=ema: set train.keep=both, or weights=raw."),
        ([TOKENS, "train.accumulate=3"], "multiple of trainer.devices=1 times train.accumulate=3."),
        ([TOKENS, "diffusion=edm"], "set diffusion=diffusers, which adopts its scheduler."),
        ([TOKENS, "model.weights=nowhere"], "expected in nowhere"),
        ([TOKENS, "dataset=digits"], "has no prompt to make a condition of"),
    ],
)
def test_what_does_not_fit(folder: Path, overrides: list[str], sentence: str) -> None:
    characters = [] if "dataset=digits" in overrides else ["dataset.source.characters=all"]
    small = [value for value in SMALL if characters or not value.startswith("dataset.source")]
    done = tdattr(*small, *characters, *overrides, folder=folder, check=False)
    assert done.returncode == 1 and sentence in " ".join(done.stderr.split())


@pytest.mark.parametrize("dataset", ["glyphs", "image_folder"])
@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ([], "is told prompts but the dataset has "),
        ([TOKENS, "model.weights=wide"], "takes x of 4 channels, not "),
        ([TOKENS, "protocol=leave_k_out", "queries.attributed=1"], "set queries.attributed to 2 or more."),
    ],
)
def test_what_does_not_fit_any_item_is_said_before_they_are_prepared(
    folder: Path, tmp_path: Path, dataset: str, overrides: list[str], sentence: str
) -> None:
    (tmp_path / "sd").symlink_to(folder / "sd")
    save_pipeline(tmp_path / "wide", in_channels=4, out_channels=4)
    (tmp_path / "images").mkdir()
    Image.new("L", (9, 9)).save(tmp_path / "images" / "one.png")
    if dataset == "image_folder":
        small = [value for value in SMALL if not value.startswith("dataset")]
        small += ["dataset=image_folder", "dataset.source.root=images", "dataset.source.resolution=8"]
    else:
        small = SMALL
    done = tdattr(*small, *overrides, folder=tmp_path, check=False)
    assert done.returncode == 1 and sentence in done.stderr.splitlines()[-1]
    assert not list(tmp_path.glob("outputs/artifacts/*/*"))
