"""``tdattr-doctor`` on models that are fine, untrained, damaged or of another size, and on folders of pictures."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from tests.e2e.console import TINY, tdattr
from tests.own_data import save_pictures, save_unet

pytestmark = [pytest.mark.slow, pytest.mark.e2e]

FEW = ["--items", "12", "--levels", "3", "--draws", "2", "--gradients", "2"]
SMALL = ["queries.attributed=2", "queries.controls=2", "trainer.threads=1"]


def doctor(folder: Path, *arguments: str) -> tuple[SimpleNamespace, dict[str, Any]]:
    """What the command prints, and its findings by what was looked at."""
    done = tdattr(*FEW, *arguments, folder=folder, command="doctor", check=False)
    content = json.loads((folder / "outputs/doctor/findings.json").read_text())
    assert (folder / "outputs/doctor/index.html").is_file()
    assert done.returncode == (content["verdict"] == "broken")
    found = {finding["check"]: finding for finding in content["findings"]}
    return done, found | {"tables": content["tables"]}


def test_a_run_is_looked_at_before_and_after_its_training(tmp_path: Path) -> None:
    done, found = doctor(tmp_path, *TINY, "method=pixel", "--no-methods")
    assert done.returncode == 0 and found["weights"]["verdict"] == "open"
    assert "What could be checked is as it should be; the rest is open." in done.stdout
    done, found = doctor(tmp_path, *TINY, "method=pixel", "--no-methods", "--train")
    assert found["weights"]["verdict"] == "fine" and "trained here" in found["weights"]["said"]
    assert found["losses"]["verdict"] in ("look", "broken")  # after 12 steps
    assert found["batch size"]["verdict"] == found["gradients"]["verdict"] == "fine"
    assert [row["level"] for row in found["tables"]["levels"]][-1] == "mean"
    assert f"Page: {Path('outputs/doctor/index.html')}" in done.stdout


def test_methods_have_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tdattr.doctor.methods.load_group", lambda group: ["pixel", "mucs", "guda_c"])
    done, found = doctor(tmp_path, *TINY, "method=mucs")
    assert found["methods"]["verdict"] == "fine" and "2 of 3 methods can run here" in found["methods"]["said"]
    assert [row["method"] for row in found["tables"]["methods"]] == ["mucs", "pixel"]
    assert "Methods that cannot run here" in done.stdout


def test_pictures_and_a_folder_of_diffusers_without_training(tmp_path: Path) -> None:
    save_pictures(tmp_path / "<b>pictures</b>", ("cats", "dogs"), 14)
    save_unet(tmp_path / "model", num_class_embeds=3)
    done, found = doctor(tmp_path, "--data", "<b>pictures</b>", "--model", "model", *SMALL, "--no-methods")
    assert done.returncode == 1 and found["losses"]["verdict"] == "broken"
    assert "the weights look untrained" in found["losses"]["said"]
    assert "brought along" in found["weights"]["said"]
    assert done.stdout.startswith("tdattr dataset=image_folder ")
    page = (tmp_path / "outputs/doctor/index.html").read_text()
    assert "&lt;b&gt;pictures&lt;/b&gt;" in page and "<b>pictures</b>" not in page


def test_without_held_out_pictures_that_is_left_open(tmp_path: Path) -> None:
    data = save_pictures(tmp_path / "pictures", ("cats",), 12)
    for path in data.rglob("*.png"):  # black ones
        Image.fromarray((np.asarray(Image.open(path)) // 20).astype(np.uint8)).save(path)
    save_unet(tmp_path / "model")
    given = ["--data", "pictures", "--model", "model", *SMALL, "dataset.source.held_out=0", "--no-methods"]
    _, found = doctor(tmp_path, *given)
    assert found["training items"]["verdict"] == "open" and "held_out=10" in found["training items"]["remedy"]
    assert found["range"]["verdict"] == "look"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda weights: {**weights, "more": torch.ones(2)}, "was made by another architecture"),
        (
            lambda weights: {name: value * torch.nan if value.ndim > 1 else value for name, value in weights.items()},
            "that are not finite",
        ),
    ],
    ids=["size", "nan"],
)
def test_a_checkpoint_that_does_not_load_is_broken(tmp_path: Path, change: Any, said: str) -> None:
    tdattr(*TINY, "method=pixel", "until=generate", folder=tmp_path)
    [weights] = (tmp_path / "outputs/artifacts/pretrain").glob("*/ema.safetensors")
    save_file(change(load_file(weights)), tmp_path / "mine.safetensors")
    done, found = doctor(tmp_path, "--model", "mine.safetensors", *TINY, "method=pixel", "--no-methods")
    assert done.returncode == 1 and said in found["loading"]["said"] and "levels" not in found["tables"]


def test_a_picture_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    data = save_pictures(tmp_path / "pictures", ("cats",), 3)
    (data / "cats" / "1.png").write_bytes(b"no picture")
    done, found = doctor(tmp_path, "--data", "pictures", *SMALL, "--no-methods")
    assert done.returncode == 1 and "1.png cannot be read as an image" in found["loading"]["said"]
    (tmp_path / "model.safetensors").write_bytes(b"x")
    done = tdattr("--model", "model.safetensors", folder=tmp_path, command="doctor", check=False)
    assert done.returncode == 1 and "is not a readable safetensors file" in done.stderr
