"""DINOv2, SSCD and Inception: networks of the right architecture, made and saved here, loaded as published ones are."""

import hashlib
import re
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from omegaconf import OmegaConf
from safetensors.torch import save_file
from torch import nn
from torchvision.transforms import functional as vision

from tdattr.codecs.vae import VAE
from tdattr.configs import build
from tdattr.errors import UserError
from tdattr.features import Setting
from tdattr.features.inception import Inception
from tdattr.features.timm_model import Timm
from tdattr.features.torchscript import TorchScript
from tdattr.pretrained import BASE_MODEL, find_file, find_folder

CONF = Path(__file__).parents[2] / "conf" / "extractor"
SMALL = {"embed_dim": 32, "depth": 1, "num_heads": 2}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def pictures(size: int, channels: int = 3) -> torch.Tensor:
    return torch.rand(2, channels, size, size, generator=torch.Generator().manual_seed(1)) * 2 - 1


def dino(weights: Path | str, **changes: Any) -> Timm:
    config = OmegaConf.merge(OmegaConf.load(CONF / "dino.yaml"), {"weights": str(weights), "arguments": SMALL}, changes)
    return build(config, "extractor")


@pytest.fixture(scope="module")
def vit() -> Any:
    """The published network has position embeddings for 518 pixels; 224 are seen here as in the papers."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network: Any = timm.create_model("vit_base_patch14_dinov2", num_classes=0, **SMALL).eval()
        with torch.no_grad():
            network.pos_embed.normal_()  # smooth, so that interpolating it loses little
            for name, parameter in network.named_parameters():
                if name.endswith(".gamma"):  # at 1e-5 the class token would hardly depend on the image
                    parameter.fill_(1)
    return network


@pytest.mark.parametrize("place", ["model.safetensors", "dino.pth", "folder"])
def test_dino(vit: Any, setting: Setting, tmp_path: Path, place: str) -> None:
    if place == "dino.pth":
        torch.save(vit.state_dict(), tmp_path / place)
    else:
        save_file(vit.state_dict(), tmp_path / "model.safetensors")
    extractor = dino(tmp_path if place == "folder" else tmp_path / place)
    x = pictures(224)
    found = extractor.load(setting)(x)
    small = timm.create_model("vit_base_patch14_dinov2", num_classes=0, img_size=224, **SMALL).eval()
    state = timm.layers.resample_abs_pos_embed(vit.pos_embed, new_size=[16, 16], num_prefix_tokens=1)
    small.load_state_dict(vit.state_dict() | {"pos_embed": state})
    with torch.inference_mode():
        expected = small(vision.normalize((x + 1) / 2, list(MEAN), list(STD)))
    assert found.shape == (2, 32)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-3)
    assert extractor.identity(setting)["weights"]


def test_dino_sees_images_enlarged_as_mucs_enlarges_them(vit: Any, setting: Setting, tmp_path: Path) -> None:
    """Bilinearly; the filter that DINOv2 is published with gives other vectors."""
    save_file(vit.state_dict(), tmp_path / "model.safetensors")
    x = pictures(64)
    enlarged = vision.resize((x + 1) / 2, [224, 224], antialias=True) * 2 - 1
    found = dino(tmp_path).load(setting)(x)
    torch.testing.assert_close(found, dino(tmp_path).load(setting)(enlarged), atol=1e-5, rtol=0)
    bicubic = dino(tmp_path, interpolation="bicubic")
    assert (found - bicubic.load(setting)(x)).abs().max() > 3e-4
    assert bicubic.describe() != dino(tmp_path).describe()


def test_dino_that_is_missing_or_something_else(setting: Setting, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"hf download timm/vit_base_patch14_dinov2.lvd142m model.safetensors"):
        dino("timm/vit_base_patch14_dinov2.lvd142m").identity(setting)
    save_file({"other.weight": torch.zeros(3)}, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=r"holds no weights of vit_base_patch14_dinov2"):
        dino(tmp_path).load(setting)


class Descriptor(nn.Module):
    """Something that depends on every pixel."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(2).mean(2)


def sscd(path: Path, sha256: str) -> TorchScript:
    changes = {"weights": str(path), "sha256": sha256, "paths": {"weights": "w"}}
    config = OmegaConf.merge(OmegaConf.load(CONF / "sscd.yaml"), changes)
    del config["paths"]
    return build(config, "extractor")


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "sscd.torchscript.pt"
    torch.jit.script(Descriptor()).save(str(path))
    return path


def test_sscd(script: Path, setting: Setting) -> None:
    digest = hashlib.sha256(script.read_bytes()).hexdigest()
    x = pictures(32)
    found = sscd(script, digest).load(setting)(x)
    enlarged = vision.resize((x + 1) / 2, [320, 320], antialias=True)
    expected = vision.normalize(enlarged, list(MEAN), list(STD)).flatten(2).mean(2)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_a_script_with_another_digest_is_never_run(
    script: Path, setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = hashlib.sha256(script.read_bytes()).hexdigest()
    script.write_bytes(script.read_bytes() + b"more")

    def run(*_: Any, **__: Any) -> None:
        raise AssertionError("it was loaded")

    monkeypatch.setattr(torch.jit, "load", run)
    for call in ("identity", "load"):
        with pytest.raises(UserError, match=r"has the SHA-256 .* instead of .*delete it and fetch it again"):
            getattr(sscd(script, digest), call)(setting)
    with pytest.raises(UserError, match=r"curl -L --create-dirs -o .*absent.pt https://dl.fbaipublicfiles.com"):
        sscd(script.with_name("absent.pt"), digest).identity(setting)


@pytest.mark.parametrize("sha256", ["", "9f26bd4c", "x" * 64])
def test_a_digest_is_64_digits(script: Path, setting: Setting, sha256: str) -> None:
    with pytest.raises(UserError, match=r"is no SHA-256: give at least 64"):
        sscd(script, sha256).identity(setting)


def inception(path: Path, sha256: str) -> Inception:
    return Inception("inception", str(path), "https://example.org/inception.pth", sha256)


def test_inception(setting: Setting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch_fidelity import feature_extractor_inceptionv3 as fidelity

    path = tmp_path / "inception.pth"
    with monkeypatch.context() as patch, torch.random.fork_rng():
        torch.manual_seed(0)
        patch.setattr(fidelity.FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None)
        patch.setattr(fidelity.torch, "load", lambda *_, **__: None)
        network = fidelity.FeatureExtractorInceptionV3("random", ["2048"], "no file")
    torch.save(network.state_dict(), path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    x = pictures(16, channels=1)
    found = inception(path, digest).load(setting)(x)
    assert found.shape == (2, 2048)
    with torch.inference_mode():
        levels = ((x + 1) * 127.5).round().to(torch.uint8).expand(-1, 3, -1, -1)
        torch.testing.assert_close(found, network(levels)[0])
    with pytest.raises(UserError, match=r"set `sha256` of extractor inception to its digest"):
        inception(path, "0" * 64).load(setting)


class Harmful:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


def test_a_pickle_that_would_run_something_is_not_read(setting: Setting, tmp_path: Path) -> None:
    path = tmp_path / "inception.pth"
    torch.save({"a": Harmful(tmp_path / "executed")}, path)
    with pytest.raises(Exception, match="Weights only load failed"):
        inception(path, hashlib.sha256(path.read_bytes()).hexdigest()).load(setting)
    assert not (tmp_path / "executed").exists()


def test_paths_of_weights_are_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "clip").mkdir()
    (tmp_path / "clip" / "a.pt").write_bytes(b"")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MODELS", str(tmp_path))
    for path in ("~/clip", "$MODELS/clip"):
        assert find_folder(path, ["a.pt"], "weights", download=False) == tmp_path / "clip"
        assert find_file(f"{path}/a.pt", "", "weights") == tmp_path / "clip" / "a.pt"


@pytest.mark.parametrize(
    ("weights", "folder"), [("weights/sd_tiny", "weights/sd_tiny"), ("/my models/sd_tiny/clip", "'/my models/sd_tiny'")]
)
def test_the_base_model_that_is_not_there_is_no_hub_id(
    weights: str, folder: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tdattr.pretrained.find_snapshot", None)  # nobody looks on the hub for it
    monkeypatch.chdir(tmp_path)
    sentence = f"is not there yet: build it with tdattr-base folder={folder}, or set model.weights to another."
    with pytest.raises(UserError, match=re.escape(sentence)):
        find_folder(weights, ["a.json"], "model.weights", True)


def test_the_vae_of_the_base_model_that_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"build it with tdattr-base folder=weights/sd_tiny, or set codec.weights"):
        VAE("vae", "weights/sd_tiny", True).check()
    base: Any = OmegaConf.load(CONF.parent / "base.yaml")
    assert OmegaConf.to_container(base)["folder"].endswith(f"/{BASE_MODEL}")


def test_optional_files_come_with_the_others_and_are_not_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    def fetch(hub_id: str, files: list[str], local: bool, needed: list[str] | None = None) -> Path | None:
        if not local:
            asked.append(files)
        return None if local or needed == ["gone.json"] else tmp_path

    monkeypatch.setattr("tdattr.pretrained.find_snapshot", fetch)
    monkeypatch.setattr("tdattr.pretrained.is_hub_reachable", lambda: True)
    (tmp_path / "vocab.json").write_text("{}")
    assert find_folder("org/model", ["vocab.json"], "weights", True, ["added_tokens.json"]) == tmp_path
    assert asked == [["vocab.json", "added_tokens.json"]]
    with pytest.raises(
        UserError, match=r"gone.json expected in org/model on the hub, which lacks some: set weights to "
    ):
        find_folder("org/model", ["gone.json"], "weights", True)
