"""A training of an adapter: the base stays what it was bit for bit, and an interrupted one ends at the same adapter."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from tdattr.networks.lora import METADATA, LoraConfig, adapt
from tdattr.training.module import Pretraining
from tdattr.training.pretrain import RESUME, Keeper, pretrain
from tests.training.killed import killed_at_step

LORA = LoraConfig(2, 4.0, ["qkv", "fc1"])
STEPS = 8


@pytest.fixture
def train(tiny_data, tiny_dit, tiny_train, tiny_trainer, edm, tmp_path):
    """Train an adapter of a small network in its own folder: the network, and the files of weights by name."""

    def run(name):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        network = tiny_dit(spread=0.05, augmentation_label=False)
        adapt(network, LORA, seed=3)
        config = tiny_train(steps=STEPS, learning_rate=1e-2, epoch_steps=4, lora=LORA)
        pretrain(network, tiny_data, np.arange(44), edm, config, tiny_trainer(), 3, folder, "test")
        return network, {part: load_file(folder / f"{part}.safetensors") for part in ("raw", "ema")}

    return run


def equal(first, second):
    return all(torch.equal(one[key], second[part][key]) for part, one in first.items() for key in one)


def test_the_adapter_alone_is_trained_averaged_and_stored(train, tiny_dit, tmp_path, monkeypatch) -> None:
    modules: list[Pretraining] = []
    end = Keeper.on_train_end
    monkeypatch.setattr(Keeper, "on_train_end", lambda self, t, module: (modules.append(module), end(self, t, module)))
    network, weights = train("whole")
    base = dict(tiny_dit(spread=0.05, augmentation_label=False).named_parameters())
    kept = {name.replace(".base_layer", ""): value for name, value in network.named_buffers()}
    for name, value in base.items():
        assert torch.equal(kept[name].view(torch.int32), value.view(torch.int32)), name  # also the signs of zeros
    fresh = tiny_dit(spread=0.05, augmentation_label=False)
    adapt(fresh, LORA, seed=3)
    for part in ("raw", "ema"):
        assert weights[part].keys() == fresh.weights().keys()
        assert all(not torch.equal(value, fresh.weights()[name]) for name, value in weights[part].items())
        with safe_open(tmp_path / "whole" / f"{part}.safetensors", framework="pt") as file:
            assert METADATA in file.metadata()
    assert not equal({"raw": weights["raw"]}, {"raw": weights["ema"]})
    [module] = modules
    assert len(module.trainer.optimizers[0].param_groups[0]["params"]) == len(fresh.weights())
    shared = zip(module.network.buffers(), module.average.module.buffers(), strict=True)
    assert all(one.data_ptr() == other.data_ptr() for one, other in shared)  # the base is in memory once


def test_an_interrupted_training_ends_at_the_same_adapter(train, tmp_path: Path) -> None:
    _, whole = train("whole")
    with killed_at_step(STEPS - 2):
        train("killed")
    checkpoint = torch.load(tmp_path / "killed" / RESUME, weights_only=True)
    assert all(".lora_" in name or name.endswith("n_averaged") for name in checkpoint["state_dict"])  # not the base
    assert equal(whole, train("killed")[1])
