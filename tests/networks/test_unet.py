"""The U-Net: its sizes, what it starts as, what its inputs may and may not change, and what can be unlearned in it."""

import pickle
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from tdattr.configs import build
from tdattr.errors import UserError
from tdattr.networks import Given
from tdattr.networks.unet import UNetConfig

CONF = Path(__file__).parents[2] / "conf"
SMALL = UNetConfig(
    name="small",
    channels=[8, 16],
    layers=1,
    attention=[False, True],
    head_width=4,
    norm_groups=4,
    dropout=0.0,
    embedding_width=16,
    sigma_dropout=0.0,
    augmentation_label=True,
    c_noise="log_sigma",
)


def small(condition: int = 4, spread: float = 0.0, **changes: Any) -> nn.Module:
    """A U-Net for the tiny data, the same every time; ``spread`` adds noise to every weight."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = replace(SMALL, **changes).build(1, 8, condition)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter += spread * torch.randn_like(parameter)
    return network.eval()


def composed(model: str, dataset: str, **changes: object) -> UNetConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return replace(build(compose("config", [f"model={model}", f"dataset={dataset}"]).model, "model"), **changes)


def count(config: UNetConfig, channels: int, resolution: int, condition: int) -> int:
    with torch.device("meta"):
        network = config.build(channels, resolution, condition)
    return sum(parameter.numel() for parameter in network.parameters())


def inputs(batch: int, seed: int = 1, size: int = 8) -> tuple[Tensor, Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, 1, size, size, generator=rng)
    return x, torch.randn(batch, generator=rng), torch.randn(batch, 4, generator=rng)


def residual(inputs: int, outputs: int, embedding: int) -> int:
    """Parameters of a residual block: two norms, two convolutions, the embedding's projection, a shortcut if needed."""
    block = 2 * inputs + 9 * inputs * outputs + outputs
    block += 2 * outputs + 9 * outputs * outputs + outputs
    block += (embedding + 1) * outputs
    return block + ((inputs + 1) * outputs if inputs != outputs else 0)


def expected_size(config: UNetConfig, channels: int, condition: int) -> int:
    """The number of parameters, counted along the U of Ho et al. 2020, Appendix B."""
    embedding, widths = config.embedding_width, config.channels
    total = (9 * channels + 1) * widths[0] + 2 * widths[0] + (9 * widths[0] + 1) * channels  # both ends
    total += (256 + 1 + embedding + 1) * embedding  # the level
    total += (condition + 1 + embedding + 1) * embedding + condition if condition else 0
    total += 2 * embedding if config.augmentation_label else 0
    skips, width = [widths[0]], widths[0]
    for level, here in enumerate(widths):
        for _ in range(config.layers):
            total += residual(width, here, embedding) + config.attention[level] * (4 * here * (here + 1) + 2 * here)
            width = here
            skips.append(width)
        if level < len(widths) - 1:
            total += (9 * width + 1) * width
            skips.append(width)
    total += 2 * residual(width, width, embedding) + 4 * width * (width + 1) + 2 * width
    for level in reversed(range(len(widths))):
        here = widths[level]
        for _ in range(config.layers + 1):
            total += residual(width + skips.pop(), here, embedding)
            total += config.attention[level] * (4 * here * (here + 1) + 2 * here)
            width = here
        total += (9 * width + 1) * width if level else 0
    assert not skips
    return total


@pytest.mark.parametrize(
    ("model", "dataset", "channels", "resolution", "condition", "millions"),
    [
        ("unet", "cifar10", 3, 32, 0, 49.1),
        ("unet_tiny", "glyphs", 1, 16, 62, 0.7),
        ("unet_tiny", "digits", 1, 8, 10, 0.7),
    ],
)
def test_sizes(model: str, dataset: str, channels: int, resolution: int, condition: int, millions: float) -> None:
    config = composed(model, dataset)
    found = count(config, channels, resolution, condition)
    assert found == expected_size(config, channels, condition)
    assert round(found / 1e6, 1) == millions


def test_figures_of_guda() -> None:
    config = composed("unet", "cifar10")
    assert (config.channels, config.layers, config.dropout) == ([128, 256, 256, 256], 3, 0.3)
    assert config.attention == [False, True, True, False]


@pytest.mark.parametrize("changes", [{}, {"layers": 2}, {"channels": [8], "attention": [True]}], ids=str)
@pytest.mark.parametrize("condition", [0, 4])
def test_output_has_the_shape_of_the_input(changes: dict[str, object], condition: int) -> None:
    x, c_noise, vector = inputs(3)
    network = small(condition, spread=0.1, **changes)
    out = network(x, c_noise, Given(vector if condition else None))
    assert out.shape == x.shape
    assert out.isfinite().all()
    assert out.std() > 0


@pytest.mark.parametrize("size", [8, 12, 16])
def test_unet_tiny_works_from_8_pixels_upwards(size: int) -> None:
    network = composed("unet_tiny", "digits").build(1, size, 4)
    nn.init.normal_(network.unet.conv_out.weight)
    x, c_noise, vector = inputs(2, size=size)
    out = network(x, c_noise, Given(vector))
    assert out.shape == x.shape
    assert out.std() > 0


def test_starts_as_zero_and_trains_from_there() -> None:
    x, c_noise, vector = inputs(3)
    network = small()
    assert torch.equal(network(x, c_noise, Given(vector)), torch.zeros_like(x))
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(2):
        optimizer.zero_grad()
        (network(x, c_noise, Given(vector)) - x).square().mean().backward()
        optimizer.step()
    silent = {
        name for name, parameter in network.named_parameters() if parameter.grad is None or not parameter.grad.any()
    }
    # a constant added to all keys of a head does not change its attention
    assert {name for name in silent if not name.endswith("to_k.bias")} == {"null"}


def test_the_same_seed_gives_the_same_weights() -> None:
    first, second = small().state_dict(), small().state_dict()
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    torch.manual_seed(1)
    other = SMALL.build(1, 8, 4).state_dict()
    assert not torch.equal(first["unet.conv_in.weight"], other["unet.conv_in.weight"])


def test_null_condition_replaces_exactly_the_dropped_ones() -> None:
    x, c_noise, vector = inputs(3)
    network = small(spread=0.2)
    null = network.get_parameter("null").detach().expand(3, -1)
    kept, without = network(x, c_noise, Given(vector)), network(x, c_noise, Given(null))
    assert (kept - without).abs().amax((1, 2, 3)).min() > 1e-3
    drop = torch.tensor([True, False, True])
    torch.testing.assert_close(
        network(x, c_noise, Given(vector, drop)), torch.where(drop[:, None, None, None], without, kept)
    )
    torch.testing.assert_close(network(x, c_noise, Given(vector, torch.zeros(3, dtype=torch.bool))), kept)


def test_null_condition_starts_at_zero_and_is_learned() -> None:
    null = small().get_parameter("null")
    assert null.requires_grad
    assert null.shape == (4,)
    assert not null.any()
    assert "null" not in dict(small(0).named_parameters())


def test_level_and_condition_reach_the_image() -> None:
    x, c_noise, vector = inputs(2)
    network = small(spread=0.2)
    plain = network(x, c_noise, Given(vector))
    for other in (
        network(x, c_noise + 0.1, Given(vector)),
        network(x, c_noise, Given(vector + 0.1)),
        network(x, c_noise),
    ):
        assert (other - plain).abs().amax((1, 2, 3)).min() > 1e-4


def test_augmentation_label_zero_means_none() -> None:
    x, c_noise, vector = inputs(3)
    network = small(spread=0.2)
    plain = network(x, c_noise, Given(vector))
    torch.testing.assert_close(network(x, c_noise, Given(vector, augmentation=torch.zeros(3, dtype=torch.long))), plain)
    assert (network(x, c_noise, Given(vector, augmentation=torch.ones(3, dtype=torch.long))) - plain).abs().max() > 1e-3
    assert "augmentation.weight" not in dict(small(augmentation_label=False).named_parameters())


def test_an_item_does_not_depend_on_the_rest_of_the_batch() -> None:
    x, c_noise, vector = inputs(5)
    network = small(spread=0.2)
    together = network(x, c_noise, Given(vector))
    alone = torch.cat([network(x[i : i + 1], c_noise[i : i + 1], Given(vector)[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)
    order = torch.tensor([4, 2, 0, 3, 1])
    torch.testing.assert_close(
        network(x[order], c_noise[order], Given(vector)[order]), together[order], atol=1e-5, rtol=1e-4
    )


def test_dropout_is_active_in_training_only() -> None:
    x, c_noise, vector = inputs(2)
    network = small(spread=0.2, dropout=0.5)
    assert torch.equal(network(x, c_noise, Given(vector)), network(x, c_noise, Given(vector)))
    network.train()
    assert not torch.equal(network(x, c_noise, Given(vector)), network(x, c_noise, Given(vector)))


def test_copies_and_pickles_are_the_same_network() -> None:
    x, c_noise, vector = inputs(2)
    network = small(spread=0.2)
    for copy in (deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert torch.equal(copy(x, c_noise, Given(vector)), network(x, c_noise, Given(vector)))


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_gradients_of_single_items_are_those_of_a_loop() -> None:
    x, c_noise, vector = inputs(3)
    network = small(spread=0.2)
    parameters = {name: parameter.detach() for name, parameter in network.named_parameters()}

    def output(weights: dict[str, Tensor], x: Tensor, c_noise: Tensor, condition: Tensor) -> Tensor:
        item = x[None], c_noise[None], Given(condition[None])
        return functional_call(network, weights, item).square().mean()

    found = vmap(grad(output), in_dims=(None, 0, 0, 0))(parameters, x, c_noise, vector)
    for item in range(3):
        one = slice(item, item + 1)
        network.zero_grad()
        network(x[one], c_noise[one], Given(vector)[one]).square().mean().backward()
        for name in network.parameter_names("block"):
            torch.testing.assert_close(found[name][item], network.get_parameter(name).grad, atol=1e-4, rtol=1e-3)


def test_mlp_part_is_the_convolutions_inside_residual_blocks() -> None:
    network = small(layers=2)
    blocks = 2 * 2 + 2 + 2 * 3  # down, middle, up
    names = network.parameter_names("mlp")
    expected = {
        f"{owner}.{name}"
        for owner, module in network.named_modules()
        for name, parameter in module.named_parameters(recurse=False)
        if name == "weight"
        and (
            (isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3) and ".resnets." in owner)
            or (isinstance(module, nn.Linear) and owner.startswith("condition"))
        )
    }
    assert len(names) == len(expected) == 2 * blocks + 2
    assert set(names) == expected
    assert set(small(0, layers=2).parameter_names("mlp")) == {n for n in expected if n.startswith("unet")}


def test_wider_parts_contain_the_narrower() -> None:
    network = small()
    mlp, block, everything = (set(network.parameter_names(part)) for part in ("mlp", "block", "all"))
    assert mlp < block < everything == {name for name, _ in network.named_parameters()}
    assert {
        "unet.mid_block.attentions.0.to_q.weight",
        "unet.down_blocks.0.resnets.0.time_emb_proj.bias",
        "unet.up_blocks.0.upsamplers.0.conv.weight",
        "condition.0.bias",
    } < block
    outside = ("unet.time_embedding", "unet.conv_in", "unet.conv_norm_out", "unet.conv_out", "null", "augmentation")
    assert all(name.startswith(outside) for name in everything - block)
    assert {name for name in block if name.startswith(outside)} == set()


def test_unknown_part_is_refused() -> None:
    with pytest.raises(UserError, match=r"no part 'attention': choose one of mlp, block, all"):
        small().parameter_names("attention")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": [8, 8, 8, 8, 8], "attention": [False] * 5}, r"8 pixels wide .* multiple of 16: shorten model.ch"),
        ({"channels": [8, 8, 8]}, r"model.channels and model.attention must have the same length"),
        ({"channels": [], "attention": []}, r"model.channels and model.attention must have the same length"),
        ({"channels": [8, 10]}, r"model.channels=\[8, 10\] must be multiples of model.norm_groups=4"),
        ({"head_width": 3}, r"model.head_width=3 must divide .* \[16, 16\]"),
    ],
    ids=str,
)
def test_sizes_that_do_not_fit_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        replace(SMALL, **changes).build(1, 8, 0)
