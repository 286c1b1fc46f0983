"""The DiT's parameters, in total and by role, and what augmentation tells it, as in the MUCS code."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir

from tdattr.configs import build
from tdattr.data.prepared import Prepared
from tdattr.diffusion.edm import EDM
from tdattr.networks.dit import DiT
from tdattr.training.augmentation import augment
from tdattr.training.batches import Batches
from tdattr.training.config import AugmentationConfig, TrainConfig
from tests.parity.golden import golden

CONF = Path(__file__).parents[2] / "conf"
DATASETS = {  # overrides of the model, resolution and length of the condition
    "CIFAR-10": ([], 32, 0),
    "ArtBench-10": (["model.frame_channels=[16,16]", "model.frame_strides=[1,2]"], 64, 10),
    "COCO": (["model.frame_channels=[16,16]", "model.frame_strides=[1,2]", "model.embedding_width=1024"], 64, 768),
}
ROLES = {  # the beginning of a parameter's name: its role in the entry
    "encode": "encoder",
    "decode.2": "last map",
    "decode": "decoder",
    "embed": "patch embedding",
    "registers": "registers",
    "sigma": "noise embedding",
    "condition": "condition embedding (with the null condition)",
    "null": "condition embedding (with the null condition)",
    "augmentation": "augmentation embedding",
    "unpatch": "unpatchify",
    "modulation": "final modulation",
}
IN_BLOCKS = {"attn.qkv": "attention qkv", "attn.proj": "attention proj", "mlp": "mlp", "modulation": "block modulation"}


def role(name: str) -> str:
    """The role of a parameter."""
    if name.startswith("blocks."):
        inside = name.split(".", 2)[2]
        return next(role for start, role in IN_BLOCKS.items() if inside.startswith(start))
    return next(role for start, role in ROLES.items() if name.startswith(start))


def make(size: str, dataset: str) -> DiT:
    """A published size, without memory for its weights."""
    changes, resolution, condition = DATASETS[dataset]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = build(compose("config", [f"model=dit_{size.lower()}", "dataset=cifar10", *changes]).model, "model")
    with torch.device("meta"):
        network = config.build(3, resolution, condition)
    assert isinstance(network, DiT)
    return network


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("size", "SBL")
def test_parameters_by_role(size: str, dataset: str) -> None:
    network = make(size, dataset)
    counts: Counter[str] = Counter()
    for name, parameter in network.named_parameters():
        counts[role(name)] += parameter.numel()
    trained = sum(network.get_parameter(name).numel() for name in network.parameter_names("mlp"))
    total = {"total": sum(counts.values()), "trained while unlearning": trained}
    golden("mucs.dit_parameters").check(f"DiT/{size}, {dataset}", counts | total)


@pytest.mark.parametrize("preset", ["dit_b_64", "dit_b_coco"])
def test_presets_are_the_published_sizes(preset: str) -> None:
    dataset = {"dit_b_64": "ArtBench-10", "dit_b_coco": "COCO"}[preset]
    _, resolution, condition = DATASETS[dataset]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = build(compose("config", [f"model={preset}", "dataset=cifar10"]).model, "model")
    with torch.device("meta"):
        counted = sum(parameter.numel() for parameter in config.build(3, resolution, condition).parameters())
    assert counted == golden("mucs.dit_parameters").outputs[f"DiT/B, {dataset}"]["total"]


def test_details_that_no_count_shows() -> None:
    """Where dropout is, which GELU, which epsilon, and how the unpatching starts."""
    network = make("B", "CIFAR-10")
    block = network.blocks[0]
    assert block.mlp.act.approximate == "tanh"
    assert (block.mlp.drop1.p, block.mlp.drop2.p) == (0.1, 0.0)
    assert (block.attn.attn_drop.p, block.attn.norm.p, block.attn.proj_drop.p) == (0.1, 0.1, 0.0)
    assert {norm.eps for norm in network.modules() if isinstance(norm, torch.nn.LayerNorm)} == {1e-6}
    skips = [block.skip for block in (*network.encode, *network.decode[:-1])]
    assert [isinstance(skip, torch.nn.Identity) for skip in skips] == [False, True, True, False]
    assert make("B", "ArtBench-10").augmentation.num_embeddings == 2


def test_dropout_precedes_the_projection(tiny_dit: Callable[..., DiT]) -> None:
    network = tiny_dit(0, spread=0.3, dropout=0.5).train()
    attention = network.blocks[0].attn
    seen = []
    attention.proj.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0]))
    attention.proj_drop.register_forward_hook(lambda module, arguments, output: seen.append(output))
    network(torch.randn(4, 1, 8, 8), torch.zeros(4))
    before, after = seen
    assert 0.3 < (before == 0).float().mean() < 0.7 and (after != 0).all()


def test_unpatching_starts_as_a_transposed_convolution(tiny_dit: Callable[..., DiT]) -> None:
    network = tiny_dit(0, frame_channels=[6], frame_strides=[1], width=64, heads=2)
    weight, bias = network.unpatch.weight, network.unpatch.bias
    reference = torch.nn.ConvTranspose2d(64, 6, 2, stride=2)
    assert weight.abs().max().item() == pytest.approx(reference.weight.abs().max().item(), rel=0.05)
    assert bias.shape == (6,) and bias.abs().max() <= weight.abs().max()
    tokens = torch.randn(2, 16, 64)
    reference.weight.data = weight.data.view(6, 2, 2, 64).permute(3, 0, 1, 2)
    reference.bias.data = bias.data
    expected = reference(tokens.transpose(1, 2).unflatten(2, (4, 4)))
    torch.testing.assert_close(network.unpatch(tokens, 4), expected, rtol=1e-4, atol=1e-5)


DONE = {  # which of scaling, rotation, stretching and translation are drawn
    "nothing": (), "scaled": (0,), "rotated": (1,), "stretched": (2,), "shifted": (3,), "scaled and shifted": (0, 3),
}  # fmt: skip


class Chosen(np.random.Generator):
    """A generator whose first draw decides which transformations are applied."""

    def __init__(self, done: tuple[int, ...]) -> None:
        super().__init__(np.random.PCG64(0))
        self.done: tuple[int, ...] | None = done

    def random(self, *shape: Any) -> np.ndarray:
        if self.done is None:
            return super().random(*shape)
        done, self.done = self.done, None
        return np.array([[0.0 if kind in done else 1.0] for kind in range(4)])


def test_the_class_of_an_augmented_item(augmentation: Callable[..., AugmentationConfig]) -> None:
    entry = golden("mucs.augmentation_class")
    x = torch.rand(1, 3, 8, 8) * 2 - 1
    for name, done in DONE.items():
        moved, told = augment(x, augmentation(), Chosen(done))
        entry.check(name, told.item())
        assert torch.equal(moved, x) == (not done)
    _, told = augment(torch.zeros(40000, 1, 2, 2), augmentation(), np.random.default_rng(0))
    assert told.float().mean().item() == pytest.approx(entry.outputs["share of class 1"], abs=0.01)
    entry.check("number of rows of the embedding", make("S", "CIFAR-10").augmentation.num_embeddings)


def test_mirroring_is_not_told(
    tiny_data: Prepared,
    edm: EDM,
    tiny_train: Callable[..., TrainConfig],
    augmentation: Callable[..., AugmentationConfig],
) -> None:
    plain = tiny_train(augmentation=augmentation(probability=0.0))
    ids = np.arange(len(tiny_data.train))
    for step in range(4):
        still, flipped = (
            Batches(tiny_data.train, ids, edm, replace(plain, mirror=on), 3)[step] for on in (False, True)
        )
        turned = (still.x != flipped.x).flatten(1).any(1)
        assert turned.any() and flipped.given.augmentation is not None
        for told in flipped.given.augmentation[turned].tolist():
            golden("mucs.augmentation_class").check("mirrored only", told)


def test_what_was_not_augmented_is_told_too(tiny_dit: Callable[..., DiT]) -> None:
    network = tiny_dit(0, spread=0.3)
    x, level = torch.randn(3, 1, 8, 8), torch.zeros(3)
    before = network(x, level)
    network.augmentation.weight.data[0] += 1
    assert (network(x, level) - before).abs().amax((1, 2, 3)).min() > 1e-4


def test_scale_rotate_stretch_shift_in_this_order(augmentation: Callable[..., AugmentationConfig]) -> None:
    """A quarter turn and a shift: the content is shifted first and then turned about the centre, or the other way."""
    config = replace(augmentation(probability=1.0), scale=0.0, anisotropy=0.0, slanted_stretch=0.0)

    class Turned(Chosen):
        def uniform(self, *arguments: Any) -> np.ndarray:
            return np.full(1, np.pi / 2)

        def standard_normal(self, *shape: Any) -> np.ndarray:
            return np.array([[2.0], [0.0]]) if shape == ((2, 1),) else np.zeros(1)  # to one side, by a quarter

    x = torch.full((1, 1, 8, 8), -1.0)
    x[0, 0, 3:5, 3:5] = 1  # a spot in the middle
    moved, _ = augment(x, config, Turned((1, 3)))
    row, column = np.unravel_index(moved[0, 0].argmax().item(), (8, 8))
    # the sampling grid is the shift, then the turn: seen from the image, first turned, then shifted sideways
    assert row in (3, 4) and column in (1, 2)


def test_values_are_not_clamped(augmentation: Callable[..., AugmentationConfig]) -> None:
    x = torch.where(torch.rand(64, 1, 8, 8, generator=torch.Generator().manual_seed(0)) < 0.5, -1.0, 1.0)
    moved, _ = augment(x, augmentation(probability=1.0), np.random.default_rng(0))
    assert moved.abs().max() > 1.01
