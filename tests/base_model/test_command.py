"""The command: a folder that is written in one step, once, and says where it comes from."""

import json
from pathlib import Path

import pytest

from tdattr.errors import UserError
from tdattr.files import digest
from tdattr.integrity import check_files
from tests.base_model.command import SMALL, run

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


def test_a_base_model_is_trained_once_and_replaced_by_another_one(tmp_path: Path) -> None:
    folder = tmp_path / "sd_tiny"
    run(tmp_path, *SMALL)
    check_files(folder)  # digests of all of them
    content = json.loads((folder / "provenance.json").read_text())
    assert content["config"]["seed"] == 1 and content["config"]["unet"]["train"]["steps"] == 2
    facts = content["facts"]
    assert facts["base_vae"]["config"]["vae"]["channels"] == [8, 8] and facts["base_vae"]["seconds"] > 0
    assert 0 <= facts["base_clip"]["facts"]["test_character"] <= 1 and "diffusers" in facts["versions"]
    trained = digest(folder / WEIGHTS)

    run(tmp_path, *SMALL)
    assert json.loads((folder / "provenance.json").read_text()) == content
    run(tmp_path, *SMALL, "base.unet.train.learning_rate=1e-2")  # the VAE and CLIP are those of before
    assert digest(folder / WEIGHTS) != trained
    artifacts = tmp_path / "outputs" / "artifacts"
    assert {stage: len(list((artifacts / stage).glob("[!.]*"))) for stage in ("base_vae", "base_clip", "base")} == {
        "base_vae": 1, "base_clip": 1, "base": 2,
    }  # fmt: skip
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outputs", "sd_tiny"]


def test_other_datasets_and_folders_of_others_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="dataset=digits must be one of glyphs"):
        run(tmp_path, "dataset=digits")
    (tmp_path / "sd_tiny").mkdir()
    (tmp_path / "sd_tiny" / "model_index.json").write_text("{}")
    with pytest.raises(UserError, match=r"sd_tiny is there and not a base model of this command: .* folder=…"):
        run(tmp_path, *SMALL)
    assert not (tmp_path / "outputs").exists()
