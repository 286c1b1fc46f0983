"""diffusers' U-Nets: the published sizes, what they are told, what no condition means, and what trains in them."""

import pickle
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel, UNet2DModel
from hydra import compose, initialize_config_dir
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from tdattr.configs import build
from tdattr.errors import UserError
from tdattr.networks import Given
from tdattr.networks.diffusers_unet import DiffusersUNet, DiffusersUNetConfig
from tests.diffusion.fakes import variant

CONF = Path(__file__).parents[2] / "conf"
SMALL = DiffusersUNetConfig(
    name="small",
    conditional=True,
    channels=[8, 16],
    layers=1,
    attention=[False, True],
    head_width=4,
    norm_groups=4,
    dropout=0.0,
    augmentation_label=True,
    c_noise="timestep",
    attention_dropout=0.0,
    scale_shift=False,
    downsample_padding=1,
    norm_eps=1e-5,
    flip_sin_to_cos=True,
    freq_shift=0,
)
GUDA = {
    "sample_size": 32,
    "in_channels": 3,
    "out_channels": 3,
    "layers_per_block": 3,
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    "dropout": 0.3,
}
DTRAK = {  # their config.json, and what their scripts put into it
    "unet_dtrak": {
        "sample_size": 32,
        "block_out_channels": (128, 256, 256, 256),
        "layers_per_block": 2,
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        "attention_head_dim": None,
        "downsample_padding": 0,
        "flip_sin_to_cos": False,
        "freq_shift": 1,
        "norm_eps": 1e-6,
        "norm_num_groups": 32,
        "resnet_time_scale_shift": "scale_shift",
    },
    "unet_dtrak_64": {
        "sample_size": 64,
        "block_out_channels": (128, 128, 256, 256, 512, 512),
        "layers_per_block": 2,
        "down_block_types": (*("DownBlock2D",) * 4, "AttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "AttnUpBlock2D", *("UpBlock2D",) * 4),
        "attention_head_dim": 8,
        "downsample_padding": 1,
        "flip_sin_to_cos": True,
        "freq_shift": 0,
        "norm_eps": 1e-5,
        "norm_num_groups": 32,
        "resnet_time_scale_shift": "scale_shift",
    },
}


def small(condition: int = 4, **changes: Any) -> DiffusersUNet:
    """A U-Net for the tiny data, the same every time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return replace(SMALL, **changes).build(1, 8, condition).eval()


def composed(model: str, **changes: object) -> Any:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return replace(build(compose("config", [f"model={model}", "dataset=cifar10"]).model, "model"), **changes)


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def described(unet: Any) -> dict[str, Any]:
    return {key: value for key, value in unet.config.items() if not key.startswith("_")}


def inputs(batch: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    rng = torch.Generator().manual_seed(1)
    x = torch.randn(batch, 1, 8, 8, generator=rng)
    return x, torch.randint(1000, (batch,), generator=rng).float(), torch.eye(4)[:batch]


def test_unconditional_network_is_that_of_guda() -> None:
    config = composed("unet_cifar10")
    with torch.device("meta"):
        published = UNet2DModel(**GUDA, block_out_channels=(128, 256, 256, 256))
        network, ours = config.build(3, 32, 0), composed("unet").build(3, 32, 0)
    assert count(network) == count(published) == 49_062_787
    assert {name: value.shape for name, value in network.unet.state_dict().items()} == {
        name: value.shape for name, value in published.state_dict().items()
    }
    assert described(network.unet) == described(published)
    assert count(ours) - count(published) == 128 * 512  # model=unet has twice the features of a level
    assert config.c_noise == "timestep"


def test_conditional_network_is_that_of_guda() -> None:
    config = composed("unet_cifar10_conditional")
    with torch.device("meta"):
        published = UNet2DConditionModel(
            **GUDA,
            block_out_channels=(128, 256, 256, 512),
            class_embed_type="simple_projection",
            projection_class_embeddings_input_dim=11,
            cross_attention_dim=512,
        )
        network = config.build(3, 32, 10)
    assert count(network) == count(published) == 96_349_059
    assert {name.replace("condition.0", "unet.class_embedding") for name, _ in network.named_parameters()} == {
        f"unet.{name}" for name, _ in published.named_parameters()
    }
    assert described(network.unet) == described(published)
    assert config.c_noise == "timestep"


@pytest.mark.parametrize(("name", "parameters"), [("unet_dtrak", 38_306_691), ("unet_dtrak_64", 118_793_987)])
def test_networks_of_dtrak(name: str, parameters: int) -> None:
    config, arguments = composed(name), DTRAK[name]
    resolution = arguments["sample_size"]
    with torch.device("meta"):
        published = UNet2DModel(**arguments)
        network = config.build(3, resolution, 0)
    assert count(network) == count(published) == parameters
    assert described(network.unet) == described(published) | {"dropout": 0.1}
    probabilities = {module.p for module in network.modules() if isinstance(module, nn.Dropout)}
    assert probabilities == {0.1}  # the scripts set every one of the network's
    assert sum(isinstance(module, nn.Dropout) for module in network.modules()) == sum(
        isinstance(module, nn.Dropout) for module in published.modules()
    )
    assert config.c_noise == "timestep"


def test_the_small_unet_of_google_is_that_of_dtrak_without_its_scale() -> None:
    """35.7 M parameters, of which the papers speak."""
    with torch.device("meta"):
        network = replace(composed("unet_dtrak"), scale_shift=False).build(3, 32, 0)
    assert count(network) == 35_746_307


@pytest.mark.parametrize("name", DTRAK)
def test_predictions_of_dtraks_networks_are_those_of_diffusers(name: str) -> None:
    """With few channels; dropout is off."""
    config = composed(name)
    channels = [32, 64, 32, 64, 32, 64][: len(config.channels)]
    resolution = 8 * 2 ** (len(channels) - 3)
    ours = replace(config, channels=channels).build(3, resolution, 0).eval()
    theirs = UNet2DModel(**DTRAK[name] | {"block_out_channels": channels, "sample_size": resolution}).eval()
    theirs.load_state_dict({name.removeprefix("unet."): value for name, value in ours.state_dict().items()})
    x, t = torch.randn(2, 3, resolution, resolution), torch.tensor([3.0, 700.0])
    with torch.inference_mode():
        expected = theirs(x, t.long()).sample
        assert torch.equal(ours(x, t), expected)
        assert expected.std() > 0.01


def test_one_head_is_for_unconditional_networks() -> None:
    with pytest.raises(UserError, match=r"^model.head_width=null is for an unconditional U-Net"):
        small(head_width=None)
    assert small(conditional=False, head_width=None).unet.mid_block.attentions[0].heads == 1


@pytest.mark.parametrize("changes", [{}, {"layers": 2}, {"channels": [8], "attention": [True]}], ids=str)
@pytest.mark.parametrize("conditional", [False, True])
def test_output_has_the_shape_of_the_input(changes: dict[str, object], conditional: bool) -> None:
    x, c_noise, vector = inputs()
    out = small(conditional=conditional, **changes)(x, c_noise, Given(vector))
    assert out.shape == x.shape
    assert out.isfinite().all()
    assert out.std() > 0


@pytest.mark.parametrize("model", ["unet_diffusers_tiny", "unet_diffusers_conditional_tiny"])
@pytest.mark.parametrize("size", [8, 12, 16])
def test_tiny_models_work_from_8_pixels_upwards(model: str, size: int) -> None:
    x = torch.randn(2, 1, size, size)
    assert composed(model).build(1, size, 4)(x, torch.zeros(2), Given(torch.eye(4)[:2])).shape == x.shape


@pytest.mark.parametrize("name", ["ddpm", "vp"])
def test_the_network_is_told_the_timestep(name: str) -> None:
    told = []
    diffusion = variant(name, c_noise="timestep")
    SMALL.check_diffusion(diffusion)
    levels = diffusion.discrete_levels(1000)

    def record(x: Tensor, c_noise: Tensor, given: Given) -> Tensor:
        told.append(c_noise)
        return x

    zeros = torch.zeros(len(levels), 1, 8, 8)
    diffusion.loss(record, zeros, levels, zeros)
    assert len(told[0]) == 1000 and told[0].min() >= 0 and told[0].max() <= 999.01
    assert (told[0].diff() > 0).all()
    if name == "ddpm":
        assert torch.equal(told[0], torch.arange(1000).float())


def test_variants_that_tell_no_timesteps_are_refused() -> None:
    for diffusion in (variant("edm"), variant("flow"), variant("ddpm"), variant("vp")):
        with pytest.raises(UserError, match=r"^model=small is told timesteps: use diffusion=ddpm or diffusion=vp"):
            SMALL.check_diffusion(diffusion)


def test_predictions_are_those_of_diffusers() -> None:
    x, _, vector = inputs()
    t = torch.tensor([0.0, 500.0, 999.0])
    label = torch.eye(5)
    conditional = small(augmentation_label=False)
    theirs = UNet2DConditionModel(**conditional.unet.config).eval()
    theirs.load_state_dict(
        {
            name.removeprefix("unet.").replace("condition.0", "class_embedding"): value
            for name, value in conditional.state_dict().items()
        }
    )
    expected = theirs(x, t.long(), None, class_labels=label[:3]).sample
    assert torch.equal(conditional(x, t, Given(vector)), expected)
    without = theirs(x, t.long(), None, class_labels=label[4].expand(3, -1)).sample
    assert torch.equal(conditional(x, t, Given(vector, torch.ones(3, dtype=torch.bool))), without)
    unconditional = small(conditional=False, augmentation_label=False)
    alone = UNet2DModel(**unconditional.unet.config).eval()
    alone.load_state_dict({name.removeprefix("unet."): value for name, value in unconditional.state_dict().items()})
    assert torch.equal(unconditional(x, t), alone(x, t.long()).sample)


def test_no_condition_is_the_last_label() -> None:
    x, c_noise, vector = inputs()
    network = small()
    kept, without = network(x, c_noise, Given(vector)), network(x, c_noise)
    assert (kept - without).abs().amax((1, 2, 3)).min() > 1e-3
    drop = torch.tensor([True, False, True])
    torch.testing.assert_close(
        network(x, c_noise, Given(vector, drop)), torch.where(drop[:, None, None, None], without, kept)
    )
    torch.testing.assert_close(network(x, c_noise, Given(vector, ~drop & drop)), kept)
    with torch.no_grad():
        network.condition[0].weight[:, -1] += 1  # type: ignore[index, operator]
    torch.testing.assert_close(network(x, c_noise, Given(vector)), kept)
    assert (network(x, c_noise) - without).abs().amax((1, 2, 3)).min() > 1e-3


def test_unconditional_network_ignores_conditions_and_drop() -> None:
    x, c_noise, vector = inputs()
    network = small(conditional=False)
    plain = network(x, c_noise)
    for drop in (None, torch.tensor([True, False, True])):
        assert torch.equal(network(x, c_noise, Given(vector, drop)), plain)
    assert not [name for name, _ in network.named_parameters() if name.startswith("condition")]


@pytest.mark.parametrize("conditional", [False, True])
def test_augmentation_label_zero_means_none(conditional: bool) -> None:
    x, c_noise, vector = inputs()
    network = small(conditional=conditional)
    plain = network(x, c_noise, Given(vector))
    torch.testing.assert_close(network(x, c_noise, Given(vector, augmentation=torch.zeros(3, dtype=torch.long))), plain)
    assert (network(x, c_noise, Given(vector, augmentation=torch.ones(3, dtype=torch.long))) - plain).abs().max() > 1e-3
    assert network.knows_augmentation and not small(augmentation_label=False).knows_augmentation
    assert "augmentation.weight" not in dict(small(augmentation_label=False).named_parameters())


@pytest.mark.parametrize("conditional", [False, True])
def test_every_weight_is_trained(conditional: bool) -> None:
    x, c_noise, vector = inputs()
    network = small(conditional=conditional)
    drop = torch.tensor([True, False, False])
    network(x, c_noise, Given(vector, drop, torch.tensor([1, 0, 1]))).square().mean().backward()
    silent = {name for name, value in network.named_parameters() if value.grad is None or not value.grad.any()}
    # a constant added to all keys of a head does not change its attention
    assert {name for name in silent if not name.endswith("to_k.bias")} == set()


def test_training_under_ddpm_lowers_the_loss() -> None:
    x, _, vector = inputs()
    network, diffusion = small(), variant("ddpm", c_noise="timestep")
    level = diffusion.training_levels(np.random.default_rng(0), 3)
    optimizer = torch.optim.Adam(network.parameters(), 2e-3)
    losses = []
    for _ in range(3):
        loss = diffusion.loss(network, x, level, x.flip(0), Given(vector)).mean()
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[2] < losses[1] < losses[0]


def test_the_same_seed_gives_the_same_weights() -> None:
    first, second = small().state_dict(), small().state_dict()
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    torch.manual_seed(1)
    assert not torch.equal(first["unet.conv_in.weight"], SMALL.build(1, 8, 4).state_dict()["unet.conv_in.weight"])


def test_dropout_is_active_in_training_only() -> None:
    x, c_noise, vector = inputs()
    network = small(dropout=0.5)
    assert torch.equal(network(x, c_noise, Given(vector)), network(x, c_noise, Given(vector)))
    network.train()
    assert not torch.equal(network(x, c_noise, Given(vector)), network(x, c_noise, Given(vector)))


@pytest.mark.parametrize("conditional", [False, True])
def test_copies_and_pickles_are_the_same_network(conditional: bool) -> None:
    x, c_noise, vector = inputs()
    network = small(conditional=conditional)
    for copy in (deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert torch.equal(copy(x, c_noise, Given(vector)), network(x, c_noise, Given(vector)))


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize("conditional", [False, True])
def test_gradients_of_single_items_are_those_of_a_loop(conditional: bool) -> None:
    x, c_noise, vector = inputs()
    network = small(conditional=conditional)
    parameters = {name: parameter.detach() for name, parameter in network.named_parameters()}

    def output(weights: dict[str, Tensor], x: Tensor, c_noise: Tensor, condition: Tensor, drop: Tensor) -> Tensor:
        item = x[None], c_noise[None], Given(condition[None], drop[None])
        return functional_call(network, weights, item).square().mean()

    drop = torch.tensor([True, False, False])
    found = vmap(grad(output), in_dims=(None, 0, 0, 0, 0))(parameters, x, c_noise, vector, drop)
    for item in range(3):
        one = slice(item, item + 1)
        network.zero_grad()
        network(x[one], c_noise[one], Given(vector, drop)[one]).square().mean().backward()
        for name in network.parameter_names("block"):
            torch.testing.assert_close(found[name][item], network.get_parameter(name).grad, atol=1e-4, rtol=1e-3)


def test_parts_are_named_as_in_the_other_u_net() -> None:
    network = small(layers=2)
    mlp, block, everything = (set(network.parameter_names(part)) for part in ("mlp", "block", "all"))
    assert mlp < block < everything == {name for name, _ in network.named_parameters()}
    assert len(mlp) == 2 * (2 * 2 + 2 + 2 * 3) + 1  # down, middle, up, and the projection of the class
    assert "condition.0.weight" in mlp
    assert "condition.0.bias" in block - mlp
    assert everything - block == {
        name
        for name in everything
        if name.startswith(("unet.time_embedding", "unet.conv_in", "unet.conv_norm_out", "unet.conv_out", "augm"))
    }
    assert small(conditional=False, layers=2).parameter_names("mlp") == [
        name for name in network.parameter_names("mlp") if name.startswith("unet")
    ]
    with pytest.raises(UserError, match=r"no part 'attention'"):
        network.parameter_names("attention")


@pytest.mark.parametrize(
    ("changes", "condition", "message"),
    [
        ({}, 0, r"is conditional but the dataset has no conditions"),
        ({"channels": [8] * 5, "attention": [False] * 5}, 4, r"8 pixels wide .* multiple of 16: shorten model.ch"),
        ({"channels": [8, 8, 8]}, 4, r"model.channels and model.attention must have the same length"),
        ({"channels": [], "attention": []}, 4, r"model.channels and model.attention must have the same length"),
        ({"channels": [8, 10]}, 4, r"model.channels=\[8, 10\] must be multiples of model.norm_groups=4"),
        ({"head_width": 3}, 4, r"model.head_width=3 must divide .* \[16, 16\]"),
    ],
    ids=str,
)
def test_sizes_that_do_not_fit_are_refused(changes: dict[str, Any], condition: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        replace(SMALL, **changes).build(1, 8, condition)
