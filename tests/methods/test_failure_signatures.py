from collections.abc import Callable
from dataclasses import replace

import pandas as pd
import pytest
import torch
from torch import Tensor

from tdattr.methods.failure_signatures import growths, warn_of_failures, warn_of_warm_up
from tdattr.training.config import TrainConfig
from tdattr.unlearning.group import GroupUnlearnConfig
from tests.methods.unlearning import UNLEARN

CONFIG = replace(UNLEARN, steps=100, warmup_steps=10)
STEADY = pd.DataFrame({"retain": [1.0, 1.1, 0.9, 1.0, 1.05] * 20})
GROWN = pd.DataFrame({"retain": [1.0] * 7 + [2.0] * 93})  # soon after the start


@pytest.fixture
def warned(caplog: pytest.LogCaptureFixture, tiny_train: Callable[..., TrainConfig]) -> Callable[..., str]:
    def warned(scores: Tensor, config: GroupUnlearnConfig = CONFIG, grown: str = "", log: pd.DataFrame = GROWN) -> str:
        caplog.clear()
        logs = {name: log if name == grown else STEADY for name in "abc"}
        train = tiny_train(steps=5000, learning_rate=2e-3, warmup_steps=10)
        warn_of_failures(scores, logs, config, train, 100)
        return caplog.text

    return warned


def test_a_sound_unlearning_warns_of_nothing(warned: Callable[..., str]) -> None:
    assert warned(torch.eye(3).repeat(4, 1)) == ""


def test_an_unlearning_that_ends_in_its_warm_up_is_told_before_it_begins(caplog: pytest.LogCaptureFixture) -> None:
    warn_of_warm_up(100, CONFIG)
    assert caplog.text == ""
    warn_of_warm_up(100, replace(CONFIG, warmup_steps=5000))
    assert "far inside its warm-up" in caplog.text


def test_every_failure_has_its_warning(warned: Callable[..., str]) -> None:
    sound = torch.eye(3).repeat(4, 1)
    assert "changed nothing" in warned(sound * 1e-5)
    assert "grew more than 1.5 times while unlearning 1 of 3 groups, b first" in warned(sound, grown="b")
    assert warned(sound, replace(CONFIG, retain="distill"), grown="b") == ""  # its loss starts at zero
    assert warned(sound, grown="b", log=GROWN.iloc[[0, 99]]) == ""  # two batches
    assert "at least as likely without any of the groups" in warned(-sound)
    assert "hardly differ between groups (by 10 % of their mean)" in warned(5 + 0.5 * sound)
    assert "name the group c" in warned(torch.tensor([0.0, 0.1, 0.5]).repeat(12, 1))
    assert warned(torch.tensor([0.0, 0.1, 0.5]).repeat(7, 1)) == ""  # too few queries to tell


def test_values_for_an_unlearning_that_changed_nothing_are_named(warned: Callable[..., str]) -> None:
    """Those of a recipe for the training that was run; a higher rate where that was not enough."""
    nothing = torch.zeros(12, 3)
    changes = {"epochs": 30, "steps": None, "learning_rate": 1e-5, "schedule_steps": 17550, "warmup_steps": 5000}
    paper = replace(CONFIG, schedule="cosine", **changes)
    node = "method.unlearn."
    rest = f"{node}warmup_steps=20 {node}schedule_steps=null."
    assert f"set {node}epochs=null {node}steps=200 {node}learning_rate=3.0e-04 {rest}" in warned(nothing, paper)
    assert f"{node}steps=200 {node}learning_rate=3.0e-03 " in warned(nothing)
    assert "schedule_steps" not in warned(nothing)  # which a constant rate does not read
    long = replace(CONFIG, steps=1000)
    assert f"{node}steps=1000 {node}learning_rate=3.0e-03 {node}warmup_steps=100." in warned(nothing, long)


def test_growth_is_of_the_loss_alone_not_of_a_distance_from_f1() -> None:
    logs = {"a": GROWN, "b": STEADY}
    found = growths(logs, CONFIG)
    assert found["a"] == pytest.approx(2.0) and found["b"] == pytest.approx(1.0, abs=0.02)
    assert growths(logs, replace(CONFIG, retain="distill")) == {}
