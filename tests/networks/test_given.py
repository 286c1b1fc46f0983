"""What a network is told, and batches: indexing, copies for other devices and processes, and Lightning's transfer."""

import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from lightning.pytorch.utilities import move_data_to_device
from torch import nn
from torch.utils.data import DataLoader

from tdattr.diffusion.batch import Batch
from tdattr.networks import NOTHING, Given
from tdattr.unlearning.draws import UnlearnBatch

TOKENS = torch.arange(12).view(4, 3)
DROP = torch.tensor([True, False, False, True])
LABELS = torch.tensor([1, 0, 0, 1])
GIVEN = Given(TOKENS, DROP, LABELS)
BATCH = Batch(torch.rand(4, 1, 8, 8), torch.rand(4), torch.rand(4, 1, 8, 8), GIVEN, torch.arange(4))
UNLEARN = UnlearnBatch(BATCH, BATCH[1:3], torch.rand(4))


def tensors(value: Any) -> list[Any]:
    """All tensors in it, in order."""
    if isinstance(value, torch.Tensor) or value is None:
        return [value]
    return [each for part in vars(value).values() for each in tensors(part)]


def same(first: Any, second: Any) -> bool:
    pairs = list(zip(tensors(first), tensors(second), strict=True))
    return all(a is b is None or (a.dtype == b.dtype and torch.equal(a, b)) for a, b in pairs)


def test_some_of_the_items() -> None:
    for which in (slice(1, 3), slice(0, None, 2), torch.tensor([3, 0])):
        assert same(GIVEN[which], Given(TOKENS[which], DROP[which], LABELS[which]))
    assert same(NOTHING[1:3], NOTHING)
    assert same(BATCH[1::2].given, GIVEN[1::2]) and len(BATCH[1::2]) == 2


def test_each_item_several_times() -> None:
    found = GIVEN.repeat_interleave(2)
    assert found.condition is not None and found.condition.tolist() == [row for row in TOKENS.tolist() for _ in "ab"]
    assert same(found[::2], GIVEN) and same(found[1::2], GIVEN)


@pytest.mark.parametrize("shape", [(), (3,), (2, 5)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.int64], ids=str)
def test_the_null_condition_takes_the_place_of_the_dropped_ones(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    condition, null = torch.ones(4, *shape, dtype=dtype), torch.full(shape, -1, dtype=dtype)
    found = Given(condition, DROP).with_null(null)
    assert found is not None and found.dtype == dtype and found.shape == condition.shape
    assert [set(row.flatten().tolist()) for row in found] == [{-1}, {1}, {1}, {-1}]
    assert Given(condition).with_null(null) is condition
    assert Given(None, DROP).with_null(null) is None


@pytest.mark.parametrize("value", [GIVEN, BATCH, UNLEARN, NOTHING], ids=lambda value: type(value).__name__)
def test_they_travel(value: Any) -> None:
    assert same(pickle.loads(pickle.dumps(value)), value)
    assert same(value.to(torch.device("cpu")), value)
    meta = move_data_to_device(value, torch.device("meta"))
    assert type(meta) is type(value)
    assert [each is None for each in tensors(meta)] == [each is None for each in tensors(value)]
    assert all(each is None or each.is_meta for each in tensors(meta))
    [loaded] = DataLoader([value], batch_size=None, num_workers=1)  # type: ignore[arg-type]
    assert same(loaded, value)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_loader_pins_them() -> None:
    [loaded] = DataLoader([UNLEARN], batch_size=None, pin_memory=True)  # type: ignore[arg-type]
    assert all(each.is_pinned() for each in tensors(loaded))
    assert same(move_data_to_device(loaded, torch.device("cuda")).to(torch.device("cpu")), UNLEARN)


def test_networks_say_what_they_are(tiny_dit: Callable[..., nn.Module]) -> None:
    for condition in (0, 4):
        for label in (False, True):
            network: Any = tiny_dit(condition, augmentation_label=label)
            assert (network.conditional, network.knows_augmentation) == (condition > 0, label)
    changes: list[dict[str, float]] = [{}, {"dropout": 0.1}, {"sigma_dropout": 0.1}]
    assert [tiny_dit(4, **change).has_dropout for change in changes] == [False, True, True]
