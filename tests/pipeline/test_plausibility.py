"""Which losses are too high for a picture that a model made: one in a hundred of the kind, however few are known."""

from typing import Any

import numpy as np
import pytest

from tdattr.metrics.unlikely import warn_uncompared, warn_unlikely
from tdattr.pipeline.plausibility import predict_limit


@pytest.mark.parametrize("count", [3, 12, 200])
def test_one_in_a_hundred_of_the_kind_lies_beyond(count: int) -> None:
    rng = np.random.default_rng(count)
    losses = np.exp(0.3 * rng.standard_normal((4000, count + 1)) - 2)
    beyond = [row[-1] > predict_limit(row[:-1]) for row in losses]
    assert 0.005 <= np.mean(beyond) <= 0.016


def test_one_item_or_none_says_nothing() -> None:
    assert predict_limit(np.array([0.2])) is None and predict_limit(np.zeros(0)) is None


def picture(name: str, beyond: bool | None = False, far: bool | None = False) -> dict[str, Any]:
    return {"picture": name, "loss": 1.0, "share_below": 0.0, "beyond": beyond, "far": far}


def test_a_picture_of_several_runs_is_named_once_if_one_of_them_says_so() -> None:
    said = warn_unlikely([picture("a.png", beyond=True), picture("a.png", far=True), picture("a.png")])
    assert said is not None and said.startswith("a.png: this model")


def test_pictures_that_were_compared_with_nothing_are_not_said_to_be_likely() -> None:
    assert warn_uncompared([]) is None and warn_uncompared([picture("a.png")]) is None
    said = warn_uncompared([picture("a.png", beyond=None)])
    assert said is not None and "is not judged by their losses" in said and "held_out" in said
    assert warn_unlikely([picture("a.png", beyond=None)]) is None


def test_pictures_are_named_by_either_reason() -> None:
    assert warn_unlikely([picture("a.png"), picture("b.png", far=None)]) is None
    said = warn_unlikely([picture("a.png", beyond=True), picture("b.png"), picture("c.png", far=True)])
    assert said is not None and said.startswith("a.png, c.png: this model is unlikely")
    many = warn_unlikely([picture(f"{number}.png", beyond=True) for number in range(8)])
    assert many is not None and "4.png and 3 more: " in many
