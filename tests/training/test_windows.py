"""Which window and caption of an item is seen where: random ones by trainings, the same ones by everything else."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tdattr.data.preparation import prepare
from tdattr.data.prepared import Prepared, load
from tdattr.diffusion.batch import Batch
from tdattr.diffusion.edm import EDM
from tdattr.scoring.cells import TrainingItems
from tdattr.seeding import generator
from tdattr.training.batches import Batches, Validation
from tdattr.training.config import TrainConfig
from tdattr.training.pretrain import pretrain
from tdattr.unlearning.draws import draw_items
from tdattr.unlearning.group import GroupBatches
from tdattr.unlearning.mirrored import MirroredBatches
from tests.data.windows import LongImages, cut, slack

ITEMS, STEPS = 21, 60
Train = Callable[..., TrainConfig]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    folder = tmp_path_factory.mktemp("long")
    prepare(LongImages(), folder, "long")
    return load(folder)


def item(batch: Batch, slot: int, split: str = "train") -> tuple[int, int, int]:
    """Which item a slot of a batch holds, at which offset of its window, with which caption."""
    condition = batch.given.condition[slot].numpy()
    index, caption = (int(condition[0]), 0) if condition[1] else (int(-1 - condition[2]), 1)
    pixels = ((batch.x[slot] + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    offsets = [offset for offset in range(slack(index) + 1) if np.array_equal(pixels, cut(index, offset, split))]
    assert len(offsets) == 1, "it is no window of the item"
    return index, offsets[0], caption


def items(batch: Batch, split: str = "train") -> list[tuple[int, int, int]]:
    return [item(batch, slot, split) for slot in range(len(batch))]


def centred(index: int) -> int:
    return round(slack(index) / 2)


def make(data: Prepared, edm: EDM, config: TrainConfig, without: tuple[int, ...] = (), seed: int = 3) -> Batches:
    return Batches(data.train, np.setdiff1d(np.arange(ITEMS), without), edm, config, seed)


def test_trainings_see_every_window_and_caption_equally_often(data: Prepared, edm: EDM, tiny_train: Train) -> None:
    made = make(data, edm, tiny_train())
    seen = [triple for step in range(10 * STEPS) for triple in items(made[step])]
    for index in range(ITEMS):
        offsets = [offset for number, offset, _ in seen if number == index]
        counts = np.bincount(offsets, minlength=slack(index) + 1)
        expected = len(offsets) / (slack(index) + 1)
        assert len(counts) == slack(index) + 1 and (np.abs(counts - expected) < 5 * np.sqrt(expected)).all()
    assert 0.45 < np.mean([caption for _, _, caption in seen]) < 0.55


def test_the_window_is_a_function_of_seed_and_step(data: Prepared, edm: EDM, tiny_train: Train) -> None:
    first = [items(make(data, edm, tiny_train())[step]) for step in range(5)]
    again = make(data, edm, tiny_train())
    assert [items(again[step]) for step in (4, 0, 2)] == [first[step] for step in (4, 0, 2)]  # in any order
    other = make(data, edm, tiny_train(), seed=4)
    offsets = generator(3, "train.window", 0).random(8) * [slack(index) + 1 for index, _, _ in first[0]]
    assert [offset for _, offset, _ in first[0]] == offsets.astype(int).tolist()
    assert [items(other[step]) for step in range(5)] != first
    whole = again[4]
    shares = [replace(again, rank=rank, ranks=2)[4] for rank in range(2)]
    assert all(torch.equal(share.x, whole.x[rank::2]) for rank, share in enumerate(shares))


def test_windows_stay_coupled_in_a_retraining(data: Prepared, edm: EDM, tiny_train: Train) -> None:
    config = tiny_train(coupled=True)
    whole, without = make(data, edm, config), make(data, edm, config, without=(1, 5, 12))
    changed = 0
    for step in range(STEPS):
        removed = np.isin(whole.slots(step), [1, 5, 12])
        changed += int(removed.sum())
        kept = torch.from_numpy(~removed)
        assert torch.equal(whole[step].x[kept], without[step].x[kept])
    assert changed > 0


def test_mirroring_flips_the_window(data: Prepared, edm: EDM, tiny_train: Train) -> None:
    plain, mirrored = make(data, edm, tiny_train()), make(data, edm, tiny_train(mirror=True))
    for a, b in zip(plain[0].x, mirrored[0].x, strict=True):
        assert torch.equal(a, b) or torch.equal(a.flip(2), b)


def test_a_resumed_training_ends_at_the_same_weights(
    data: Prepared, edm: EDM, tiny_train: Train, tiny_trainer, tiny_dit, tmp_path: Path, monkeypatch
) -> None:
    config = tiny_train(coupled=True)

    def train(folder: Path) -> dict[str, torch.Tensor]:
        folder.mkdir(exist_ok=True)
        pretrain(tiny_dit(3), data, np.arange(ITEMS), edm, config, tiny_trainer(), 3, folder, "Training")
        return load_file(folder / "raw.safetensors")

    whole = train(tmp_path / "whole")
    original = Batches.__getitem__

    def kill(self: Batches, step: int) -> Batch:
        if step == 8:
            raise RuntimeError("killed")
        return original(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(Batches, "__getitem__", kill)
        with pytest.raises(RuntimeError, match="killed"):
            train(tmp_path / "killed")
    resumed = train(tmp_path / "killed")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def check_fixed(seen: list[tuple[int, int, int]]) -> None:
    """The centre and the first caption of everything."""
    assert seen and all((offset, caption) == (centred(index), 0) for index, offset, caption in seen)


def test_validation_and_scoring_see_the_centre_and_the_first_caption(
    data: Prepared, edm: EDM, tiny_train: Train
) -> None:
    check_fixed(items(Validation(data.test, edm, tiny_train(batch_size=5), 3)[1], "test"))
    x, given = TrainingItems(data.train, np.arange(ITEMS)).take(np.arange(ITEMS))
    check_fixed(items(Batch(x, torch.ones(ITEMS), x, given)))


def test_unlearning_sees_the_centre_and_the_first_caption(data: Prepared, edm: EDM, tiny_train: Train) -> None:
    """MUCS's code takes both from a dataset that is not augmented, for the null loss too; so does a group's unlearning
    here, which mirrors as training does."""
    ids = np.arange(ITEMS)
    rng = generator(3, "anything")
    check_fixed(items(draw_items(data.train, ids, ITEMS, rng, edm.training_levels)))  # of the null loss
    x, condition = torch.zeros(1, 8, 8), torch.ones(3)
    mirrored = MirroredBatches(data.train, ids, x, condition, 10, 3, 0, edm.training_levels)
    groups = GroupBatches(data.train, ids[5:], ids[:5], edm, 5, tiny_train(), 3, coupled=False)
    for step in range(STEPS):
        check_fixed(items(mirrored[step].retain))
        check_fixed(items(groups[step].retain) + items(groups[step].forget))
    flipped = replace(groups, train=tiny_train(mirror=True))
    pairs = [(a, b) for step in range(9) for a, b in zip(groups[step].retain.x, flipped[step].retain.x, strict=True)]
    turned = [torch.equal(a.flip(2), b) for a, b in pairs]
    assert 0.2 < np.mean(turned) < 0.8 and all(
        flip or torch.equal(a, b) for flip, (a, b) in zip(turned, pairs, strict=True)
    )


def test_unlearning_draws_the_same_levels_and_noise_whatever_the_captions(
    data: Prepared, edm: EDM, tiny_train: Train
) -> None:
    conditions = data.train.conditions
    assert conditions is not None
    one = replace(data.train, conditions=np.array(conditions[:, :1]))
    ids = np.arange(ITEMS)
    for split in (data.train, one):
        batch = draw_items(split, ids, 6, generator(3, "a"), edm.training_levels)
        group = GroupBatches(split, ids[5:], ids[:5], edm, 5, tiny_train(), 3, coupled=False)[2].forget
        if split is data.train:
            expected = batch, group
    for found, wanted in zip((batch, group), expected, strict=True):
        assert torch.equal(found.level, wanted.level) and torch.equal(found.noise, wanted.noise)
        assert torch.equal(found.given.condition, wanted.given.condition)
