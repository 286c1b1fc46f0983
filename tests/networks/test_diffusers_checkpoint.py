"""Folders that diffusers has saved: the same predictions as diffusers', and what is refused in a sentence."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMPipeline, DDPMScheduler, UNet2DConditionModel, UNet2DModel
from safetensors.torch import load_file, save_file
from torch import Tensor

from tdattr.errors import UserError
from tdattr.networks import Given
from tdattr.networks.diffusers_checkpoint import CONFIG, PICKLE, WEIGHTS, DiffusersConfig
from tdattr.schedules import alpha_bar
from tests.diffusion.fakes import variant

EMPTY: dict[str, Any] = {"prediction": "v_prediction", "zero_terminal_snr": True}
DDPM_50 = {"timesteps": 50, "schedule": "cosine", "steps": 50}
TINY: dict[str, Any] = {
    "sample_size": 8,
    "in_channels": 1,
    "out_channels": 1,
    "layers_per_block": 1,
    "block_out_channels": (4, 8),
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    "attention_head_dim": 4,
    "norm_num_groups": 4,
}
GUDA: dict[str, Any] = {
    "num_class_embeds": 5,
    "class_embed_type": "simple_projection",
    "projection_class_embeddings_input_dim": 5,
    "cross_attention_dim": 8,
}
T = torch.tensor([0, 20, 49])


def checkpoint(folder: Path) -> DiffusersConfig:
    return DiffusersConfig("diffusers", str(folder), False, "timestep")


def ddpm(**changes: Any) -> Any:
    return variant("ddpm", c_noise="timestep", **changes)


def saved(folder: Path, model: Any = UNet2DModel, **changes: Any) -> Any:
    """A tiny model of diffusers in that folder."""
    network = model(**(TINY | changes)).eval()
    network.save_pretrained(folder)
    return network


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.fixture
def x() -> Tensor:
    return torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def test_a_description_with_a_byte_order_mark(tmp_path: Path) -> None:
    saved(tmp_path)
    (tmp_path / CONFIG).write_text((tmp_path / CONFIG).read_text(), encoding="utf-8-sig")
    assert sum(p.numel() for p in checkpoint(tmp_path).build(1, 8, 0).parameters())
    with pytest.raises(UserError, match="begins with a byte order mark, which diffusers cannot read"):
        checkpoint(tmp_path).pretrained(1, 8, 0)  # diffusers opens the file itself


def test_predictions_are_those_of_diffusers(tmp_path: Path, x: Tensor) -> None:
    theirs = saved(tmp_path)
    network = checkpoint(tmp_path).pretrained(1, 8, 0).eval()
    expected = theirs(x, T).sample
    assert torch.equal(network(x, T.float()), expected)
    assert torch.equal(network(x, T.float(), Given(torch.eye(4)[:3], torch.ones(3, dtype=torch.bool))), expected)


def test_a_number_may_stand_where_the_default_is_a_whole_one(tmp_path: Path) -> None:
    saved(tmp_path, mid_block_scale_factor=0.5, attention_head_dim=None)
    assert checkpoint(tmp_path).build(1, 8, 0).unet.config["mid_block_scale_factor"] == 0.5


@pytest.mark.parametrize(
    ("model", "changes"),
    [
        (UNet2DModel, {"num_class_embeds": 5}),
        (UNet2DConditionModel, GUDA),
        (UNet2DConditionModel, GUDA | {"class_embed_type": "projection"}),
        (UNet2DConditionModel, {"num_class_embeds": 5, "mid_block_type": "UNetMidBlock2D"}),
    ],
    ids=["table", "guda", "two layers", "plain middle"],
)
def test_classes_and_none_are_the_labels_of_diffusers(
    tmp_path: Path, x: Tensor, model: Any, changes: dict[str, Any]
) -> None:
    theirs = saved(tmp_path, model, **changes)
    network = checkpoint(tmp_path).pretrained(1, 8, 4).eval()
    places = torch.tensor([2, 4, 0])
    labels = torch.eye(5)[places] if "class_embed_type" in changes else places
    text = {"encoder_hidden_states": None} if model is UNet2DConditionModel else {}
    expected = theirs(x, T, class_labels=labels, **text).sample
    found = network(x, T.float(), Given(torch.eye(4)[[2, 1, 0]], torch.tensor([False, True, False])))
    assert torch.equal(found, expected)


@pytest.mark.parametrize(
    ("model", "changes"),
    [
        (UNet2DModel, {"num_class_embeds": 5}),
        (UNet2DConditionModel, GUDA),
    ],
    ids=["table", "guda"],
)
def test_labels_may_be_the_classes_alone(tmp_path: Path, x: Tensor, model: Any, changes: dict[str, Any]) -> None:
    theirs = saved(tmp_path, model, **changes)
    network = checkpoint(tmp_path).pretrained(1, 8, 5).eval()
    assert not network.has_null and checkpoint(tmp_path).pretrained(1, 8, 4).has_null
    places = torch.tensor([2, 4, 0])
    labels = torch.eye(5)[places] if "class_embed_type" in changes else places
    text = {"encoder_hidden_states": None} if model is UNet2DConditionModel else {}
    expected = theirs(x, T, class_labels=labels, **text).sample
    told = torch.eye(5)[places]
    assert torch.equal(network(x, T.float(), Given(told)), expected)
    dropped = network(x, T.float(), Given(told, torch.tensor([False, True, False])))
    assert torch.equal(dropped[[0, 2]], expected[[0, 2]]) and dropped[1].isnan().all()
    with pytest.raises(ValueError, match="without a label for none"):
        network(x, T.float())


@pytest.mark.parametrize("inner", [".", "unet"])
def test_a_pipeline_works_and_its_timesteps_are_checked(tmp_path: Path, x: Tensor, inner: str) -> None:
    unet = UNet2DModel(**TINY).eval()
    scheduler = DDPMScheduler(num_train_timesteps=50, beta_schedule="squaredcos_cap_v2")
    DDIMPipeline(unet, scheduler).save_pretrained(tmp_path)
    folder = tmp_path / inner
    network = checkpoint(folder).pretrained(1, 8, 0).eval()
    assert torch.equal(network(x, T.float()), unet(x, T).sample)
    checkpoint(folder).check_diffusion(ddpm(**DDPM_50))
    for wrong, said in ((ddpm(), "timesteps=50 diffusion.schedule"), (ddpm(timesteps=50, steps=50), "schedule")):
        with pytest.raises(UserError, match=rf"trained with diffusion.{said}=cosine .*: set diffusion=diffusers"):
            checkpoint(folder).check_diffusion(wrong)
    with pytest.raises(UserError, match=r"was trained as a DDPM: set diffusion=diffusers"):
        checkpoint(folder).check_diffusion(variant("vp", c_noise="timestep"))


def test_our_levels_are_those_of_their_scheduler() -> None:
    known = ((50, "cosine", "squaredcos_cap_v2"), (1000, "linear", "linear"), (1000, "scaled_linear", "scaled_linear"))
    for count, ours, theirs in known:
        kept = DDPMScheduler(num_train_timesteps=count, beta_schedule=theirs).alphas_cumprod
        torch.testing.assert_close(alpha_bar(count, ours, 1e-4, 0.02).float(), kept, atol=1e-6, rtol=2e-3)


def test_a_scheduler_next_to_the_model_is_checked_too(tmp_path: Path) -> None:
    saved(tmp_path)
    DDPMScheduler(beta_end=0.03).save_pretrained(tmp_path)
    checkpoint(tmp_path).check_diffusion(ddpm(beta_end=0.03))
    with pytest.raises(UserError, match=r"trained with diffusion.beta_end=0.03 \("):
        checkpoint(tmp_path).check_diffusion(ddpm())


def test_fresh_networks_have_the_architecture_and_other_weights(tmp_path: Path) -> None:
    saved(tmp_path, dropout=0.25)
    config = checkpoint(tmp_path)
    trained = config.pretrained(1, 8, 0).state_dict()
    fresh = [config.build(1, 8, 0) for seed in (1, 1, 2) if torch.manual_seed(seed)]
    assert [each.unet.config["dropout"] for each in fresh] == [0.25] * 3
    weights = [each.state_dict()["unet.conv_in.weight"] for each in fresh]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert not torch.equal(weights[0], trained["unet.conv_in.weight"])
    fresh[0].load_state_dict(trained)
    assert fresh[0].parameter_names("mlp")


def test_identity_follows_what_is_in_the_files(tmp_path: Path) -> None:
    saved(tmp_path / "a")
    saved(tmp_path / "b")
    first, second = (checkpoint(tmp_path / name).identity() for name in "ab")
    assert first["config"] == second["config"]
    assert first["weights"] != second["weights"]


def test_weights_with_old_names_of_attention_are_read(tmp_path: Path, x: Tensor) -> None:
    theirs = saved(tmp_path)
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    weights = load_file(tmp_path / WEIGHTS)
    for new, name in old.items():
        weights = {key.replace(f".{new}.", f".{name}."): value for key, value in weights.items()}
    save_file(weights, tmp_path / WEIGHTS)
    assert torch.equal(checkpoint(tmp_path).pretrained(1, 8, 0).eval()(x, T.float()), theirs(x, T).sample)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / CONFIG).unlink(), r"has no config.json, nor has a folder unet in it: set model.path"),
        (lambda folder: (folder / CONFIG).write_text("{"), r"config\.json, line 1, is not JSON"),
        (lambda folder: (folder / CONFIG).write_text("[]"), r"config.json is no JSON object"),
        (lambda folder: edit(folder / CONFIG, _class_name="AutoencoderKL"), r"is of the class AutoencoderKL: choose a"),
        (
            lambda folder: edit(folder / CONFIG, block_out_channels=[4]),
            r"describes no network that diffusers can build",
        ),
        (lambda folder: edit(folder / CONFIG, sample_size=16), r"images of 16 pixels but the dataset's have 8"),
        (lambda folder: edit(folder / CONFIG, sample_size=[8, 16]), r"images of \[8, 16\] pixels"),
        (lambda folder: edit(folder / CONFIG, in_channels=3), r"takes 3 and gives 1 channels .* images have 1"),
        (lambda folder: edit(folder / CONFIG, out_channels=2), r"takes 1 and gives 2 channels"),
        (lambda folder: edit(folder / CONFIG, time_embedding_type="fourier"), r"has a fourier time embedding"),
        (lambda folder: edit(folder / CONFIG, center_input_sample=True), r"has center_input_sample=True, which is not"),
        (
            lambda folder: edit(folder / CONFIG, norm_epss=1e-5),
            r"has norm_epss, which diffusers does not read: correct it",
        ),
        (lambda folder: edit(folder / CONFIG, in_channels="1"), r"in_channels as the text '1', where a number must"),
        (lambda folder: edit(folder / CONFIG, block_out_channels=["4", 8]), r"block_out_channels as the text '4', whe"),
        (
            lambda folder: edit(folder / CONFIG, layers_per_block=1.5),
            r"layers_per_block=1.5, where a whole number",
        ),
        (lambda folder: edit(folder / CONFIG, norm_eps=True), r"norm_eps=true, where a number must stand, such as"),
        (lambda folder: edit(folder / CONFIG, act_fn=3), r"act_fn=3, where a text must stand, such as \"silu\""),
        (lambda folder: edit(folder / CONFIG, class_embed_type="timestep"), r"class embedding timestep, which is not"),
        (
            lambda folder: edit(folder / CONFIG, num_class_embeds=3),
            r"has 3 labels but the dataset 4 conditions: it must have one for each of them, in their order",
        ),
    ],
)
def test_descriptions_that_do_not_fit_are_refused(tmp_path: Path, change: Callable[[Path], Any], message: str) -> None:
    saved(tmp_path)
    change(tmp_path)
    with pytest.raises(UserError, match=message) as error:
        checkpoint(tmp_path).build(1, 8, 4)
    assert str(error.value).endswith(".")
    assert ". " not in str(error.value)


def test_networks_that_read_a_text_are_refused(tmp_path: Path) -> None:
    saved(tmp_path / "guided", UNet2DConditionModel, **GUDA, time_cond_proj_dim=8)
    with pytest.raises(UserError, match=r"has time_cond_proj_dim=8, which is not supported"):
        checkpoint(tmp_path / "guided").build(1, 8, 4)
    saved(tmp_path / "no class", UNet2DConditionModel, cross_attention_dim=8)
    with pytest.raises(UserError, match=r"conditioned on more than a class"):
        checkpoint(tmp_path / "no class").build(1, 8, 4)
    text = {"down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D")}
    for number, changes in enumerate([{"cross_attention_dim": 12}, text, {"encoder_hid_dim": 12}]):
        saved(tmp_path / str(number), UNet2DConditionModel, **(GUDA | changes))
        with pytest.raises(UserError, match=r"conditioned on more than a class"):
            checkpoint(tmp_path / str(number)).build(1, 8, 4)


def test_conditional_networks_need_conditions(tmp_path: Path) -> None:
    saved(tmp_path, UNet2DConditionModel, **GUDA)
    with pytest.raises(UserError, match=r"has 5 labels but the dataset 0 conditions"):
        checkpoint(tmp_path).build(1, 8, 0)


def test_folders_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"needs the folder of a diffusers model: set model.path\.$"):
        DiffusersConfig("diffusers", None, False, "timestep").build(1, 8, 0)
    with pytest.raises(UserError, match=r"elsewhere does not exist: set model.path"):
        checkpoint(tmp_path / "elsewhere").build(1, 8, 0)
    (tmp_path / "weights.safetensors").touch()
    with pytest.raises(UserError, match=r"weights\.safetensors is a file: set model\.path to a folder that"):
        checkpoint(tmp_path / "weights.safetensors").build(1, 8, 0)


def test_weights_that_are_missing_or_a_pickle_are_refused(tmp_path: Path) -> None:
    saved(tmp_path)
    (tmp_path / WEIGHTS).unlink()
    with pytest.raises(UserError, match=r"has no diffusion_pytorch_model.safetensors: set model.path"):
        checkpoint(tmp_path).pretrained(1, 8, 0)
    torch.save({}, tmp_path / PICKLE)
    for attempt in (checkpoint(tmp_path).identity, lambda: checkpoint(tmp_path).pretrained(1, 8, 0)):
        with pytest.raises(UserError, match=r"is a pickle, which can run any program: save the model again"):
            attempt()


@pytest.mark.parametrize(
    "change",
    [
        lambda weights: {name: value for name, value in weights.items() if name != "conv_in.bias"},
        lambda weights: weights | {"surplus": torch.zeros(1)},
        lambda weights: weights | {"conv_in.bias": torch.zeros(5)},
        None,
    ],
    ids=["missing", "surplus", "shape", "damaged"],
)
def test_weights_of_another_network_are_refused(tmp_path: Path, change: Callable[[Any], Any] | None) -> None:
    saved(tmp_path)
    if change is None:
        (tmp_path / WEIGHTS).write_bytes(b"damaged")
    else:
        save_file(change(load_file(tmp_path / WEIGHTS)), tmp_path / WEIGHTS)
    with pytest.raises(UserError, match=r"does not hold the weights of the network in its config.json"):
        checkpoint(tmp_path).pretrained(1, 8, 0)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (
            lambda bias: bias * torch.nan,
            r"holds conv_in.bias with 4 of 4 numbers that are not finite: give other weights",
        ),
        (lambda bias: bias.int(), r"holds conv_in.bias as int32, not as floating-point numbers"),
    ],
)
def test_weights_that_are_no_finite_numbers_are_refused(
    tmp_path: Path, broken: Callable[[Tensor], Tensor], message: str
) -> None:
    saved(tmp_path)
    weights = load_file(tmp_path / WEIGHTS)
    save_file(weights | {"conv_in.bias": broken(weights["conv_in.bias"])}, tmp_path / WEIGHTS)
    with pytest.raises(UserError, match=message):
        checkpoint(tmp_path).pretrained(1, 8, 0)


def test_augmentation_is_refused(tmp_path: Path) -> None:
    saved(tmp_path)
    with pytest.raises(UserError, match=r"set train.augmentation.enabled=false"):
        replace(checkpoint(tmp_path), augmentation_label=True).build(1, 8, 0)


def test_only_the_ddpm_of_its_training_works(tmp_path: Path, edm: Any) -> None:
    saved(tmp_path)
    config = checkpoint(tmp_path)
    for right in (ddpm(), ddpm(**DDPM_50), ddpm(sampler="ancestral"), ddpm(prediction="v_prediction")):
        config.check_diffusion(right)  # without a scheduler there is nothing to compare with
    with pytest.raises(UserError, match=r"was trained as a DDPM: set diffusion=diffusers"):
        config.check_diffusion(variant("vp", c_noise="timestep"))
    for silent in (edm, variant("flow"), variant("vp"), variant("ddpm")):
        with pytest.raises(UserError, match=r"model=diffusers is told timesteps: use diffusion=ddpm or diffusion=vp"):
            config.check_diffusion(silent)
    DDPMScheduler().save_pretrained(tmp_path)
    config.check_diffusion(ddpm(sampler="ancestral", steps=7))
    for wrong, said in (
        (ddpm(timesteps=999), "timesteps=1000"),
        (ddpm(schedule="cosine"), "schedule=linear"),
        (ddpm(beta_end=0.03), "beta_end=0.02"),
        (ddpm(prediction="v_prediction"), "prediction=epsilon"),
        (
            ddpm(**EMPTY),
            "prediction=epsilon diffusion.zero_terminal_snr=False",
        ),
    ):
        with pytest.raises(UserError, match=rf"trained with diffusion.{said} \(.*scheduler_config.json\): set diff"):
            config.check_diffusion(wrong)


def test_no_diffusion_is_adopted_without_a_scheduler(tmp_path: Path) -> None:
    saved(tmp_path)
    with pytest.raises(UserError, match=r"has no scheduler_config.json that diffusion=diffusers could adopt: choose"):
        checkpoint(tmp_path).own_diffusion(None)
