"""Segments of a training: which steps they have, what is summed over them, and a sum that is interrupted."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tdattr.interim import find_interim
from tdattr.metagradients.forward import Training
from tdattr.metagradients.segments import Segment, Segments, cut
from tdattr.metagradients.state import Layout, outline
from tdattr.training.batches import Batches

STEPS, SEED = 11, 3


@pytest.fixture
def start(tiny_data: Any, tiny_dit: Any, tiny_train: Any, edm: Any) -> Any:
    """What makes the segments of a training in a folder."""
    config = tiny_train(steps=STEPS).in_steps(len(tiny_data.train))
    batches = Batches(tiny_data.train, np.arange(len(tiny_data.train)), edm, config, SEED)

    def make(folder: Path, count: int) -> Segments:
        training = Training(tiny_dit(dropout=0.1, augmentation_label=False), batches, torch.device("cpu"))
        return Segments(training, outline(training.network), folder, count)

    return make


def all_states(segments: Segments) -> list[torch.Tensor]:
    return list(segments.training.states(segments.layout, 0, STEPS, None))


def zero(layout: Layout) -> torch.Tensor:
    return torch.zeros(4 * layout.size)


def weigh(segment: Segment, state: torch.Tensor) -> torch.Tensor:
    """What depends on the segment and on the state."""
    return (segment.end - segment.begin) * state


def test_every_step_is_in_one_segment() -> None:
    for steps, count in ((11, 1), (11, 3), (11, 11), (600, 7)):
        segments = cut(steps, count)
        assert [step for segment in segments for step in range(*segment)] == list(range(steps))
        assert len(segments) == count
        lengths = {segment.end - segment.begin for segment in segments}
        assert max(lengths) - min(lengths) <= 1
        assert all(segment.begin <= segment.checkpoint < segment.end for segment in segments)


@pytest.mark.parametrize("count", [1, 3, STEPS])
def test_terms_are_computed_in_the_middle_of_their_segments(start: Any, count: int, tmp_path: Path) -> None:
    segments = start(tmp_path, count)
    *states, last = all_states(start(tmp_path, 1))
    found, end = segments.sum("Summing", zero(segments.layout), weigh)
    expected = zero(segments.layout)
    for segment in cut(STEPS, count):
        expected = expected + (segment.end - segment.begin) * states[(segment.begin + segment.end) // 2]
    assert torch.equal(found, expected) and torch.equal(end, last)


def test_an_interrupted_sum_goes_on_at_the_last_checkpoint(start: Any, tmp_path: Path) -> None:
    (whole := tmp_path / "whole").mkdir()
    (killed := tmp_path / "killed").mkdir()
    segments = start(whole, 4)
    expected = segments.sum("Summing", zero(segments.layout), weigh)
    done: list[int] = []

    def fail(segment: Segment, state: torch.Tensor) -> torch.Tensor:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(segment.begin)
        return weigh(segment, state)

    with pytest.raises(KeyboardInterrupt):
        start(killed, 4).sum("Summing", zero(segments.layout), fail)
    again: list[int] = []

    def note(segment: Segment, state: torch.Tensor) -> torch.Tensor:
        again.append(segment.begin)
        return weigh(segment, state)

    found = start(killed, 4).sum("Summing", zero(segments.layout), note)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert again == [segment.begin for segment in cut(STEPS, 4)[2:]]
    assert find_interim(killed) == set(killed.iterdir())
