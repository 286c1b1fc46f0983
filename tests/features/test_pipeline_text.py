"""The text encoder of a pipeline against the model that was saved."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from tdattr.errors import UserError
from tdattr.features.pipeline_text import PipelineText
from tdattr.networks.stable_diffusion_folder import ENCODER
from tests.features.tiny_clip import save_clip
from tests.networks.tiny_pipeline import WIDTH, save_pipeline

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the parts that are read of it."""
    folder = tmp_path_factory.mktemp("pipeline")
    model = save_clip(folder / "clip")
    from transformers import CLIPTextModel

    text = CLIPTextModel(model.config.text_config)
    text.load_state_dict(model.text_model.state_dict())
    text.save_pretrained(folder / "text_encoder")
    (folder / "tokenizer").mkdir()
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(folder / "clip" / name, folder / "tokenizer")
    context = {"model_max_length": text.config.max_position_embeddings}
    (folder / "tokenizer" / "tokenizer_config.json").write_text(json.dumps(context))
    return folder


def test_vectors_are_the_pooled_states(pipeline: Path) -> None:
    from transformers import CLIPTextModel

    texts = ["bold", "serif", "a, b", "x" * 40]
    vectors = PipelineText("pipeline", str(pipeline), 3, 16).load(CPU)(texts)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    order = json.loads((pipeline / "tokenizer" / "vocab.json").read_text())
    ids = [0, *(order[letter] for letter in "bol"), order["d</w>"], 1]
    with torch.inference_mode():
        model = CLIPTextModel.from_pretrained(pipeline / "text_encoder")
        expected = torch.nn.functional.normalize(model(torch.tensor([ids])).pooler_output[0], dim=0)
    np.testing.assert_allclose(vectors[0], expected, atol=1e-5)


def test_what_is_missing_or_damaged_is_one_sentence(pipeline: Path, tmp_path: Path) -> None:
    tokenizer = {f"tokenizer/{name}" for name in ("vocab.json", "merges.txt", "tokenizer_config.json")}
    assert set(PipelineText("pipeline", str(pipeline), 3, 16).identity()) == tokenizer | set(ENCODER)
    with pytest.raises(UserError, match=r"^The run's model is no pipeline: set `weights` of text pipeline to"):
        PipelineText("pipeline", None, 3, 16).identity()
    folder = tmp_path / "copy"
    shutil.copytree(pipeline, folder)
    path = folder / "text_encoder" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(UserError, match=r"safetensors holds no CLIP text encoder \(.*: fetch it again\.$"):
        PipelineText("pipeline", str(folder), 3, 16).load(CPU)
    path.unlink()
    with pytest.raises(UserError, match=r"text_encoder/model\.safetensors expected in .*`weights` of text pipeline"):
        PipelineText("pipeline", str(folder), 3, 16).identity()


def test_a_pipeline_as_newer_versions_of_transformers_save_it(tmp_path: Path) -> None:
    """With tokenizer.json in place of vocab.json, as ``model=`` and ``text=tokens`` take it too."""
    [vector] = PipelineText("pipeline", str(save_pipeline(tmp_path)), 3, WIDTH).load(CPU)(["a bold letter"])
    assert vector.shape == (WIDTH,) and np.isfinite(vector).all()
