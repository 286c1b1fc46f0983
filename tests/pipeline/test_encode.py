"""Latents of the tiny data: stored once and block by block, drawn in trainings and nowhere else."""

import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tdattr.codecs.pixels import Pixels
from tdattr.codecs.vae import VAE
from tdattr.data.latents import FILE
from tdattr.data.prepared import Prepared, Split
from tdattr.diffusion.edm import EDM
from tdattr.errors import UserError
from tdattr.networks.dit import DiTConfig
from tdattr.pipeline import encode
from tdattr.pipeline.dataset import count_parameters
from tdattr.pipeline.encode import attach_latents
from tdattr.scoring.cells import TrainingItems
from tdattr.seeding import generator
from tdattr.store import Store, provenance
from tdattr.training.batches import Batches, Validation
from tdattr.training.config import TrainConfig
from tdattr.unlearning.draws import draw_items
from tdattr.unlearning.group import GroupBatches
from tdattr.unlearning.neighbours import nearest
from tests.codecs.vaes import save_vae
from tests.conftest import TinySource
from tests.contexts import unused

IDS = np.array([3, 40, 3, 17])
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vae")
    save_vae(folder)
    return folder


def attach(data: Prepared, folder: Path, weights: Path, draw: bool = True) -> Prepared:
    store = Store(folder, "cpu")
    dataset = store.plan("dataset", 1, {}, {}, unused)
    return attach_latents(data, dataset, VAE("vae", str(weights), draw), store, CPU)


@pytest.fixture(scope="module")
def data(tiny_data: Prepared, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return attach(tiny_data, tmp_path_factory.mktemp("store"), weights)


@pytest.fixture
def encoded(weights: Path) -> Callable[[Tensor], Tensor]:
    """The mode of the latents of images."""
    codec = VAE("vae", str(weights), True)
    return lambda images: codec.x(codec.encode(images), None)


def close(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=0, atol=1e-4)


def test_x_is_the_latent_of_the_image_or_of_the_mirrored_image(data: Prepared, encoded) -> None:
    plain, mirrored = data.train.x(IDS), data.train.x(IDS, True)
    close(plain, encoded(data.train.images(IDS)))
    close(mirrored, encoded(data.train.images(IDS).flip(-1)))
    assert (mirrored - plain.flip(-1)).abs().max() > 0.1
    chosen = np.array([False, True, True, False])
    assert torch.equal(
        data.train.x(IDS, chosen), torch.where(torch.from_numpy(chosen)[:, None, None, None], mirrored, plain)
    )
    close(data.test.x(np.arange(8)), encoded(data.test.images(np.arange(8))))
    assert torch.equal(data.train.images(IDS), replace(data.train, latents=None).x(IDS))


def test_under_pixels_nothing_is_attached(tiny_data: Prepared, tmp_path: Path) -> None:
    store = Store(tmp_path, "cpu")
    assert (
        attach_latents(tiny_data, store.plan("dataset", 1, {}, {}, unused), Pixels("pixels"), store, CPU) is tiny_data
    )
    assert tiny_data.train.plan_x(mirrored=True) == []
    tiny_data.train.open_x(mirrored=True)


def test_an_interruption_costs_one_block(
    tiny_data: Prepared, data: Prepared, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encode, "BLOCK", 20)
    real, seen = VAE.encode, []

    def count(self: VAE, images: Tensor) -> Tensor:
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append(len(images))
        return real(self, images)

    monkeypatch.setattr(VAE, "encode", count)
    with pytest.raises(KeyboardInterrupt):
        attach(tiny_data, tmp_path, weights).train.x(IDS)
    assert seen == [20, 20] and not list(tmp_path.glob("latents/[!.]*"))
    monkeypatch.setattr(VAE, "encode", lambda self, images: seen.append(len(images)) or real(self, images))
    again = attach(tiny_data, tmp_path, weights)
    close(again.train.x(np.arange(48)), data.train.x(np.arange(48)))
    assert seen == [20, 20, 8]
    assert [path.name for path in tmp_path.glob("latents/*/*")] and again.train.latents.sides.keys() == {False}
    attach(tiny_data, tmp_path, weights).train.x(IDS)
    assert len(seen) == 3


def test_a_latent_that_is_not_finite_is_named(
    tiny_data: Prepared, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoil(self: VAE, images: Tensor) -> Tensor:
        moments = torch.zeros(len(images), 4, 4, 4)
        moments[37, 1, 2, 3] = float("inf")
        return moments

    monkeypatch.setattr(VAE, "encode", spoil)
    named = tiny_data.train.items.assign(name=[f"cat/{number}.png" for number in range(48)])
    data = attach(replace(tiny_data, train=replace(tiny_data.train, items=named)), tmp_path, weights)
    with pytest.raises(UserError, match=r"latent of item 37 \(cat/37.png\) of the train split is not finite"):
        data.train.x(IDS)


def test_what_latents_depend_on(tiny_data: Prepared, weights: Path, tmp_path: Path) -> None:
    def addresses(folder: Path, draw: bool = True) -> list[str]:
        data = attach(tiny_data, tmp_path / "store", folder, draw)
        return [plan.address for split in (data.train, data.test) for plan in split.plan_x(mirrored=True)]

    first = addresses(weights)
    assert len(set(first)) == 4
    save_vae(tmp_path / "moved")
    save_vae(tmp_path / "other", seed=1)
    assert addresses(tmp_path / "moved") == addresses(weights, draw=False) == first
    assert not set(addresses(tmp_path / "other")) & set(first)


def test_the_plan_counts_what_is_written(data: Prepared) -> None:
    for split, mirrored in ((data.train, True), (data.test, False)):
        split.open_x(mirrored)
        for plan in split.plan_x(mirrored):
            cost = plan.cost()
            stored = np.load(plan.artifact.folder / FILE, mmap_mode="r")
            assert cost.work.bytes == stored.nbytes and cost.work.looks == len(split) == len(stored)
            assert stored.dtype == np.float32 and [need.stage for need in cost.needs] == ["dataset"]
            x = split.x(np.arange(len(split)), plan.key["config"]["mirrored"])
            facts = provenance(plan.artifact)["facts"]
            assert facts["x_std"] == pytest.approx(float(x.double().std(correction=0)))


def test_another_process_reads_what_is_open_and_builds_nothing(
    tiny_data: Prepared, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = attach(tiny_data, tmp_path, weights).train
    closed = pickle.loads(pickle.dumps(split))
    with pytest.raises(TypeError, match="must be open"):
        closed.x(IDS)
    split.open_x(mirrored=False)
    sent = pickle.dumps(split)
    assert len(sent) < 20_000
    opened: Split = pickle.loads(sent)
    assert isinstance(opened.latents.side(False), np.memmap) and torch.equal(opened.x(IDS), split.x(IDS))
    assert torch.equal(opened.x(IDS, rng=generator(0, "x")), split.x(IDS, rng=generator(0, "x")))
    own = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: own + 1)  # as in a loader that was forked
    assert torch.equal(split.x(IDS), opened.x(IDS))
    with pytest.raises(TypeError, match="must be open"):
        split.x(IDS, True)


def noise_of(x: Tensor, split: Split, ids: np.ndarray, mirrored: np.ndarray | bool = False) -> Tensor:
    """The unit noise by which x was drawn."""
    if isinstance(mirrored, bool):
        mirrored = np.full(len(ids), mirrored)
    sides = np.stack([split.latents.side(side)[ids] for side in (False, True)])
    moments = torch.from_numpy(np.where(mirrored[:, None, None, None], sides[1], sides[0]))
    mean, log_variance = moments.chunk(2, 1)
    return (x / 3.0 - mean) / (log_variance / 2).exp()


def test_trainings_draw_x_by_seed_step_and_slot(
    data: Prepared, edm: EDM, tiny_train: Callable[..., TrainConfig]
) -> None:
    config = tiny_train(coupled=True)
    whole = Batches(data.train, np.arange(48), edm, config, seed=3)
    without = Batches(data.train, np.setdiff1d(np.arange(48), [1, 7, 30]), edm, config, seed=3)
    replaced, noise = 0, []
    for step in range(12):
        ids, others = whole.slots(step), without.slots(step)
        noise.append(noise_of(whole[step].x, data.train, ids))
        close(noise[-1], noise_of(without[step].x, data.train, others))  # whatever was removed
        replaced += int((ids != others).sum())
        assert torch.equal(whole[step].x, whole[step].x)
        shares = [Batches(data.train, np.arange(48), edm, config, 3, rank, 2)[step].x for rank in range(2)]
        assert torch.equal(torch.stack(shares, 1).flatten(0, 1), whole[step].x)
    total = torch.stack(noise)
    assert replaced > 0 and abs(float(total.mean())) < 0.05 and float(total.std()) == pytest.approx(1, abs=0.05)
    assert len({float(part.flatten()[0]) for part in total}) == 12
    other = Batches(data.train, np.arange(48), edm, config, seed=4)
    assert (noise_of(other[0].x, data.train, other.slots(0)) - noise[0]).abs().mean() > 0.5


def test_mirrored_slots_are_drawn_from_the_mirrored_moments(
    data: Prepared, edm: EDM, tiny_train: Callable[..., TrainConfig]
) -> None:
    plain = Batches(data.train, np.arange(48), edm, tiny_train(), seed=3)
    mirrored = Batches(data.train, np.arange(48), edm, tiny_train(mirror=True), seed=3)
    flipped = 0
    for step in range(4):
        ids = plain.slots(step)
        noise = noise_of(plain[step].x, data.train, ids)
        found = [noise_of(mirrored[step].x, data.train, ids, side) for side in (False, True)]
        which = [torch.isclose(part, noise, atol=1e-3).flatten(1).all(1) for part in found]
        assert (which[0] ^ which[1]).all()
        flipped += int(which[1].sum())
    assert 8 < flipped < 24


def test_the_mode_is_seen_where_nothing_is_trained(
    data: Prepared, tiny_data: Prepared, weights: Path, edm: EDM, tiny_train: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    mode = data.train.x(np.arange(48))
    for mirrored in (False, True):
        seen, _ = TrainingItems(data.train, np.arange(48), mirrored).take(IDS)
        assert torch.equal(seen, data.train.x(IDS, mirrored))
    assert torch.equal(Validation(data.test, edm, tiny_train(), 3)[0].x, data.test.x(np.arange(8)))
    still = attach(tiny_data, tmp_path, weights, draw=False).train
    batches = Batches(still, np.arange(48), edm, tiny_train(), seed=3)
    close(batches[2].x, mode[torch.from_numpy(batches.slots(2))])


def test_unlearning_draws_x(data: Prepared, edm: EDM, tiny_train: Callable[..., TrainConfig]) -> None:
    made = [
        draw_items(data.train, np.arange(48), 16, generator(0, "mucs", step), edm.training_levels) for step in (0, 0, 1)
    ]
    assert torch.equal(made[0].x, made[1].x) and torch.equal(made[0].noise, made[1].noise)
    drawn = [noise_of(batch.x, data.train, batch.ids.numpy()) for batch in made]
    assert float(drawn[0].std()) == pytest.approx(1, abs=0.15) and not torch.equal(drawn[0], drawn[2])
    groups = GroupBatches(data.train, np.arange(30), np.arange(30, 48), edm, 8, tiny_train(mirror=True), 5, True)
    for part in (groups[3].retain, groups[3].forget):
        noise = noise_of(part.x, data.train, part.ids.numpy(), part.mirrored.numpy())
        assert float(noise.std()) == pytest.approx(1, abs=0.2)
    assert torch.equal(groups[3].retain.x, groups[3].retain.x)


def test_neighbours_are_near_in_x(data: Prepared) -> None:
    x = data.train.x(np.arange(48)).flatten(1)
    expected = (torch.cdist(x[40:], x[:40])).argsort(1)[:, :3].numpy()
    assert np.array_equal(nearest(data.train, np.arange(40, 48), np.arange(40), 3), expected)


def test_captions_are_no_part_of_x(data: Prepared, edm: EDM, tiny_train: Callable[..., TrainConfig]) -> None:
    several = replace(data.train, conditions=np.repeat(data.train.conditions, 3, axis=1))
    one, other = (Batches(split, np.arange(48), edm, tiny_train(), seed=3)[5] for split in (data.train, several))
    assert several.captions == 3 and torch.equal(one.x, other.x)


def test_a_recipe_counts_the_network_for_x(tiny_source: TinySource, tiny_config: DiTConfig, weights: Path) -> None:
    counts = [sum(part.numel() for part in tiny_config.build(*sizes, 4).parameters()) for sizes in ((2, 4), (1, 8))]
    assert count_parameters(tiny_source, tiny_config, VAE("vae", str(weights), True)) == counts[0] != counts[1]
