"""However a training ends and wherever it is interrupted, it comes to what an undisturbed one comes to, bit for bit."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tdattr.errors import UserError
from tdattr.training.module import Pretraining
from tdattr.training.pretrain import pretrain
from tests.training.killed import Killed, killed_at_step

STEPS = 20


@pytest.fixture
def train(tiny_data, tiny_dit, tiny_train, tiny_trainer, edm, tmp_path):
    """Run a training in its own folder: its weights by file name, and its facts."""

    def run(name, **overrides):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        torch.manual_seed(0)
        network = tiny_dit(dropout=0.1, augmentation_label=False)
        config = tiny_train(**({"steps": STEPS, "learning_rate": 1e-2} | overrides))
        facts = pretrain(network, tiny_data, np.arange(44), edm, config, tiny_trainer(), 3, folder, "test")
        return {part: load_file(folder / f"{part}.safetensors") for part in ("raw", "ema")}, facts

    return run


def same(first, second):
    (one, facts), (other, others) = first, second
    return facts == others and all(torch.equal(one[part][key], other[part][key]) for part in one for key in one[part])


@contextmanager
def counted_files(end_after: int | None = None) -> Iterator[list[str]]:
    """The names of the files that are put in place; the process ends after so many of them."""
    with pytest.MonkeyPatch.context() as patch:
        names: list[str] = []
        replace = os.replace

        def place(source, target):
            replace(source, target)
            names.append(Path(target).name)
            if len(names) == end_after:
                raise Killed

        patch.setattr(os, "replace", place)
        yield names


@contextmanager
def killed_at_file(count: int) -> Iterator[None]:
    """The process ends once it has put so many files in place."""
    with counted_files(count), pytest.raises(Killed):
        yield


CURVE = (3.0, 1.0, 2.0, 0.5)  # the validation losses of the epochs
LENGTHS = {  # and the steps at which their epochs end
    "whole epochs": ({"epoch_steps": 5}, [5, 10, 15, 20]),
    "a partial last epoch": ({"epoch_steps": 6}, [6, 12, 18, 20]),
    "one partial epoch": ({"epoch_steps": 50}, [20]),
    "in epochs of the items": ({"steps": None, "epochs": 3, "drop_last": False, "epoch_steps": 7}, [7, 14, 18]),
    "in whole batches": ({"steps": None, "epochs": 3, "drop_last": True, "epoch_steps": 4}, [4, 8, 12, 15]),
}
ENDS = {  # and how many epochs are trained, and which of them is kept, of four
    "last": ({}, 4, -1),
    "best": ({"selection": "best"}, 4, None),
    "patient": ({"selection": "best", "patience": 2}, 4, None),
    "impatient": ({"selection": "best", "patience": 1}, 3, None),
}


@pytest.fixture
def curve(monkeypatch):
    """Validation losses as in ``CURVE``, whatever the weights are; returns the steps at which they were measured."""

    def set_curve(ends):
        measured = []

        def validation_step(self, batch, index):
            step = self.trainer.global_step
            measured.append(step)
            self.log("validation_loss", torch.tensor(CURVE[ends.index(step)]), batch_size=len(batch))

        monkeypatch.setattr(Pretraining, "validation_step", validation_step)
        return measured

    return set_curve


@pytest.mark.slow
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("end", ENDS)
def test_a_training_ends_alike_however_it_is_interrupted(train, curve, end, length):
    """Killed within an epoch, at its last step, and after each of the files that it writes."""
    (lengths, ends), (selection, epochs, kept) = LENGTHS[length], ENDS[end]
    settings = lengths | selection
    measured = curve(ends)
    whole = train("whole", **settings)
    ends = ends[:epochs]
    assert sorted(set(measured)) == ends
    kept = int(np.argmin(CURVE[: len(ends)])) if kept is None else kept
    alone, _ = train("alone", steps=ends[kept], epoch_steps=settings["epoch_steps"])
    assert same(whole, (alone, whole[1]))
    for step in {ends[0] + 1, ends[-1]} & set(range(ends[-1] + 1)):
        with killed_at_step(step):
            train(f"step {step}", **settings)
        assert same(whole, train(f"step {step}", **settings)), f"killed at step {step}"
    with counted_files() as files:
        train("files", **settings)
    for count in range(1, len(files) + 1):
        with killed_at_file(count):
            train(f"file {count}", **settings)
        assert same(whole, train(f"file {count}", **settings)), f"killed after {files[:count]}"


def test_another_length_of_epochs_may_be_taken_to_resume(train):
    """It is not in the address of weights that are the last ones."""
    whole = train("whole", epoch_steps=6)
    for epoch_steps in (2, 4, 9, 50):
        with killed_at_step(13):
            train(f"{epoch_steps}", epoch_steps=6)
        assert torch.equal(
            whole[0]["ema"]["embed.weight"], train(f"{epoch_steps}", epoch_steps=epoch_steps)[0]["ema"]["embed.weight"]
        )


@pytest.mark.parametrize("selection", ["last", "best"])
def test_a_validation_loss_that_is_no_number_ends_the_training(train, monkeypatch, selection):
    def validation_step(self, batch, index):
        self.log("validation_loss", torch.tensor(float("nan")), batch_size=len(batch))

    monkeypatch.setattr(Pretraining, "validation_step", validation_step)
    with pytest.raises(UserError, match="the validation loss is nan at step 5; lower train.learning_rate"):
        train("diverged", epoch_steps=5, selection=selection)
