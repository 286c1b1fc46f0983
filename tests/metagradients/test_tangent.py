"""The derivative that goes forward with a training: that of finite differences, and one that can be interrupted."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tdattr.interim import find_interim
from tdattr.metagradients.state import outline, parts
from tdattr.metagradients.step import Step
from tdattr.metagradients.tangent import Tangent
from tests.metagradients.trainings import SEED, STEPS, in_double, make, run

NUDGE = 1e-6
SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "clipped": {"clip": 0.5, "epsilon": 1e-5},
    "ramp": {"ema_ramp": True, "epsilon": 1e-5},
    "empty": {"coupled": True, "removal": "empty", "epsilon": 1e-5},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_it_is_that_of_finite_differences(name, tiny_data, tiny_dit, tiny_train, edm, tmp_path):
    removed = [3, 20] if name == "empty" else []
    training = make(tiny_data, tiny_dit, tiny_train, edm, dropout=0.1, removed=removed, **SETTINGS[name])
    network = tiny_dit(dropout=0.1, augmentation_label=False, spread=0.1).double().train()
    items = len(training.batches.split)
    counted = torch.from_numpy(np.random.default_rng(1).uniform(0.2, 1.5, items))
    step, layout, first = in_double(training, network, counted)
    changed = torch.zeros(items, dtype=torch.float64)
    changed[[0, 7, 21]] = torch.tensor([1.0, 1.0, -0.5], dtype=torch.float64)
    tangent = Tangent(training, step, layout, changed * counted, tmp_path)
    states = torch.stack([first, torch.zeros_like(first)])
    for number in range(STEPS):
        states = tangent.push(number, states)
    torch.testing.assert_close(states[0], run(step, training, first, torch.ones_like(changed)), rtol=1e-9, atol=1e-12)
    ends = [run(step, training, first, 1 + sign * NUDGE * changed) for sign in (1, -1)]
    for found, expected in zip(parts(states[1]), parts((ends[0] - ends[1]) / (2 * NUDGE)), strict=True):
        assert (found - expected).norm() < 1e-5 * expected.norm(), name


def test_an_interrupted_one_goes_on(
    tiny_data: Any, tiny_dit: Any, tiny_train: Any, edm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    direction = torch.zeros(48)
    direction[:8] = 1

    def start(folder: Path) -> Tangent:
        folder.mkdir(exist_ok=True)
        training = make(tiny_data, tiny_dit, tiny_train, edm, dropout=0.1, epsilon=1e-3)
        layout = outline(training.network)
        step = Step(training.network, layout, edm, training.batches.config, SEED)
        return Tangent(training, step, layout, direction, folder)

    expected = start(tmp_path / "whole").train("Training")
    real, pushed = Tangent.push, []

    def push(tangent: Tangent, number: int, states: torch.Tensor) -> torch.Tensor:
        if number == 7 and 7 not in pushed:
            pushed.append(7)
            raise KeyboardInterrupt
        pushed.append(number)
        return real(tangent, number, states)

    monkeypatch.setattr(Tangent, "push", push)
    killed = tmp_path / "killed"
    with pytest.raises(KeyboardInterrupt):
        start(killed).train("Training")
    assert find_interim(killed) == set(killed.iterdir())
    pushed[:] = [7]
    found = start(killed).train("Training")
    assert pushed[1] == 4 and torch.equal(found, expected)  # what was kept last is four steps old at most
