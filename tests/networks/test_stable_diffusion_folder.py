"""Folders that are no Stable Diffusion 1.x, or lack a part of one: what is said, before anything is computed."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tdattr.errors import UserError
from tdattr.networks.stable_diffusion import StableDiffusionConfig
from tdattr.networks.stable_diffusion_folder import ENCODER, PARTS, SCHEDULER, UNET
from tests.diffusion.fakes import variant
from tests.networks.tiny_pipeline import TOKENS, save_pipeline

SIZES = (1, 8, TOKENS)
Edit = Callable[[Path], Any]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_pipeline(tmp_path_factory.mktemp("weights") / "whole")


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "sd"))


def node(weights: Path | str, **changes: Any) -> StableDiffusionConfig:
    values = {"clip": "", "f1": "trained", "checkpoint_activations": False, "augmentation_label": False}
    values |= {"c_noise": "timestep"}
    return StableDiffusionConfig(**{"name": "sd15", "weights": str(weights)} | values | changes)


def open_folder(weights: Path | str) -> None:
    """What opening a workspace does first."""
    config = node(weights)
    config.check_diffusion(variant("ddpm", c_noise="timestep", **config.own_diffusion(None)))


def edit(name: str, **changes: Any) -> Edit:
    """Another description; None: without the key."""

    def change(folder: Path) -> None:
        path = folder / name
        values = {key: value for key, value in (json.loads(path.read_text()) | changes).items() if value != "remove"}
        path.write_text(json.dumps(values))

    return change


@pytest.mark.parametrize("part", [*PARTS, "tokenizer/tokenizer_config.json"])
def test_a_folder_without_one_of_its_parts(folder: Path, part: str) -> None:
    (folder / part).unlink()
    with pytest.raises(UserError, match=rf"{part}.* expected in {folder}.*set model.weights to their folder"):
        open_folder(folder)


def test_a_folder_without_a_tokenizer(folder: Path) -> None:
    shutil.rmtree(folder / "tokenizer")
    with pytest.raises(UserError, match=r"tokenizer/vocab.json, tokenizer/merges.txt expected in"):
        open_folder(folder)


def xl(folder: Path) -> None:
    shutil.copytree(folder / "text_encoder", folder / "text_encoder_2")


def pickled(folder: Path) -> None:
    torch.save(load_file(folder / UNET[1]), folder / "unet" / "diffusion_pytorch_model.bin")
    (folder / UNET[1]).unlink()


def pickled_encoder(folder: Path) -> None:
    (folder / ENCODER[1]).rename(folder / "text_encoder" / "pytorch_model.bin")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (xl, "has a text_encoder_2, as Stable Diffusion XL: give the folder of a 1.x in model.weights"),
        (edit(UNET[0], cross_attention_dim=2048), "is of a Stable Diffusion XL"),
        (edit(UNET[0], addition_embed_type="text_time"), "is of a Stable Diffusion XL"),
        (edit(UNET[0], cross_attention_dim=1024), "has cross_attention_dim=1024, as Stable Diffusion 2"),
        (edit(UNET[0], cross_attention_dim="remove"), "attends to vectors of 1280 numbers but its text encoder .* 8"),
        (edit(UNET[0], in_channels=9), "takes 9 and gives 1 channels, as one for inpainting"),
        (edit(UNET[0], time_cond_proj_dim=256), "has time_cond_proj_dim=256: .* told more than a prompt"),
        (edit(UNET[0], _class_name="UNet2DModel"), "is of the class UNet2DModel, not UNet2DConditionModel"),
        (edit(SCHEDULER, _class_name="FlowMatchEulerDiscreteScheduler"), "is of the class FlowMatchEuler"),
        (edit(SCHEDULER, prediction_type="sample"), "prediction_type='sample', which is not implemented"),
        (pickled, "diffusion_pytorch_model.bin is a pickle, which can run any program: save the pipeline again"),
        (pickled_encoder, "pytorch_model.bin is a pickle, which can run any program"),
    ],
)
def test_other_families_and_pickles(folder: Path, change: Edit, sentence: str) -> None:
    change(folder)
    with pytest.raises(UserError, match=sentence):
        open_folder(folder)


def test_a_single_file(tmp_path: Path) -> None:
    (tmp_path / "v1-5.ckpt").write_bytes(b"\x80\x04cos\nsystem\n")
    with pytest.raises(UserError, match="v1-5.ckpt is a single file: give the folder of a pipeline"):
        open_folder(tmp_path / "v1-5.ckpt")


def test_a_hub_id_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tdattr.pretrained.is_hub_reachable", lambda: False)
    with pytest.raises(
        UserError, match=r"the hub, which cannot be reached, for nobody/nothing: .*hf download n"
    ) as error:
        open_folder("nobody/nothing")
    command = str(error.value).partition("hf download nobody/nothing ")[2].partition(";")[0].split()
    assert {path.partition("/")[0] for path in command} == {"unet", "text_encoder", "tokenizer", "scheduler", "vae"}
    assert {"tokenizer/vocab.json", "tokenizer/merges.txt", "vae/diffusion_pytorch_model.safetensors"} <= {*command}


def test_another_family_on_the_hub_is_refused_before_its_weights_are_fetched(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit(UNET[0], cross_attention_dim=2048)(folder)
    fetched: list[str] = []

    def find(weights: str, files: list[str], setting: str, download: bool) -> Path:
        fetched.extend(files)
        return folder

    monkeypatch.setattr("tdattr.networks.stable_diffusion_folder.find_folder", find)
    with pytest.raises(UserError, match="is of a Stable Diffusion XL"):
        open_folder("somebody/xl")
    assert not [name for name in fetched if name.endswith(".safetensors")]


def test_another_variant(folder: Path) -> None:
    for diffusion in (variant("edm"), variant("ddpm")):  # which is told log sigma
        with pytest.raises(UserError, match=r"model=sd15 was trained as a DDPM .*: set diffusion=diffusers"):
            node(folder).check_diffusion(diffusion)
    with pytest.raises(UserError, match=r"was trained with diffusion.schedule=scaled_linear .*: set diffusion=diff"):
        node(folder).check_diffusion(variant("ddpm", c_noise="timestep"))


@pytest.mark.parametrize("sampler", [None, "dpm_solver", "ddim", "ancestral"])
@pytest.mark.parametrize("said", [True, False, "remove"])
def test_latents_are_not_clipped_whatever_the_scheduler_says(
    folder: Path, said: bool | str, sampler: str | None
) -> None:
    """As in diffusers' pipeline."""
    edit(SCHEDULER, clip_sample=said)(folder)
    assert node(folder).own_diffusion(sampler)["clip"] is None


def test_velocities_are_adopted_from_a_pipeline_that_predicts_them(folder: Path) -> None:
    edit(SCHEDULER, prediction_type="v_prediction")(folder)
    assert node(folder).own_diffusion(None)["prediction"] == "v_prediction"
    open_folder(folder)


@pytest.mark.parametrize(
    ("sizes", "sentence"),
    [
        ((1, 8, 0), r"is told prompts but the dataset has no conditions: choose \+text@dataset.text=tokens"),
        ((1, 8, 62), r"is told prompts but the dataset has conditions of 62 numbers: choose \+text@"),
        ((3, 8, TOKENS), r"takes x of 1 channels, not 3: choose the codec .* codec=vae"),
    ],
)
def test_items_that_do_not_fit(folder: Path, sizes: tuple[int, int, int], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        node(folder).build(*sizes)


def test_no_augmentation_label(folder: Path) -> None:
    with pytest.raises(UserError, match=r"set train.augmentation.enabled=false"):
        node(folder, augmentation_label=True).build(*SIZES)


def test_a_tokenizer_of_another_length(folder: Path) -> None:
    edit("tokenizer/tokenizer_config.json", model_max_length=12)(folder)
    with pytest.raises(UserError, match="makes 12 tokens of a prompt but the text encoder takes 16"):
        node(folder).build(1, 8, 12)
    other = Path(shutil.copytree(folder, folder.parent / "other"))
    edit("tokenizer/tokenizer_config.json", model_max_length="remove")(other)
    with pytest.raises(UserError, match="does not say model_max_length"):
        node(other).build(*SIZES)


def not_finite(folder: Path) -> None:
    weights = load_file(folder / UNET[1])
    weights["conv_in.bias"][0] = torch.nan
    save_file(weights, folder / UNET[1])


def another(folder: Path) -> None:
    save_file({"conv_in.bias": torch.zeros(8)}, folder / UNET[1])


def cut_encoder(folder: Path) -> None:
    weights = load_file(folder / ENCODER[1])
    weights.pop("final_layer_norm.bias")
    save_file(weights, folder / ENCODER[1], metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (not_finite, "conv_in.bias with 1 of 8 numbers that are not finite"),
        (another, "does not hold the weights of the network in its config.json: see conv_in.weight"),
        (lambda folder: (folder / UNET[1]).write_bytes(b"damaged"), "is not a readable safetensors file"),
        (cut_encoder, "does not hold the text encoder that its config.json describes: see .*final_layer_norm.bias"),
        (lambda folder: (folder / ENCODER[1]).write_bytes(b"damaged"), "holds no CLIP text encoder"),
    ],
)
def test_damaged_weights(folder: Path, change: Edit, sentence: str) -> None:
    node(folder).check_weights()
    change(folder)
    with pytest.raises(UserError, match=sentence):
        node(folder).check_weights()


def test_identity_is_what_is_in_the_files_and_not_where_they_lie(folder: Path, whole: Path) -> None:
    assert node(folder).identity() == node(whole).identity()
    assert node(folder).describe() == node(whole, f1="base", checkpoint_activations=True).describe()
    not_finite(folder)
    assert node(folder).identity() != node(whole).identity()
