"""Pictures and models on a disk as overrides: what is known composes and is loaded, the rest is one sentence."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler, PNDMScheduler, UNet2DConditionModel
from hydra import compose as compose_config
from hydra import initialize_config_dir
from safetensors.torch import save_file

import tdattr
from tdattr.errors import UserError
from tdattr.own_model import overrides_for
from tdattr.pipeline.train import load_network, train
from tests.codecs.vaes import save_vae
from tests.conftest import CONF
from tests.heavy import HEAVY
from tests.networks.tiny_pipeline import save_pipeline
from tests.own_data import UNET, save_pictures, save_unet

QUICK = ["method=pixel", "dataset.recipe.steps=2", "queries.attributed=2", "queries.controls=2", "protocol.k=1"]


def compose(tmp_path: Path, *overrides: str) -> Any:
    return tdattr.compose([*overrides, *QUICK, f"paths.outputs={tmp_path / 'outputs'}"])


def caption(data: Path, name: str = "captions.json") -> None:
    names = [path.relative_to(data).as_posix() for path in sorted(data.rglob("*.png"))]
    (data / name).write_text(json.dumps(dict.fromkeys(names, "the digit a")))


def test_nothing_is_said_of_what_is_not_given(tmp_path: Path) -> None:
    assert overrides_for(None, None) == []
    data = save_pictures(tmp_path / "data")
    assert overrides_for(data, None) == ["dataset=image_folder", f"dataset.source.root={data}"]


@pytest.mark.parametrize("name", ["1e3", "null", "a b", "x=1,y", "it's", 'a "b"', "[x]", "true", "ä (1)", "50%"])
def test_any_name_of_a_folder_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    save_pictures(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        assert compose_config("config", overrides_for(Path(name), None)).dataset.source.root == name


@pytest.mark.slow
def test_a_pipeline_with_classes_is_f1_with_its_sizes_and_labels(tmp_path: Path) -> None:
    data = save_pictures(tmp_path / "data")
    unet = save_unet(tmp_path / "model", num_class_embeds=3)
    given = overrides_for(data, tmp_path / "model")
    assert given[2:5] == ["model=diffusers", f"model.path={tmp_path / 'model'}", "diffusion=diffusers"]
    assert given[5:] == ["dataset.source.resolution=8", "dataset.source.channels=1", "dataset.source.condition=group"]
    ws = compose(tmp_path, *given)
    network = load_network(ws, train(ws))
    assert torch.equal(network.state_dict()["unet.conv_in.weight"], unet.conv_in.weight)
    assert overrides_for(data, tmp_path / "model" / "unet")[5:] == given[5:]
    inside = tmp_path / "model" / "unet" / "diffusion_pytorch_model.safetensors"
    assert overrides_for(data, inside) == overrides_for(data, tmp_path / "model" / "unet")
    assert overrides_for(None, tmp_path / "model") == given[2:5]


@pytest.mark.slow
def test_what_a_network_lacks_is_said(tmp_path: Path) -> None:
    data = save_pictures(tmp_path / "data")
    save_unet(tmp_path / "model", PNDMScheduler(), num_class_embeds=2)
    given = overrides_for(data, tmp_path / "model")
    assert {"diffusion.sampler=ddim", "train.condition_dropout=0", "queries.guidance=null"} <= set(given)
    compose(tmp_path, *given)
    shutil.rmtree(tmp_path / "model" / "scheduler")
    given = overrides_for(data, tmp_path / "model")
    assert "diffusion=ddpm" in given
    compose(tmp_path, *given)


@pytest.mark.slow
def test_a_network_of_latents_brings_its_vae(tmp_path: Path) -> None:
    data = save_pictures(tmp_path / "data")
    save_unet(tmp_path / "model", DDPMScheduler(), in_channels=2, out_channels=2)
    save_vae(tmp_path / "model" / "vae", channels=3)
    given = overrides_for(data, tmp_path / "model")
    assert given[-2:] == ["dataset.source.resolution=16", "dataset.source.channels=3"]
    ws = compose(tmp_path, *given)
    assert ws.x_shape == (2, 8, 8) and load_network(ws, train(ws)) is not None


@pytest.mark.slow
def test_a_stable_diffusion_is_f1_and_reads_the_captions(tmp_path: Path) -> None:
    data = save_pictures(tmp_path / "data")
    caption(data)
    save_pipeline(tmp_path / "model")
    given = overrides_for(data, tmp_path / "model")
    assert given[-1] == "dataset.source.captions=captions.json"
    assert overrides_for(data, tmp_path / "model" / "unet") == given
    ws = compose(tmp_path, *given, "queries.guidance=null")
    assert ws.x_shape == (1, 8, 8) and load_network(ws, train(ws)) is not None
    save_vae(tmp_path / "model" / "vae", channels=3)
    sizes = ["codec=vae", "dataset.source.resolution=16", "dataset.source.channels=3"]
    assert overrides_for(data, tmp_path / "model")[-4:-1] == sizes


def test_a_file_of_weights_says_what_it_was_trained_for(tmp_path: Path) -> None:
    file = tmp_path / "ema.safetensors"
    save_file({"a": torch.ones(1)}, file, {"tdattr.diffusion": json.dumps({"name": "vp"})})
    assert overrides_for(None, file) == [f"checkpoint={file}", "diffusion=vp"]
    assert overrides_for(None, tmp_path) == overrides_for(None, file)
    save_file({"a": torch.ones(1)}, file)
    assert overrides_for(None, file) == [f"checkpoint={file}"]
    save_file({"unet.a.lora_A.weight": torch.ones(1)}, file)
    assert overrides_for(None, file)[::4] == ["model=sd15", f"checkpoint={file}"]


def write(name: str, content: bytes = b"x") -> Callable[[Path], Path]:
    def make(root: Path) -> Path:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
        return root

    return make


def save_tensors(*names: str) -> Callable[[Path], Path]:
    def make(root: Path) -> Path:
        save_file({name: torch.ones(1) for name in names}, root / "a.safetensors")
        return root

    return make


def save_text_unet(root: Path) -> Path:
    blocks = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
    UNet2DConditionModel(**(UNET | blocks | {"cross_attention_dim": 4})).save_pretrained(root)
    return root


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: root / "nothing", r"nothing does not exist: give a .safetensors file, .* model=sd15"),
        (lambda root: root, r"holds no config.json, no folder unet and no .safetensors file: give"),
        (write("transformer/config.json"), r"is a diffusion transformer of diffusers, which is not supported: give"),
        (write("text_encoder_2/config.json"), r"is a Stable Diffusion XL, which is not supported: give"),
        (write("a.safetensors"), r"a.safetensors is not a readable safetensors file"),
        (lambda root: write("a.ckpt")(root) / "a.ckpt", r"a.ckpt is a pickle, which can run any program: give a .safe"),
        (save_tensors("model.diffusion_model.input"), r"seems to be a whole pipeline in one file, .*: give"),
        (lambda root: save_tensors("a")(write("b.safetensors")(root)), r"2 files of weights, a.safetensors, b.s.*: gi"),
        (write("config.json", b"{"), r"config.json, line 1, is not JSON"),
        (save_text_unet, r"is a U-Net that reads more than a class: give the whole pipeline, with its text encoder"),
    ],
)
def test_what_is_no_model_is_refused_in_a_sentence(tmp_path: Path, make: Any, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        overrides_for(None, make(tmp_path))
    assert str(error.value).endswith(".") and ". " not in str(error.value)


def test_folders_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    save_unet(tmp_path / "model", num_class_embeds=5)
    data = save_pictures(tmp_path / "data")
    with pytest.raises(UserError, match=r"has 5 labels but --data=\S+ 2 sub-folders of pictures: there must be one"):
        overrides_for(data, tmp_path / "model")
    with pytest.raises(UserError, match=r"--data=\S+ does not exist: give the folder that holds the pictures\.$"):
        overrides_for(tmp_path / "pictures", None)


def test_a_mistake_costs_no_heavy_import(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from tdattr.errors import UserError
from tdattr.own_model import overrides_for
try:
    overrides_for(Path(sys.argv[1]), Path(sys.argv[2]))
except UserError:
    print(*sys.modules)
"""
    command = [sys.executable, "-c", code, str(tmp_path), str(tmp_path / "nothing")]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert "tdattr.own_model" in loaded and not {"torch", *HEAVY} & set(loaded)
