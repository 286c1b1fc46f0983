"""The DiT: its published sizes, what it starts as, and what each of its inputs may and may not change."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from torch import Tensor, nn

from tdattr.configs import build
from tdattr.errors import UserError
from tdattr.networks import Given
from tdattr.networks.dit import DiTConfig

CONF = Path(__file__).parents[2] / "conf"
FRAMED = {"frame_channels": [4, 6], "frame_strides": [1, 2]}
Builder = Callable[..., nn.Module]


def composed(model: str, **changes: object) -> DiTConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return replace(build(compose("config", [f"model={model}", "dataset=cifar10"]).model, "model"), **changes)


def count(config: DiTConfig, resolution: int, condition: int) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in config.build(3, resolution, condition).parameters() if p.requires_grad)


def inputs(batch: int, seed: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, 1, 8, 8, generator=rng)
    return x, torch.randn(batch, generator=rng), torch.randn(batch, 4, generator=rng)


@pytest.mark.parametrize(
    ("model", "blocks", "width", "heads"),
    [("dit_s", 12, 384, 6), ("dit_b", 12, 768, 12), ("dit_l", 24, 1024, 16)],
)
def test_sizes(model: str, blocks: int, width: int, heads: int) -> None:
    config = composed(model, frame_channels=[], frame_strides=[])
    assert (config.blocks, config.width, config.heads, config.mlp_ratio) == (blocks, width, heads, 4)
    attention = 3 * width**2 + width**2 + width  # no bias on queries, keys and values
    mlp = 8 * width**2 + 5 * width
    block = attention + mlp + 6 * width * (256 + 1)
    sigma = 2 * (256 * 256 + 256)
    augmentation = 2 * 256
    ends = 12 * width + width + 12 * width + 3 + 2 * width * (256 + 1) + 32 * width + augmentation
    assert count(config, 32, 0) == blocks * block + sigma + ends


@pytest.mark.parametrize("changes", [{}, FRAMED, {"registers": 0}, {"patch": 4}], ids=str)
@pytest.mark.parametrize("condition", [0, 4])
def test_output_has_the_shape_of_the_input(tiny_dit: Builder, changes: dict[str, object], condition: int) -> None:
    x, c_noise, vector = inputs(3)
    network = tiny_dit(condition, spread=0.1, **changes)
    out = network(x, c_noise, Given(vector if condition else None))
    assert out.shape == x.shape
    assert out.isfinite().all()
    assert out.std() > 0


@pytest.mark.parametrize("changes", [{}, FRAMED], ids=["bare", "framed"])
def test_starts_as_zero(tiny_dit: Builder, changes: dict[str, object]) -> None:
    x, c_noise, vector = inputs(3)
    assert torch.equal(tiny_dit(4, **changes)(x, c_noise, Given(vector)), torch.zeros_like(x))


def test_null_condition_replaces_exactly_the_dropped_ones(tiny_dit: Builder) -> None:
    x, c_noise, vector = inputs(3)
    network = tiny_dit(4, spread=0.3)
    null = network.get_parameter("null").detach().expand(3, -1)
    kept, without = network(x, c_noise, Given(vector)), network(x, c_noise, Given(null))
    assert (kept - without).abs().amax((1, 2, 3)).min() > 1e-3
    drop = torch.tensor([True, False, True])
    torch.testing.assert_close(
        network(x, c_noise, Given(vector, drop)), torch.where(drop[:, None, None, None], without, kept)
    )
    torch.testing.assert_close(network(x, c_noise, Given(vector, torch.zeros(3, dtype=torch.bool))), kept)


def test_null_condition_starts_at_zero_and_is_learned(tiny_dit: Builder) -> None:
    null = tiny_dit(4).get_parameter("null")
    assert null.requires_grad
    assert null.shape == (4,)
    assert not null.any()
    assert "null" not in dict(tiny_dit(0).named_parameters())


def test_augmentation_label_zero_means_none(tiny_dit: Builder) -> None:
    x, c_noise, vector = inputs(3)
    network = tiny_dit(4, spread=0.3)
    plain = network(x, c_noise, Given(vector))
    torch.testing.assert_close(network(x, c_noise, Given(vector, augmentation=torch.zeros(3, dtype=torch.long))), plain)
    assert (network(x, c_noise, Given(vector, augmentation=torch.ones(3, dtype=torch.long))) - plain).abs().max() > 1e-3


def closed_blocks(network: nn.Module) -> nn.Module:
    """Shut the gates of every block, so that no token can see another."""
    for block in network.blocks:  # type: ignore[union-attr]
        nn.init.zeros_(block.modulation.weight)
        nn.init.zeros_(block.modulation.bias)
    return network


def test_registers_are_cut_off_and_patches_stay_in_place(tiny_dit: Builder) -> None:
    x, c_noise, vector = inputs(1)
    network = closed_blocks(tiny_dit(4, spread=0.3))
    before = network(x, c_noise, Given(vector))
    network.get_parameter("registers").data.mul_(5)
    assert torch.equal(network(x, c_noise, Given(vector)), before)
    for row, column in ((0, 0), (1, 3), (3, 3)):
        changed = x.clone()
        changed[..., 2 * row : 2 * row + 2, 2 * column : 2 * column + 2] += 1
        moved = (network(changed, c_noise, Given(vector)) - before).abs().amax((0, 1)).reshape(4, 2, 4, 2).amax(
            (1, 3)
        ) > 0
        assert moved.nonzero().tolist() == [[row, column]]


def test_registers_and_distant_patches_are_attended_to(tiny_dit: Builder) -> None:
    x, c_noise, vector = inputs(1)
    network = tiny_dit(4, spread=0.3)
    before = network(x, c_noise, Given(vector))
    changed = x.clone()
    changed[..., :2, :2] += 1
    assert (network(changed, c_noise, Given(vector)) - before)[..., 6:, 6:].abs().min() > 0
    network.get_parameter("registers").data.neg_()
    assert (network(x, c_noise, Given(vector)) - before).abs().amax((0, 1)).min() > 0


def test_equal_patches_are_told_apart_by_position(tiny_dit: Builder) -> None:
    _, c_noise, vector = inputs(1)
    out = closed_blocks(tiny_dit(4, spread=0.3))(torch.ones(1, 1, 8, 8), c_noise, Given(vector))[0, 0]
    patches = out.reshape(4, 2, 4, 2).permute(0, 2, 1, 3).reshape(16, 4)
    assert torch.pdist(patches).min() > 1e-4


@pytest.mark.parametrize("changes", [{}, FRAMED], ids=["bare", "framed"])
def test_an_item_does_not_depend_on_the_rest_of_the_batch(tiny_dit: Builder, changes: dict[str, object]) -> None:
    x, c_noise, vector = inputs(5)
    network = tiny_dit(4, spread=0.3, **changes)
    together = network(x, c_noise, Given(vector))
    alone = torch.cat([network(x[i : i + 1], c_noise[i : i + 1], Given(vector)[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)
    order = torch.tensor([4, 2, 0, 3, 1])
    torch.testing.assert_close(
        network(x[order], c_noise[order], Given(vector)[order]), together[order], atol=1e-5, rtol=1e-4
    )


def test_dropout_is_active_in_training_only(tiny_dit: Builder) -> None:
    x, c_noise, vector = inputs(2)
    network = tiny_dit(4, spread=0.3, dropout=0.5)
    assert torch.equal(network(x, c_noise, Given(vector)), network(x, c_noise, Given(vector)))
    network.train()
    assert not torch.equal(network(x, c_noise, Given(vector)), network(x, c_noise, Given(vector)))


def test_mlp_part_is_the_weight_matrices_of_the_mlps(tiny_dit: Builder) -> None:
    network = tiny_dit(4, blocks=2, **FRAMED)
    expected = {
        f"{owner}.{name}"
        for owner, module in network.named_modules()
        for name, parameter in module.named_parameters(recurse=False)
        if isinstance(module, nn.Linear) and parameter.ndim == 2 and (owner.startswith("condition") or ".mlp." in owner)
    }
    assert len(expected) == 2 * 2 + 2
    assert set(network.parameter_names("mlp")) == expected
    assert {network.get_parameter(name).ndim for name in expected} == {2}
    unconditional = tiny_dit(0, blocks=2).parameter_names("mlp")
    assert set(unconditional) == {name for name in expected if name.startswith("blocks")}


def test_wider_parts_contain_the_narrower(tiny_dit: Builder) -> None:
    network = tiny_dit(4, **FRAMED)
    mlp, block, everything = (set(network.parameter_names(part)) for part in ("mlp", "block", "all"))
    assert mlp < block < everything == {name for name, _ in network.named_parameters()}
    assert not any(name.startswith(("sigma", "encode", "decode", "embed", "registers", "null")) for name in block)
    assert {"blocks.0.attn.qkv.weight", "blocks.0.modulation.bias", "blocks.0.mlp.fc1.bias"} < block


def test_unknown_part_is_refused(tiny_dit: Builder) -> None:
    with pytest.raises(UserError, match=r"has no part"):
        tiny_dit(4).parameter_names("attention")


def test_sizes_that_do_not_fit_are_refused(tiny_config: DiTConfig) -> None:
    with pytest.raises(UserError, match=r"9 pixels wide .* multiple of 2 .*model.patch"):
        tiny_config.build(1, 9, 0)
    framed = replace(tiny_config, frame_channels=[4, 4], frame_strides=[2, 3])
    with pytest.raises(UserError, match=r"8 pixels wide .* multiple of 12 "):
        framed.build(1, 8, 0)
    with pytest.raises(UserError, match="same length"):
        replace(tiny_config, frame_channels=[4], frame_strides=[1, 2]).build(1, 8, 0)
    with pytest.raises(UserError, match=r"model.width=18"):
        replace(tiny_config, width=18).build(1, 8, 0)
