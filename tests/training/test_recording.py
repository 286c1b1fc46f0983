"""What others see of a training while it goes on, and that it is none of the training's business."""

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from tdattr.codecs.pixels import Pixels
from tdattr.diffusion.edm import EDM
from tdattr.networks import Given
from tdattr.pictures import grid
from tdattr.pipeline.samples import Samples
from tdattr.queries import query_generator
from tdattr.training import recording
from tdattr.training.framework import L
from tdattr.training.module import Pretraining
from tdattr.training.pretrain import pretrain
from tdattr.training.recording import Recording, Sample

Record = tuple[int, Mapping[str, float]]


@pytest.fixture
def train(tiny_data, tiny_dit, tiny_train, tiny_trainer, edm, tmp_path) -> Callable[..., dict[str, torch.Tensor]]:
    """A short training, with something that looks on; gives its weights."""

    def run(watching: Recording | None) -> dict[str, torch.Tensor]:
        folder = tmp_path / ("alone" if watching is None else "watched")
        folder.mkdir()
        network = tiny_dit(augmentation_label=False)
        config = tiny_train(steps=20, warmup_steps=4)
        pretrain(network, tiny_data, np.arange(48), edm, config, tiny_trainer(), 3, folder, "test", watching)
        return load_file(folder / "ema.safetensors")

    return run


@pytest.fixture
def sample(tiny_data: Any, edm: EDM) -> Sample:
    """What a run looks at."""
    conditions = tiny_data.test.condition(np.arange(3))
    return Samples(edm, Pixels("pixels"), (1, 8, 8), 1, conditions, 2.0, 5, [0, 1, 2])


def test_a_training_is_the_same_whether_it_is_looked_at_or_not(
    train: Callable[..., Any], sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr(recording, "MOST_SHARE", float("inf"))
    records: list[Record] = []
    pictures: list[tuple[np.ndarray, int]] = []
    watching = Recording(
        [lambda step, values: records.append((step, values))],
        sample,
        lambda draw, step: pictures.append((draw(), step)),
    )
    alone, watched = train(None), train(watching)
    assert all(torch.equal(alone[name], watched[name]) for name in alone)

    steps = [step for step, values in records if "loss" in values]
    assert steps == list(range(1, 21))
    rates = [values["learning_rate"] for _, values in records if "loss" in values]
    assert rates == pytest.approx([1e-3 * min(1, step / 4) for step in steps])
    assert all(values["images_per_second"] > 0 for _, values in records if "loss" in values)
    memory = [values["peak_memory_gib"] for _, values in records if "loss" in values]
    assert memory == sorted(memory) and 0.05 < memory[0] < 100  # torch alone is some hundred MB
    assert [step for step, values in records if "validation_loss" in values] == [6, 12, 18, 20]
    assert [step for _, step in pictures] == list(range(2, 20, 2))
    assert not np.array_equal(pictures[0][0], pictures[-1][0])


def test_looking_takes_its_share_of_the_time_and_no_more(edm: EDM, monkeypatch: pytest.MonkeyPatch) -> None:
    """1 000 steps of 0.1 s: 2 s are left for looks of 0.4 s, five of the nine."""
    now = 0.0
    monkeypatch.setattr(recording.time, "perf_counter", lambda: now)
    looks: list[int] = []

    def show(draw: Callable[[], Any], step: int) -> None:
        nonlocal now
        now += 0.4
        looks.append(step)

    def finish(seconds: float) -> list[int]:
        nonlocal now
        looks.clear()
        watching = Recording([lambda step, values: None], lambda network: np.zeros((1, 1, 3), np.uint8), show)
        config = SimpleNamespace(total_steps=1000, batch_size=4, accumulate=1, learning_rate=1.0, rate=lambda step: 1.0)
        module: Any = make_module(edm, config)
        trainer = Mock(spec=L.Trainer, global_step=0, is_global_zero=True)
        watching.on_train_start(trainer, module)
        for step in range(1, 1001):
            now += seconds
            trainer.global_step = step
            watching.on_train_batch_end(trainer, module, {}, None, 0)
        return list(looks)

    assert finish(0.1) == [100, 200, 300, 400, 500]
    assert finish(10.0) == list(range(100, 1000, 100))
    assert finish(0.001) == []  # too short to be looked at


def make_module(edm: EDM, config: Any) -> Any:
    """A module that has the values that are read of it."""
    module = Pretraining.__new__(Pretraining)
    nn.Module.__init__(module)
    module.config, module.step_loss = config, torch.zeros(())
    module.average = SimpleNamespace(module=None)  # type: ignore[assignment]
    module.__dict__["_device"] = torch.device("cpu")
    return module


def test_other_ranks_record_nothing(edm: EDM) -> None:
    records: list[Record] = []
    watching = Recording([lambda step, values: records.append((step, values))])
    config = SimpleNamespace(total_steps=4, batch_size=4, accumulate=1, learning_rate=1.0, rate=lambda step: 1.0)
    for first, expected in ((False, 0), (True, 2)):
        losses = {"validation_loss": torch.ones(())}
        trainer = Mock(spec=L.Trainer, global_step=0, is_global_zero=first, callback_metrics=losses)
        module = make_module(edm, config)
        watching.on_train_start(trainer, module)
        trainer.global_step = 1
        watching.on_train_batch_end(trainer, module, {}, None, 0)
        watching.on_validation_end(trainer, module)
        assert len(records) == expected


def test_samples_are_the_queries_of_a_network(tiny_data: Any, tiny_dit: Any, edm: EDM, sample: Any) -> None:
    """Also those of one that has gone astray can be shown."""
    network = tiny_dit(spread=0.1)
    rngs = [query_generator(5, index) for index in range(3)]
    with torch.inference_mode():
        x = edm.sample(network, rngs, (1, 8, 8), Given(tiny_data.test.condition(np.arange(3))), 2.0)
    assert np.array_equal(sample(network), grid(x.clamp(-1, 1)))
    for parameter in network.parameters():
        parameter.data.fill_(float("nan"))
    assert sample(network).shape == grid(x).shape
