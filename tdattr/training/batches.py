"""The batches of a training, each a pure function of its step: which items, which noise, which conditions dropped.

Because a batch depends on nothing but the step, a training gives the same weights for any number of loader workers,
and an interrupted one resumes exactly where it stopped.
"""

import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from tdattr.data.prepared import Prepared, Split
from tdattr.diffusion import Diffusion
from tdattr.diffusion.batch import Batch
from tdattr.ids import Ids
from tdattr.jobs import leave_signals
from tdattr.networks import Given
from tdattr.seeding import generator, normal
from tdattr.training.augmentation import augment
from tdattr.training.config import TrainConfig
from tdattr.training.coupling import replace_removed
from tdattr.training.framework import L
from tdattr.training.items import permutation, training_items


@dataclass(frozen=True)
class Batches(Dataset[Batch]):
    """``batches[step]`` is this process's share of the batch of that step, or its share of a part of it: of ``n`` parts
    the first is ``batches[n * step]`` (``train.accumulate``).

    Coupled (``train.coupled``): a step's slots, levels and noise do not depend on what was removed; a slot whose item
    was removed is redrawn from a second generator keyed by the step. Two trainings then differ only where their data
    differ; with ``train.removal=empty`` it stays and counts 0. Otherwise the items come in a permutation of those
    that are left, as in the papers. ``counts``: what the loss of each item of the split is multiplied by; None: 1.
    """

    split: Split
    ids: Int[np.ndarray, " kept"]  # the items that are left, ascending
    diffusion: Diffusion
    config: TrainConfig
    seed: int
    rank: int = 0
    ranks: int = 1
    counts: Float[Tensor, " item"] | None = None

    def __getitem__(self, index: int) -> Batch:
        step, part = divmod(index, self.config.accumulate)
        ids = self.slots(step)
        dropped, mirrored, caption = generator(self.seed, "train.choices", step).random((3, len(ids)))
        window = generator(self.seed, "train.window", step).random(len(ids))
        drawn = generator(self.seed, "train.x", step)
        x, given = training_items(self.split, ids, self.config, mirrored, dropped, caption, window, drawn)
        if self.config.augmentation.enabled:
            x, label = augment(x, self.config.augmentation, generator(self.seed, "train.augmentation", step))
            given = replace(given, augmentation=label)
        level = self.diffusion.training_levels(generator(self.seed, "train.level", step), len(ids))
        noise = normal(generator(self.seed, "train.noise", step), *x.shape)
        share = slice(part * self.ranks + self.rank, None, self.config.accumulate * self.ranks)
        return Batch(x, level, noise, given, counts=self.count(ids))[share]

    def count(self, ids: Int[np.ndarray, " batch"]) -> Float[Tensor, " batch"] | None:
        """What the losses of a batch's items are multiplied by; None: 1."""
        counts = None if self.counts is None else self.counts[torch.from_numpy(ids)]
        if not self.has_empty_slots:
            return counts
        there = torch.from_numpy(np.isin(ids, self.ids).astype(np.float32))
        return there if counts is None else there * counts

    @property
    def has_empty_slots(self) -> bool:
        """Whether slots of removed items are left empty."""
        return self.config.coupled and self.config.removal == "empty" and len(self.ids) < len(self.split)

    def slots(self, step: int) -> Int[np.ndarray, " batch"]:
        """The ids of the whole batch: items without replacement, epoch after epoch; of empty slots those of the items
        that were removed."""
        items = np.arange(len(self.split)) if self.config.coupled else self.ids
        epochs, positions = np.divmod(step * self.config.batch_size + np.arange(self.config.batch_size), len(items))
        orders = [permutation(self.seed, int(epoch), len(items)) for epoch in np.unique(epochs)]
        ids = items[
            np.concatenate([order[positions[epochs == e]] for e, order in zip(np.unique(epochs), orders, strict=True)])
        ]
        if self.config.coupled and len(self.ids) < len(self.split) and not self.has_empty_slots:
            ids = replace_removed(ids, self.ids, generator(self.seed, "train.replacement", step))
        return ids


@dataclass(frozen=True)
class Validation(Dataset[Batch]):
    """The test split, ``config.validation_draws`` times, at levels and noise that are the same in every epoch."""

    split: Split
    diffusion: Diffusion
    config: TrainConfig
    seed: int

    def __len__(self) -> int:
        return -(-len(self.split) * self.config.validation_draws // self.config.batch_size)

    def __getitem__(self, index: int) -> Batch:
        if index >= len(self):
            raise IndexError(index)
        total = len(self.split) * self.config.validation_draws
        positions = np.arange(index * self.config.batch_size, min((index + 1) * self.config.batch_size, total))
        ids = positions % len(self.split)
        rng = generator(self.seed, "validation", index)
        x = self.split.x(ids)
        level = self.diffusion.training_levels(rng, len(ids))
        drop = None if self.split.untold is None else torch.from_numpy(self.split.untold[ids])
        return Batch(x, level, normal(rng, *x.shape), Given(self.split.condition(ids), drop))


@dataclass(frozen=True)
class Joined(Dataset[Batch]):
    """For each step the batches of several trainings after each other."""

    parts: Sequence[Batches]

    def __getitem__(self, step: int) -> Batch:
        return Batch.join([part[step] for part in self.parts])


@dataclass(frozen=True)
class JoinedValidation(Dataset[Batch]):
    """The same of their validations, which are of one length."""

    parts: Sequence[Validation]

    def __len__(self) -> int:
        return len(self.parts[0])

    def __getitem__(self, index: int) -> Batch:
        return Batch.join([part[index] for part in self.parts])


class Steps(Sampler[int]):
    """The steps of the next epoch, counted from the trainer's current step; every part of their batches.

    It has no length: of one that says its length Lightning expects so many in every epoch, and validates after the last
    of them, which the last epoch may not have.
    """

    def __init__(self, trainer: L.Trainer, config: TrainConfig) -> None:
        self.trainer = trainer
        self.config = config

    def __iter__(self) -> Iterator[int]:
        start = self.trainer.global_step
        end, parts = min(start + self.config.epoch_steps, self.config.total_steps), self.config.accumulate
        return iter(range(start * parts, end * parts))


class TrainingData(L.LightningDataModule):
    """Loaders for Lightning; each process takes its own share of every batch."""

    def __init__(
        self,
        data: Prepared,
        ids: Int[np.ndarray, " kept"],
        diffusion: Diffusion,
        config: TrainConfig,
        seed: int,
        workers: int,
    ) -> None:
        super().__init__()
        self.data, self.ids, self.diffusion, self.config = data, ids, diffusion, config
        self.seed, self.workers = seed, workers

    def training(self) -> Dataset[Batch]:
        """This process's share of the batches."""
        assert self.trainer is not None
        ranks = self.trainer.global_rank, self.trainer.world_size
        return Batches(self.data.train, self.ids, self.diffusion, self.config, self.seed, *ranks)

    def validation(self) -> Dataset[Batch]:
        """The test split."""
        return Validation(self.data.test, self.diffusion, self.config, self.seed)

    def train_dataloader(self) -> DataLoader[Batch]:
        """One item per step, a whole batch, or one per part of it."""
        assert self.trainer is not None
        return DataLoader(
            self.training(),
            batch_size=None,
            sampler=Steps(self.trainer, self.config),
            num_workers=self.workers,
            worker_init_fn=leave_interrupts,
            persistent_workers=self.workers > 0,
            pin_memory=self.trainer.accelerator.__class__.__name__ == "CUDAAccelerator",
        )

    def val_dataloader(self) -> DataLoader[Batch] | list[DataLoader[Batch]]:
        """The test split, or nothing where the dataset has none."""
        if not len(self.data.test):
            return []
        return DataLoader(self.validation(), batch_size=None)


class StackedData(TrainingData):
    """The same for trainings at once: ``runs`` are the ids that are left of each, and its seed."""

    def __init__(
        self, data: Prepared, runs: Sequence[tuple[Ids, int]], diffusion: Diffusion, config: TrainConfig, workers: int
    ) -> None:
        super().__init__(data, runs[0][0], diffusion, config, runs[0][1], workers)
        self.runs = runs

    def training(self) -> Dataset[Batch]:
        """The batches of all."""
        return Joined([Batches(self.data.train, ids, self.diffusion, self.config, seed) for ids, seed in self.runs])

    def validation(self) -> Dataset[Batch]:
        """The test split for each."""
        return JoinedValidation(
            [Validation(self.data.test, self.diffusion, self.config, seed) for _, seed in self.runs]
        )


def leave_interrupts(worker: int) -> None:
    """In a loader's worker: the command ends it itself."""
    leave_signals(signal.SIGINT)
