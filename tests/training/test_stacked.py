"""Trainings at once give the weights of one after the other, also where they are interrupted or one diverges."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file
from torch import nn

from tdattr.configs import build
from tdattr.data.prepared import Prepared
from tdattr.diffusion.edm import EDM
from tdattr.errors import UserError
from tdattr.interim import RESUME
from tdattr.networks import Given, Network
from tdattr.search_path import CONF
from tdattr.training.pretrain import Keeper, pretrain
from tdattr.training.recording import Recording
from tdattr.training.stack import Stack, call_together, can_stack, stack_parameters
from tdattr.training.stacked import Run, StackKeeper, pretrain_together

STEPS = 12
TOLERANCE = 1e-5  # of weights
SEEDS = (3, 3, 4)
Weights = dict[str, dict[str, torch.Tensor]]


class Trainings:
    """Three trainings, each without another part of the items, the last under another seed, in folders of their own."""

    def __init__(self, folder: Path, make: Callable[..., Any], data: Prepared, edm: EDM) -> None:
        self.folder, self.make, self.data, self.edm = folder, make, data, edm
        self.curves: list[list[tuple[int, dict[str, float]]]] = [[], [], []]

    def runs(self, name: str, which: Sequence[int] = (0, 1, 2)) -> list[Run]:
        """In the folders of that name."""
        found = []
        for index in which:
            folder = self.folder / f"{name}{index}"
            folder.mkdir(exist_ok=True)
            ids = np.delete(np.arange(len(self.data.train)), np.arange(8 * index, 8 * index + 5))
            curve = self.curves[index]
            record: Any = lambda step, values, curve=curve: curve.append((step, dict(values)))  # noqa: E731
            found.append(Run(self.make(index), ids, SEEDS[index], folder, f"run {index}", record))
        return found

    def together(self, name: str, config: Any, trainer: Any, which: Sequence[int] = (0, 1, 2)) -> list[Any]:
        """What ``pretrain_together`` gives."""
        return pretrain_together(self.runs(name, which), self.data, self.edm, config, trainer)

    def alone(self, name: str, config: Any, trainer: Any, which: Sequence[int] = (0, 1, 2)) -> list[dict[str, float]]:
        """One after the other."""
        return [
            pretrain(
                run.network, self.data, run.ids, self.edm, config, trainer, run.seed, run.folder, run.label,
                Recording([run.curve]),
            )
            for run in self.runs(name, which)
        ]  # fmt: skip

    def weights(self, name: str, which: Sequence[int] = (0, 1, 2)) -> list[Weights]:
        """What they have come to."""
        folders = [self.folder / f"{name}{index}" for index in which]
        return [{part: load_file(folder / f"{part}.safetensors") for part in ("raw", "ema")} for folder in folders]


@pytest.fixture
def trainings(tmp_path: Path, tiny_dit: Callable[..., nn.Module], tiny_data: Prepared, edm: EDM) -> Trainings:
    """With networks of other weights each."""

    def make(index: int) -> nn.Module:
        torch.manual_seed(index)
        return tiny_dit(dropout=0.0, augmentation_label=False, spread=0.02)

    return Trainings(tmp_path, make, tiny_data, edm)


@pytest.fixture
def config(tiny_train: Callable[..., Any]) -> Any:
    """Of a training whose gradients are cut at about half of the steps."""
    return tiny_train(steps=STEPS, epoch_steps=5, clip=2.0, coupled=True)


def apart(first: Sequence[Weights], second: Sequence[Weights]) -> float:
    """The largest difference of two weights of the same name."""
    return max(
        float((one[part][name] - other[part][name]).abs().max())
        for one, other in zip(first, second, strict=True)
        for part in one
        for name in one[part]
    )


def die(monkeypatch: pytest.MonkeyPatch, keeper: type, step: int, train: Callable[[], Any]) -> None:
    """Begin trainings and end them after so many steps."""
    steps = keeper.on_train_batch_end  # type: ignore[attr-defined]

    def end(self: Any, trainer: Any, *rest: Any) -> None:
        steps(self, trainer, *rest)
        if trainer.global_step == step:
            raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(keeper, "on_train_batch_end", end)
        with pytest.raises(RuntimeError, match="killed"):
            train()


@pytest.mark.parametrize(
    "changes", [{}, {"removal": "empty"}, {"coupled": False, "schedule": "cosine", "ema_ramp": True}]
)
def test_they_give_the_weights_and_losses_of_one_after_the_other(
    trainings: Trainings, config: Any, tiny_train: Callable[..., Any], tiny_trainer: Callable[..., Any], changes: Any
) -> None:
    config = tiny_train(steps=STEPS, epoch_steps=5, clip=2.0, **{"coupled": True} | changes)
    alone = trainings.alone("alone", config, tiny_trainer())
    curves, trainings.curves = trainings.curves, [[], [], []]
    together = trainings.together("together", config, tiny_trainer())
    assert 0 < apart(trainings.weights("alone"), trainings.weights("together")) < TOLERANCE
    assert apart(trainings.weights("alone", [0, 1]), trainings.weights("alone", [1, 2])) > 100 * TOLERANCE
    for one, other in zip(alone, together, strict=True):
        assert other == pytest.approx(one, rel=1e-4) and "validation_loss" in other
    for one_curve, other_curve in zip(curves, trainings.curves, strict=True):
        assert [step for step, _ in one_curve] == [step for step, _ in other_curve]
        for (_, values), (_, same) in zip(one_curve, other_curve, strict=True):
            assert values.keys() == same.keys()
            for name in {"loss", "learning_rate", "validation_loss"} & values.keys():
                assert same[name] == pytest.approx(values[name], rel=1e-4)


def test_lengths_of_gradients_are_cut_for_each(
    trainings: Trainings, tiny_train: Callable[..., Any], tiny_trainer: Callable[..., Any]
) -> None:
    weights = {}
    for clip in (None, 0.01):
        trainings.together(f"{clip}", tiny_train(steps=3, clip=clip, weight_decay=0.0), tiny_trainer())
        weights[clip] = trainings.weights(f"{clip}")
    assert apart(weights[None], weights[0.01]) > TOLERANCE  # Adam takes most of it back


def test_interrupted_ones_go_on_together_or_alone(
    trainings: Trainings, config: Any, tiny_trainer: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainings.together("whole", config, tiny_trainer())
    expected, seen = trainings.weights("whole"), []
    for name in ("a", "b"):
        die(monkeypatch, StackKeeper, 8, lambda name=name: trainings.together(name, config, tiny_trainer()))  # type: ignore[misc]
    began = Stack.training_step

    def count(self: Stack, *rest: Any) -> Any:
        seen.append(self.trainer.global_step)
        return began(self, *rest)

    monkeypatch.setattr(Stack, "training_step", count)
    trainings.together("a", config, tiny_trainer())
    assert seen == list(range(5, STEPS))  # five steps were in the checkpoints
    assert apart(expected, trainings.weights("a")) == 0
    trainings.alone("b", config, tiny_trainer())
    assert 0 < apart(expected, trainings.weights("b")) < TOLERANCE and len(seen) == STEPS - 5


def test_those_that_are_as_far_go_on_together_and_the_others_beside_them(
    trainings: Trainings, config: Any, tiny_trainer: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainings.alone("whole", config, tiny_trainer())
    for index in (0, 2):
        die(monkeypatch, Keeper, 8, lambda index=index: trainings.alone("part", config, tiny_trainer(), [index]))  # type: ignore[misc]
    counts = []
    began = Stack.__init__

    def note(self: Stack, networks: Sequence[Any], *rest: Any, **more: Any) -> None:
        counts.append(len(networks))
        began(self, networks, *rest, **more)

    monkeypatch.setattr(Stack, "__init__", note)
    trainings.together("part", config, tiny_trainer())
    assert counts == [2]
    assert 0 < apart(trainings.weights("whole"), trainings.weights("part")) < TOLERANCE


def test_one_that_diverges_costs_the_others_nothing(
    trainings: Trainings, config: Any, tiny_trainer: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainings.together("whole", config, tiny_trainer())
    original = trainings.make

    def make(index: int) -> nn.Module:
        network = original(index)
        if index == 1:
            with torch.no_grad():
                network.embed.weight[0, 0] = float("inf")
        return network

    monkeypatch.setattr(trainings, "make", make)
    results = trainings.together("one", config, tiny_trainer())
    assert isinstance(results[1], UserError)
    assert str(results[1]) == "run 1: the loss is nan at step 5; lower train.learning_rate."
    assert not list((tmp_path / "one1").glob("*.safetensors")) and not (tmp_path / "one1" / RESUME).exists()
    assert apart(trainings.weights("whole", [0, 2]), trainings.weights("one", [0, 2])) == 0
    (failed,) = {str(result) for result in trainings.together("all", config, tiny_trainer(), [1])}
    assert failed.startswith("run 1: the loss is nan")


def test_what_cannot_be_stacked(tiny_dit: Callable[..., Any]) -> None:
    assert can_stack(tiny_dit(dropout=0.0).requires_grad_(True))
    assert not can_stack(tiny_dit(dropout=0.1))
    frozen = tiny_dit(dropout=0.0)
    frozen.embed.weight.requires_grad_(False)
    assert not can_stack(frozen)
    remembering = tiny_dit(dropout=0.0)
    remembering.register_buffer("mean", torch.zeros(3))
    assert not can_stack(remembering)


@pytest.mark.parametrize("model", ["dit_b", "unet_tiny", "unet_diffusers_tiny", "unet_diffusers_conditional_tiny"])
def test_networks_of_all_sorts_give_what_each_gives_alone(model: str) -> None:
    """Also told conditions, of which some are dropped: all but the third."""
    small = {"blocks": 1, "width": 16, "heads": 2, "embedding_width": 8, "registers": 3} if model == "dit_b" else {}
    changes = {"augmentation_label": False, "dropout": 0.0, "c_noise": "log_sigma"} | small
    node = OmegaConf.merge(OmegaConf.load(CONF / "model" / f"{model}.yaml"), changes)
    networks: list[Network] = []
    for seed in range(2):
        torch.manual_seed(seed)
        networks.append(build(node, "model").build(3, 8, 5))
        with torch.no_grad():
            for value in networks[-1].parameters():
                value += 0.05 * torch.randn_like(value)
    assert can_stack(networks[0])
    x, c_noise = torch.randn(6, 3, 8, 8), torch.randn(6)
    told = Given(torch.eye(5)[torch.arange(6) % 5], torch.tensor([True, False, False, False, True, False]))
    given = told if networks[0].conditional else Given()
    with torch.no_grad():
        alone = [
            each(x[part], c_noise[part], given[part])
            for each, part in zip(networks, (slice(0, 3), slice(3, 6)), strict=True)
        ]
        together = call_together(networks[0], stack_parameters(networks), 2)(x, c_noise, given)
    torch.testing.assert_close(together, torch.cat(alone), atol=2e-6 * float(together.abs().max()), rtol=0)
    assert (alone[0] - alone[1]).abs().max() > 1e-2
