"""Trainings give the same weights however they are run: again, resumed, with loader workers, on several processes."""

import resource
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.training_utils import EMAModel
from safetensors.torch import load_file
from torch.optim.swa_utils import AveragedModel

from tdattr.checkpoints import is_intact
from tdattr.errors import UserError
from tdattr.interim import remove_interim
from tdattr.training.module import approach
from tdattr.training.pretrain import RESUME, Keeper, pretrain

STEPS = 12


@pytest.fixture
def train(tiny_data, tiny_dit, tiny_train, tiny_trainer, edm, tmp_path):
    """Run a training in its own folder and return its weights by file name."""

    def run(name, ids=None, trainer=None, dropout=0.1, **overrides):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        torch.manual_seed(0)
        network = tiny_dit(dropout=dropout, augmentation_label=False)
        config = tiny_train(**({"steps": STEPS, "epoch_steps": 5} | overrides))
        ids = np.arange(len(tiny_data.train)) if ids is None else ids
        facts = pretrain(network, tiny_data, ids, edm, config, trainer or tiny_trainer(), 3, folder, "test")
        return {part: load_file(folder / f"{part}.safetensors") for part in config.stored} | {"facts": facts}

    return run


def same(first, second):
    return all(torch.equal(first[part][key], second[part][key]) for part in ("raw", "ema") for key in first[part])


def close(first, second):
    return all(
        torch.allclose(first[part][key], second[part][key], atol=1e-5) for part in ("raw", "ema") for key in first[part]
    )


def test_a_second_training_gives_bit_identical_weights(train):
    assert same(train("a"), train("b"))


def test_the_average_follows_the_weights(train):
    weights = train("a")
    assert not torch.equal(weights["raw"]["embed.weight"], weights["ema"]["embed.weight"])
    assert weights["facts"]["validation_loss"] > 0


def test_a_batch_in_parts_is_the_same_step(train, tmp_path):
    whole = train("whole", dropout=0.0, clip=0.5)
    parts = train("parts", dropout=0.0, clip=0.5, accumulate=4)
    assert close(whole, parts) and not same(whole, parts)  # sums have another order
    assert parts["facts"]["validation_loss"] == pytest.approx(whole["facts"]["validation_loss"], rel=1e-4)
    first = train("dropout", accumulate=2)
    assert same(first, train("again", accumulate=2)) and not close(first, train("one mask", accumulate=1))


def test_a_killed_training_in_parts_resumes_to_the_same_weights(train, monkeypatch):
    expected = train("whole", accumulate=2)
    kill(train, monkeypatch, accumulate=2)
    assert same(train("killed", accumulate=2), expected)


def test_the_ramp_of_the_average_is_that_of_diffusers():
    rng = torch.Generator().manual_seed(0)
    weights = torch.nn.Linear(3, 2)
    theirs = EMAModel(weights.parameters(), decay=0.3)
    ours = AveragedModel(weights, multi_avg_fn=partial(approach, decay=0.3, ramp=True))
    decays = []
    for _ in range(8):
        with torch.no_grad():
            weights.weight.add_(torch.randn(2, 3, generator=rng))
        theirs.step(weights.parameters())
        ours.update_parameters(weights)
        decays.append(theirs.cur_decay_value)
        torch.testing.assert_close(ours.module.weight, theirs.shadow_params[0])
    assert decays[1] == pytest.approx(2 / 11) and decays[-1] == 0.3  # first the ramp, then the decay itself


@pytest.mark.parametrize("kept", ["raw", "ema"])
def test_only_the_weights_that_are_kept_are_stored(train, tmp_path, kept):
    both, one = train("both"), train("one", keep=kept)
    assert [path.name for path in (tmp_path / "one").glob("*.safetensors")] == [f"{kept}.safetensors"]
    assert all(torch.equal(both[kept][name], value) for name, value in one[kept].items())


def test_the_average_keeps_small_steps_also_in_mixed_precision(train, tiny_trainer):
    """In half precision an average does not move by a step of a ten thousandth of it."""
    weights = train("a", trainer=tiny_trainer(precision="bf16-mixed"), learning_rate=1e-6, ema=0.999)
    moved = [(weights["ema"][name] - value) for name, value in weights["raw"].items()]
    assert {value.dtype for value in weights["ema"].values()} == {torch.float32}
    assert any(value.abs().max() > 0 for value in moved)


def test_a_killed_training_resumes_to_the_same_weights(train, monkeypatch, tmp_path, caplog):
    caplog.set_level("INFO")
    expected = train("whole")
    kill(train, monkeypatch)
    steps = Keeper.on_train_batch_end
    assert (tmp_path / "killed" / RESUME).exists()
    assert not (tmp_path / "killed" / "ema.safetensors").exists()
    assert "resumes" not in caplog.text

    seen = []

    def count(self, trainer, module, *rest):
        seen.append(trainer.global_step)
        steps(self, trainer, module, *rest)

    monkeypatch.setattr(Keeper, "on_train_batch_end", count)
    resumed = train("killed")
    assert seen == list(range(6, STEPS + 1))  # five steps were in the checkpoint
    assert f"test resumes after 5 of {STEPS} steps." in caplog.messages
    assert same(expected, resumed)


def kill(train, monkeypatch, step=8, **settings):
    """Begin a training and end it after some steps; its last checkpoint is that of step 5."""
    steps = Keeper.on_train_batch_end

    def die(self, trainer, module, *rest):
        steps(self, trainer, module, *rest)
        if trainer.global_step == step:
            raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(Keeper, "on_train_batch_end", die)
        with pytest.raises(RuntimeError, match="killed"):
            train("killed", **settings)


@pytest.mark.parametrize("damage", ["cut", "empty", "bit", "text", "program"])
def test_a_damaged_checkpoint_is_set_aside(train, monkeypatch, tmp_path, caplog, damage):
    kill(train, monkeypatch)
    checkpoint = tmp_path / "killed" / RESUME
    content = bytearray(checkpoint.read_bytes())
    content[len(content) // 2] ^= 1  # of a tensor
    if damage == "program":
        torch.save({"state_dict": Path}, checkpoint)  # more than tensors and plain values
    else:
        damaged = {"cut": content[:-100], "empty": b"", "bit": content, "text": b"<html>" * 100}
        checkpoint.write_bytes(damaged[damage])
    resumed = train("killed")
    assert f"{checkpoint} is damaged and was moved to {RESUME}.damaged: the training starts over." in caplog.text
    assert same(train("whole"), resumed)
    remove_interim(tmp_path / "killed")
    assert sorted(path.name for path in (tmp_path / "killed").iterdir()) == ["ema.safetensors", "raw.safetensors"]


@pytest.mark.slow
def test_any_damage_of_a_checkpoint_is_noticed(train, monkeypatch, tmp_path):
    """What zipfile and torch raise depends on the place."""
    kill(train, monkeypatch)
    content = (tmp_path / "killed" / RESUME).read_bytes()
    path = tmp_path / "damaged"
    for offset in range(len(content) - 1500, len(content), 3):  # the archive's table of contents
        for bit in (1, 128):
            changed = bytearray(content)
            changed[offset] ^= bit
            path.write_bytes(changed)
            is_intact(path)  # raises nothing; some bits, such as times, mean nothing
    path.write_bytes(content)
    assert is_intact(path)


def test_checkpoints_do_not_pass_through_the_temporary_folder(train, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "full"))
    assert train("a")["raw"]


def test_a_full_disk_leaves_the_last_checkpoint(train, monkeypatch, tmp_path):
    kill(train, monkeypatch)
    before = (tmp_path / "killed" / RESUME).read_bytes()
    assert len(before) > 1 << 16
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, hard))  # more than the progress that pytest captures
    try:
        with pytest.raises(UserError, match=f"in {tmp_path}/killed: make room there and run the same command again"):
            train("killed")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (tmp_path / "killed" / RESUME).read_bytes() == before
    assert same(train("whole"), train("killed"))


def test_loader_workers_change_nothing(train, tiny_trainer):
    assert same(train("none"), train("two", trainer=tiny_trainer(workers=2)))


@pytest.mark.slow  # two processes that each import everything
def test_two_processes_give_the_same_weights(train, tiny_trainer):
    whole = train("one", dropout=0.0)
    both = train("both", trainer=tiny_trainer(devices=2, strategy="ddp_spawn"), dropout=0.0)
    assert close(whole, both)


def test_dropout_is_on_while_training(train):
    assert not same(train("with"), train("without", dropout=0.0))


def test_best_selection_keeps_the_epoch_with_the_lowest_validation_loss(train, monkeypatch):
    losses = iter([3.0, 1.0, 2.0])
    end = Keeper.on_train_epoch_end
    at_epoch = []

    def fake(self, trainer, module):
        trainer.callback_metrics["validation_loss"] = torch.tensor(next(losses))
        at_epoch.append({key: value.clone() for key, value in module.network.state_dict().items()})
        end(self, trainer, module)

    monkeypatch.setattr(Keeper, "on_train_epoch_end", fake)
    weights = train("best", selection="best")
    assert all(torch.equal(at_epoch[1][key], value) for key, value in weights["raw"].items())
    assert not torch.equal(at_epoch[2]["embed.weight"], weights["raw"]["embed.weight"])


def test_the_rate_falls_and_gradients_are_clipped_where_asked(train, tiny_trainer):
    plain = train("plain")
    assert not same(plain, train("cosine", schedule="cosine"))
    assert not same(plain, train("clipped", clip=1e-3))
    assert same(plain, train("loose", clip=1e6))
    half = tiny_trainer(precision="bf16-mixed")  # under which a fused optimiser would refuse
    assert not same(train("half", trainer=half), train("half clipped", trainer=half, clip=1e-3))


def test_the_rate_is_that_of_diffusers(tiny_train):
    from diffusers.optimization import get_cosine_schedule_with_warmup

    config = tiny_train(schedule="cosine", steps=20, warmup_steps=4).in_steps(48)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = get_cosine_schedule_with_warmup(optimizer, 4, 20)
    for step in range(20):
        expected = (step + 1) / 4 if step < 4 else theirs.get_last_lr()[0]  # theirs starts at zero
        assert config.rate(step) == pytest.approx(expected)
        optimizer.step()
        theirs.step()


def test_a_loss_that_is_no_number_ends_the_training(train):
    with pytest.raises(UserError, match="loss is"):
        train("diverged", learning_rate=1e30, steps=300, epoch_steps=300)


def test_a_removal_changes_the_weights(train):
    assert not same(train("all"), train("fewer", ids=np.arange(40)))


def test_weights_that_the_last_step_spoils_are_refused(train, monkeypatch, tmp_path):
    end = Keeper.on_train_batch_end

    def spoil(self, trainer, module, *rest):
        end(self, trainer, module, *rest)
        if trainer.global_step == STEPS:
            module.network.embed.bias.data.fill_(torch.nan)

    monkeypatch.setattr(Keeper, "on_train_batch_end", spoil)
    monkeypatch.setattr(Keeper, "select", lambda *_: None)  # there is no validation without a test split
    with pytest.raises(UserError, match=r"^test: the weights in embed.bias are not finite; lower train.learning_rate"):
        train("spoilt")
    assert not list((tmp_path / "spoilt").glob("*.safetensors"))
