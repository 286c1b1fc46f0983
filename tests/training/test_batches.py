"""A batch is a function of its step alone; a coupled retraining differs only where its data differ."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tdattr.training.batches import Batches, Validation


@pytest.fixture
def batches(tiny_data, tiny_train, edm):
    def make(ids=None, **overrides):
        ids = np.arange(len(tiny_data.train)) if ids is None else ids
        return Batches(tiny_data.train, ids, edm, tiny_train(**overrides), seed=3)

    return make


def test_every_item_appears_once_per_epoch(batches):
    made = batches(coupled=False, batch_size=12)
    count = len(made.split)
    drawn = np.concatenate([made.slots(step) for step in range(2 * count // 12)])
    assert np.array_equal(np.sort(drawn[:count]), np.arange(count))
    assert np.array_equal(np.sort(drawn[count:]), np.arange(count))
    assert not np.array_equal(drawn[:count], drawn[count:])


def test_removed_items_never_appear(batches):
    kept = np.arange(5, 48, 2)
    for coupled in (True, False):
        made = batches(kept, coupled=coupled)
        assert set(np.concatenate([made.slots(step) for step in range(50)])) <= set(kept)


def test_coupled_batches_differ_only_in_the_slots_of_removed_items(batches):
    whole, without = batches(coupled=True), batches(np.setdiff1d(np.arange(48), [1, 7, 30]), coupled=True)
    changed = 0
    for step in range(20):
        a, b = whole[step], without[step]
        removed = np.isin(whole.slots(step), [1, 7, 30])
        changed += removed.sum()
        same = torch.from_numpy(~removed)
        assert torch.equal(a.x[same], b.x[same])
        assert torch.equal(a.level, b.level)
        assert torch.equal(a.noise, b.noise)
        assert torch.equal(a.given.drop, b.given.drop)
    assert changed > 0


def test_without_removal_coupled_and_independent_orders_agree(batches):
    for step in (0, 5, 17):
        assert np.array_equal(batches(coupled=True).slots(step), batches(coupled=False).slots(step))


def test_the_replacements_are_spread_over_what_is_left(batches):
    kept = np.arange(8)
    counts = np.bincount(np.concatenate([batches(kept, coupled=True).slots(step) for step in range(300)]), minlength=8)
    assert counts.min() > 0.7 * counts.max()


def test_shares_of_two_processes_make_up_the_whole_batch(tiny_data, tiny_train, edm):
    ids = np.arange(48)
    whole = Batches(tiny_data.train, ids, edm, tiny_train(), 3)[4]
    shares = [Batches(tiny_data.train, ids, edm, tiny_train(), 3, rank, 2)[4] for rank in range(2)]
    for rank, share in enumerate(shares):
        expected = whole[rank::2]
        for name in ("x", "level", "noise"):
            assert torch.equal(getattr(expected, name), getattr(share, name))
        for name in ("condition", "drop"):
            assert torch.equal(getattr(expected.given, name), getattr(share.given, name))


def test_parts_of_a_step_make_up_its_batch(tiny_data, tiny_train, edm):
    ids = np.arange(48)
    whole = Batches(tiny_data.train, ids, edm, tiny_train(), 3)[4]
    parts = [Batches(tiny_data.train, ids, edm, tiny_train(accumulate=2), 3, rank, 2) for rank in range(2)]
    seen = [parts[rank][4 * 2 + part] for part in range(2) for rank in range(2)]
    for share, batch in enumerate(seen):
        assert len(batch) == 2 and torch.equal(batch.noise, whole.noise[share::4])


def test_mirror_flips_about_half(tiny_data, tiny_train, edm):
    ids = np.arange(48)
    plain = Batches(tiny_data.train, ids, edm, tiny_train(), 3)
    mirrored = Batches(tiny_data.train, ids, edm, tiny_train(mirror=True), 3)
    flips = []
    for step in range(20):
        for a, b in zip(plain[step].x, mirrored[step].x, strict=True):
            assert torch.equal(a, b) or torch.equal(a.flip(2), b)
            flips.append(not torch.equal(a, b))
    assert 0.35 < np.mean(flips) < 0.65


def test_augmentation_tells_what_it_did(tiny_data, tiny_train, edm, augmentation):
    ids = np.arange(48)
    plain = Batches(tiny_data.train, ids, edm, tiny_train(), 3)
    moved = Batches(tiny_data.train, ids, edm, tiny_train(augmentation=augmentation(probability=0.4)), 3)
    told = 0
    for step in range(10):
        batch = moved[step]
        untouched = batch.given.augmentation == 0
        told += int((~untouched).sum())
        assert torch.equal(batch.x[untouched], plain[step].x[untouched])
        assert not torch.isclose(batch.x[~untouched], plain[step].x[~untouched]).flatten(1).all(1).any()
    assert told > 0


def test_validation_covers_every_test_item_equally(tiny_data, tiny_train, edm):
    made = Validation(tiny_data.test, edm, tiny_train(validation_draws=3, batch_size=5), 3)
    parts = [made[index] for index in range(len(made))]
    assert sum(len(part) for part in parts) == 3 * len(tiny_data.test)
    again = made[1]
    assert torch.equal(again.noise, parts[1].noise)


def test_an_untold_item_has_the_null_condition_in_training_and_validation(tiny_data, tiny_train, edm):
    untold = np.arange(48) % 3 == 0
    split = replace(tiny_data.train, untold=untold)
    made, plain = (Batches(part, np.arange(48), edm, tiny_train(), seed=3) for part in (split, tiny_data.train))
    for step in range(12):
        drawn, dropped = untold[made.slots(step)], plain[step].given.drop.numpy()
        assert np.array_equal(made[step].given.drop.numpy(), drawn | dropped)
        assert drawn.any() and not drawn.all()
    checked = Validation(replace(tiny_data.test, untold=np.arange(8) < 2), edm, tiny_train(), seed=3)
    assert torch.cat([batch.given.drop for batch in checked]).sum() == 2 * tiny_train().validation_draws
    assert Validation(tiny_data.test, edm, tiny_train(), seed=3)[0].given.drop is None


def test_joined_batches_count_what_each_counts(batches):
    whole, without = batches(coupled=True), batches(np.arange(40), coupled=True, removal="empty")
    both = type(whole[0]).join([whole[0], without[0]]).counts
    assert torch.equal(both[:8], torch.ones(8)) and torch.equal(both[8:], without[0].counts)
    assert type(whole[0]).join([whole[0], whole[1]]).counts is None


def test_an_empty_slot_keeps_its_item_which_counts_nothing(batches):
    removed = [1, 7, 30]
    whole = batches(coupled=True)
    without = batches(np.setdiff1d(np.arange(48), removed), coupled=True, removal="empty")
    for step in range(20):
        a, b = whole[step], without[step]
        assert torch.equal(a.x, b.x) and np.array_equal(whole.slots(step), without.slots(step))
        assert a.counts is None and np.array_equal(b.counts == 0, np.isin(whole.slots(step), removed))
    assert batches(coupled=True, removal="empty")[0].counts is None
