"""Metagradients against the trainings themselves: bit by bit forward, by finite differences backward."""

from collections.abc import Callable
from fnmatch import fnmatch
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tdattr.metagradients.backward import begin_at_end, step_back
from tdattr.metagradients.forward import Training
from tdattr.metagradients.state import outline, parts
from tdattr.metagradients.step import Step
from tdattr.networks import Network
from tdattr.networks.lora import LoraConfig
from tdattr.networks.unet import UNetConfig
from tdattr.training.config import AugmentationConfig
from tdattr.training.keep_base import keep_base
from tdattr.training.pretrain import pretrain
from tests.metagradients.trainings import SEED, STEPS, in_double, make, run, train

NUDGE = 1e-6  # of an item's weight: a training bends where the root of Adam comes near its epsilon
SMOOTH = {"epsilon": 1e-5}
SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "cosine": {"schedule": "cosine"},
    "clipped": {"clip": 0.5},
    "mirrored": {"mirror": True},
    "ramp": {"ema_ramp": True},
    "coupled": {"coupled": True},
    "decay": {"weight_decay": 0.5},
    "moments": {"betas": [0.5, 0.9]},
    "augmented": {"augmentation": AugmentationConfig(True, 0.5, 0.2, 0.2, 0.5, 0.125)},
    "smooth": SMOOTH,
    "replaced": {"coupled": True},
    "empty": {"coupled": True, "removal": "empty"},
}
PARTLY: dict[str, dict[str, Any]] = {
    "adapter": {"lora": LoraConfig(2, 4.0, ["qkv", "fc1"])},
    "part": {"trainable": "blocks.0.*"},
}
REMOVED = {"replaced": [3, 20], "empty": [3, 20]}  # before F1 is trained; none elsewhere


@pytest.mark.parametrize("name", SETTINGS)
def test_the_states_are_those_of_the_training(name, tiny_data, tiny_dit, tiny_train, tiny_trainer, edm, tmp_path):
    removed = REMOVED.get(name, ())
    training = make(tiny_data, tiny_dit, tiny_train, edm, dropout=0.1, removed=removed, **SETTINGS[name])
    layout = outline(training.network)
    *_, last = training.states(layout, 0, STEPS, None)
    torch.manual_seed(0)
    network = tiny_dit(dropout=0.1, augmentation_label=training.batches.config.augmentation.enabled)
    ids = training.batches.ids
    pretrain(network, tiny_data, ids, edm, training.batches.config, tiny_trainer(), SEED, tmp_path, "test")
    weights, _, _, average = parts(last)
    for part, row in (("raw", weights), ("ema", average)):
        stored = load_file(tmp_path / f"{part}.safetensors")
        for key, value in layout.split(row).items():
            assert torch.equal(stored[key], value), (part, key)


def test_a_training_goes_on_from_any_state(tiny_data, tiny_dit, tiny_train, edm):
    training = make(tiny_data, tiny_dit, tiny_train, edm, dropout=0.1, clip=0.5)
    layout = outline(training.network)
    states = list(training.states(layout, 0, STEPS, None))
    again = list(training.states(layout, 4, STEPS, states[4]))
    assert len(states) == STEPS + 1 and all(torch.equal(a, b) for a, b in zip(again, states[4:], strict=True))


@pytest.mark.parametrize("name", SETTINGS | PARTLY)
def test_a_step_that_is_differentiated_is_the_step_that_is_taken(name, tiny_data, tiny_dit, tiny_train, edm):
    settings = {"epsilon": 1e-3} | (SETTINGS | PARTLY)[name]  # a small one magnifies rounding
    training = make(tiny_data, tiny_dit, tiny_train, edm, dropout=0.1, removed=REMOVED.get(name, ()), **settings)
    layout = outline(training.network)
    states = list(training.states(layout, 0, STEPS, None))
    step = Step(training.network, layout, edm, training.batches.config, SEED)
    for number, (before, after) in enumerate(pairwise(states)):
        batch = training.batches[number]
        found = step(before, torch.ones(8) if batch.counts is None else batch.counts, batch, number)
        moved, expected = ((end - before).view(4, -1) for end in (found, after))
        assert ((moved - expected).norm(dim=1) <= 1e-4 * expected.norm(dim=1)).all(), number


@pytest.mark.parametrize(("name", "pattern"), [("adapter", "*.lora_*"), ("part", "blocks.0.*")])
def test_of_a_network_that_is_partly_trained_the_base_is_in_memory_once(
    name, pattern, tiny_data, tiny_dit, tiny_train, edm
):
    training = make(tiny_data, tiny_dit, tiny_train, edm, **PARTLY[name])
    assert all(fnmatch(name, pattern) for name in outline(training.network).names)
    shared = list(zip(training.network.buffers(), training.module.averaged.buffers(), strict=True))
    assert shared and all(one.data_ptr() == other.data_ptr() for one, other in shared)


@pytest.mark.parametrize("weights", ["raw", "ema"])
@pytest.mark.parametrize("name", [*SETTINGS, *PARTLY, "counted"])
def test_the_derivative_is_that_of_finite_differences(name, weights, tiny_data, tiny_dit, tiny_train, edm):
    settings = ({} if name == "plain" else SMOOTH) | (SETTINGS | PARTLY).get(name, {})
    training = make(tiny_data, tiny_dit, tiny_train, edm, dropout=0.1, removed=REMOVED.get(name, ()), **settings)
    labelled = training.batches.config.augmentation.enabled
    network = tiny_dit(dropout=0.1, augmentation_label=labelled, spread=0.1)
    keep_base(network, training.batches.config)
    if name == "adapter":
        spread(network)  # half of its parameters are zero
    counted = np.random.default_rng(1).uniform(0.2, 1.5, len(training.batches.split)) if name == "counted" else None
    step, first = compare(training, network, weights, None if counted is None else torch.from_numpy(counted))
    if name == "clipped":
        ones = torch.ones(8, dtype=torch.float64)
        assert step.clipped(step.gradient(parts(first)[0], ones, training.batches[0], 0)) < 1


def test_the_derivative_of_a_u_net_is_that_of_finite_differences(tiny_data, tiny_dit, tiny_train, edm):
    training = make(tiny_data, tiny_dit, tiny_train, edm, dropout=0.1, **SMOOTH)
    compare(training, build_unet(tiny_data.condition_size), "ema", None)


@pytest.mark.parametrize("name", ["smooth", "clipped", "cosine", "empty"])
def test_the_derivative_is_that_of_trainings_that_torch_runs(name, tiny_data, tiny_dit, tiny_train, edm):
    settings = SMOOTH | SETTINGS[name] | {"ema_ramp": True, "weight_decay": 0.5, "mirror": True}
    training = make(tiny_data, tiny_dit, tiny_train, edm, dropout=0.1, removed=REMOVED.get(name, ()), **settings)
    network = tiny_dit(dropout=0.1, spread=0.1).double().train()
    compare(training, network, "ema", None, lambda counts: train(training, network, counts))


def compare(
    training: Training,
    network: Network,
    weights: str,
    counted: Tensor | None,
    retrain: Callable[[Tensor], Tensor] | None = None,
) -> tuple[Step, Tensor]:
    """The derivatives of a training of that network in double precision with those of finite differences; its step, and
    the state that it begins at. ``counted``: what items count. ``retrain``: the state after a training in which they
    count otherwise; by default after those steps."""
    step, layout, first = in_double(training, network.double().train(), counted)
    batches, items = training.batches, len(training.batches.split)
    place = 0 if weights == "raw" else 3
    directions = torch.from_numpy(np.random.default_rng(1).standard_normal((3, layout.size)))

    states = [first]
    for number in range(STEPS - 1):
        counts = batches[number].counts
        counts = torch.ones(8, dtype=torch.float64) if counts is None else counts
        states.append(step(states[-1], counts, batches[number], number))
    after = begin_at_end(directions, items, weights)
    for number in reversed(range(STEPS)):
        after = step_back(step, training, states[number], number, after, pairs=16)
    found = after.items
    assert found.abs().max() > 0
    for item in (0, 7, 21):
        ends = []
        for sign in (1, -1):
            counts = torch.ones(items, dtype=torch.float64)
            counts[item] += sign * NUDGE / (1 if counted is None else counted[item])  # of what the item counts
            state = run(step, training, first, counts) if retrain is None else retrain(counts)
            ends.append(parts(state)[place])
        expected = directions @ (ends[0] - ends[1]) / (2 * NUDGE)
        assert torch.allclose(found[:, item], expected, rtol=1e-5, atol=1e-7 * float(found.abs().max())), item
    return step, first


def build_unet(condition: int) -> Network:
    """A U-Net without zeros."""
    torch.manual_seed(0)
    config = UNetConfig(
        name="small",
        channels=[4, 8],
        layers=1,
        attention=[False, True],
        head_width=4,
        norm_groups=4,
        dropout=0.1,
        embedding_width=8,
        sigma_dropout=0.0,
        augmentation_label=False,
        c_noise="log_sigma",
    )
    network = config.build(1, 8, condition)
    spread(network)
    return network


def spread(network: Network) -> None:
    """Move parameters off zero."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
