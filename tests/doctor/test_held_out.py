"""Does a model know its training items from others?"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from tdattr.diffusion.edm import EDM
from tdattr.doctor.findings import Finding
from tdattr.doctor.held_out import compare_held_out
from tdattr.doctor.intervals import difference_interval
from tdattr.doctor.sample import Sample
from tests.doctor.memorising import Memorising

pytestmark = pytest.mark.slow


def look(sample: Sample, network: Memorising) -> Finding:
    return compare_held_out(sample, *(sample.errors(network, each, "") for each in (sample.items, sample.held_out)))


def test_what_was_memorised_is_known(sample: Sample, memorise: Callable[..., Memorising]) -> None:
    found = look(sample, memorise())
    assert found.verdict == "fine" and found.numbers["auc"] > 0.9 and found.numbers["low"] > 10


def test_a_model_that_has_seen_neither_or_the_held_out_ones_is_worth_a_look(sample: Sample, edm: EDM) -> None:
    ids = np.setdiff1d(sample.ws.ids, sample.items.ids)
    neither = look(sample, Memorising(edm, sample.ws.data.train, ids).eval())
    assert neither.verdict == "look" and neither.numbers["low"] < 0 < neither.numbers["high"]
    assert "no item has left a trace" in neither.said and "train.steps=24" in (neither.remedy or "")
    test = sample.ws.data.test
    others = look(sample, Memorising(edm, test, np.arange(len(test))).eval())
    assert others.verdict == "look" and "the held-out items are easier, or were trained on" in others.said


def test_too_few_items_or_none_leave_it_open(sample: Sample, memorise: Callable[..., Memorising]) -> None:
    few = replace(sample, held_out=replace(sample.held_out, selected=np.arange(5)))
    assert look(few, memorise()).said == "40 training and 5 held-out items are too few to compare."
    none = look(replace(sample, held_out=replace(sample.held_out, selected=np.arange(0))), memorise())
    assert none.verdict == "open" and "dataset.source.held_out=10" in (none.remedy or "")


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(3)
    held = 0
    for _ in range(200):
        low, high = difference_interval(rng.normal(1, 1, 40), rng.normal(1.5, 2, 60))
        held += low < 0.5 < high
    assert 0.88 <= held / 200 <= 0.99
