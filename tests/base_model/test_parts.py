"""The parts of a base model: what they are worth to other libraries, the same bytes, and what a kill leaves."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from tdattr import checkpoints
from tdattr.base_model import loop
from tdattr.features import Setting
from tdattr.features.clip import ClipImage, ClipText
from tdattr.interim import RESUME
from tests.base_model.parts import CONFIG, RESOLUTION, make_split, train_parts

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("base")
    train_parts(root)
    return root


def digests(root: Path) -> dict[str, str]:
    """Of every file but the checkpoints."""
    paths = [path for path in sorted(root.rglob("*")) if path.is_file() and path.name != RESUME]
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def test_diffusers_loads_the_folder_and_draws(trained: Path) -> None:
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(trained / "base", local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    prompt = "A depiction of the digit 2, artistic style featuring bold, serif, low"
    noise = torch.Generator().manual_seed(0)
    [image] = pipeline(prompt, num_inference_steps=2, guidance_scale=7.5, generator=noise).images
    assert image.size == (RESOLUTION, RESOLUTION) and image.mode == "L"
    config = pipeline.scheduler.config
    assert (config.beta_start, config.beta_end, config.beta_schedule) == (0.00085, 0.012, "scaled_linear")
    assert config.prediction_type == "epsilon" and config.num_train_timesteps == 1000
    assert pipeline.tokenizer.model_max_length == pipeline.text_encoder.config.max_position_embeddings == 32


def test_latents_have_a_variance_of_one(trained: Path) -> None:
    from diffusers import AutoencoderKL

    vae = AutoencoderKL.from_pretrained(trained / "base", subfolder="vae", local_files_only=True)
    data = make_split()
    with torch.inference_mode():
        latents = vae.encode(data.images(np.arange(len(data)))).latent_dist.mean * vae.config.scaling_factor
    assert float(latents.std()) == pytest.approx(1, abs=1e-4)


def test_the_text_encoder_is_the_text_tower_of_the_clip(trained: Path, setting: Setting) -> None:
    from transformers import CLIPModel, CLIPTextModel, CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(trained / "base" / "tokenizer")
    encoder = CLIPTextModel.from_pretrained(trained / "base" / "text_encoder")
    clip = CLIPModel.from_pretrained(trained / "base" / "clip")
    text = "the digit 1 in a bold serif upright low typeface"
    ids = tokenizer(text, padding="max_length", return_tensors="pt").input_ids
    with torch.inference_mode():
        pooled = encoder(ids).pooler_output
        expected = torch.nn.functional.normalize(clip.text_projection(pooled), dim=1)
    folder = str(trained / "base" / "clip")
    encode = ClipText("tiny", folder, "model.safetensors", 8, CONFIG.text.projection).load(torch.device("cpu"))
    assert np.allclose(encode([text]), expected.numpy(), atol=1e-6)
    embed = ClipImage("tiny", folder, "model.safetensors", "projected").load(setting)
    assert embed(make_split().images(np.arange(2))).shape == (2, CONFIG.text.projection)


def test_the_same_seed_gives_the_same_bytes_and_another_one_others(trained: Path, tmp_path: Path) -> None:
    train_parts(tmp_path / "again")
    assert digests(tmp_path / "again") == digests(trained)
    train_parts(tmp_path / "other", seed=2)
    weights = ["base/unet/diffusion_pytorch_model.safetensors", "vae/vae/diffusion_pytorch_model.safetensors"]
    other = digests(tmp_path / "other")
    assert all(other[name] != digests(trained)[name] for name in [*weights, "clip/clip/model.safetensors"])


@pytest.mark.parametrize("part", ["VAE", "text encoder", "U-Net"])
def test_a_killed_training_resumes_to_the_same_bytes(
    trained: Path, part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "INTERVAL_SECONDS", 0.0)

    class Killed(BaseException):
        pass

    class Bar(loop.Bar):
        def __init__(self, label: str, *arguments: int) -> None:
            super().__init__(label, *arguments)
            self.left = 3 if part in label else -1

        def advance(self, amount: int = 1) -> None:
            super().advance(amount)
            self.left -= amount
            if self.left == 0:
                raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(loop, "Bar", Bar)
        with pytest.raises(Killed):
            train_parts(tmp_path)
    assert (tmp_path / {"VAE": "vae", "text encoder": "clip", "U-Net": "base"}[part] / RESUME).exists()
    train_parts(tmp_path)
    assert digests(tmp_path) == digests(trained)


def test_what_is_measured_is_a_number_between_its_bounds(tmp_path: Path) -> None:
    facts = train_parts(tmp_path)
    assert 0 < facts["vae"]["test_rmse"] < 1
    assert 0 <= facts["clip"]["test_character"] <= 1 and 0 <= facts["clip"]["test_typeface"] <= 1
    assert facts["base"]["unet_parameters"] > 0
