"""Which retrainings of a run are trained at once, and that a run then comes to what it comes to without."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from timm.layers import DropPath
from torch import nn

import tdattr
from tdattr.networks import Network
from tdattr.networks.dit import DiT, DiTConfig
from tdattr.pipeline import stacks
from tdattr.pipeline.evaluate import evaluate
from tdattr.pipeline.stacks import Retraining, is_stackable
from tdattr.pipeline.train import train
from tdattr.pipeline.workspace import Workspace
from tdattr.store import find, provenance
from tests.e2e.console import TINY

pytestmark = pytest.mark.slow  # each composes a config
LDS = ["protocol=lds", "protocol.subsets=4", "protocol.repeats=1", "protocol.draws=10", "method=pixel"]
GIVEN = [argument for argument in TINY if not argument.startswith("model.")]


def open_run(folder: Path, *overrides: str) -> Workspace:
    """A run of the tiny settings."""
    return tdattr.compose([*overrides, f"paths.outputs={folder}", "trainer.accelerator=cpu"])


def without(ws: Workspace, count: int) -> Retraining:
    """A retraining without the first items."""
    joint = train(ws, np.arange(count)).joint
    assert isinstance(joint, Retraining)
    return joint


def test_those_of_one_length_go_together(tmp_path: Path) -> None:
    ws = open_run(tmp_path, *TINY, "trainer.stack=8")
    assert train(ws).joint is None  # F1
    assert without(ws, 3).kind == without(ws, 50).kind
    assert [without(ws, 3).most(wanted) for wanted in (2, 8, 9)] == [2, 8, 8]
    ws.workers = 3
    assert [without(ws, 3).most(wanted) for wanted in (2, 8, 90)] == [1, 3, 8]
    lengths = ["trainer.stack=8", "train.coupled=false", "train.steps=null", "train.epochs=1"]
    epochs = open_run(tmp_path, *(argument for argument in TINY if "train.steps" not in argument), *lengths)
    assert without(epochs, 3).kind != without(epochs, 500).kind  # fewer items, fewer steps


@pytest.mark.parametrize(
    ("overrides", "stacked"),
    [
        ([], True),
        (["train.coupled=false"], True),
        (["trainer.precision=bf16-mixed"], False),
        (["train.accumulate=2"], False),
        (["trainer.devices=2"], False),
        (["train.selection=best"], False),
        (["model.dropout=0.1"], False),
    ],
)
def test_what_is_trained_one_after_the_other(
    tmp_path: Path, overrides: list[str], stacked: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    ws = open_run(tmp_path, *TINY, "trainer.stack=8", *overrides)
    assert is_stackable(ws) == stacked
    assert [without(ws, count).kind is not None for count in (3, 4)] == [stacked] * 2
    lines = [record.message for record in caplog.records if "one after the other" in record.message]
    assert len(lines) == (0 if stacked else 1)
    for line in lines:
        assert line.startswith("trainer.stack=8: ") and (overrides[0].split("=")[0].split(".")[1] in line)


def test_a_network_that_torch_cannot_stack_is_trained_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It draws random numbers in a way of its own."""
    build = DiTConfig.build

    def add(self: DiTConfig, *sizes: int) -> Network:
        network = build(self, *sizes)
        assert isinstance(network, DiT)
        network.embed = nn.Sequential(network.embed, DropPath(0.1))  # type: ignore[assignment]
        return network

    monkeypatch.setattr(DiTConfig, "build", add)
    caplog.set_level("INFO")
    ws = open_run(tmp_path, *TINY, "trainer.stack=8")
    before = torch.get_rng_state()
    assert [without(ws, count).kind for count in (3, 4)] == [None, None]
    assert torch.equal(before, torch.get_rng_state())
    (line,) = [record.message for record in caplog.records if "one after the other" in record.message]
    assert "torch.func cannot run several networks like this one at once (vmap:" in line


def test_nothing_is_asked_where_no_stacking_is_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ws = open_run(tmp_path, *TINY)
    monkeypatch.setattr(Workspace, "skeleton", None)
    assert without(ws, 3).kind is None


def test_auto_is_for_small_networks_on_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = [2**40]
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free[0], 2**40))
    auto = "trainer.stack=auto"
    ws = open_run(tmp_path, *TINY, auto)
    assert without(ws, 3).most(8) == 1  # on a CPU
    ws.device = torch.device("cuda")
    assert without(ws, 3).most(8) == 8 and without(ws, 3).most(1000) == stacks.MOST
    free[0] = 2**20
    assert 1 < without(ws, 3).most(1000) < stacks.MOST
    free[0] = 2**40
    tiny = ["model=dit_tiny", "train.batch_size=320", auto]
    batches = open_run(tmp_path, *(argument for argument in GIVEN if "batch_size" not in argument), *tiny)
    batches.device = torch.device("cuda")
    assert 8 <= without(batches, 3).most(1000) <= 16  # a tenth of what was measured, of items of a quarter the size
    for model in (["model=unet_tiny"], ["model.blocks=12", "model.width=1024"]):
        other = open_run(tmp_path, *GIVEN, *model, auto)
        other.device = torch.device("cuda")
        assert is_stackable(other) and without(other, 3).most(8) == 1


def test_a_protocol_comes_to_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone, together = (open_run(tmp_path / f"{n}", *TINY, *LDS, f"trainer.stack={n}") for n in (1, 8))
    counts: list[int] = []
    build = Retraining.build

    def count(self: Retraining, members: Sequence[Retraining], folders: Sequence[Path]) -> Any:
        counts.append(len(members))
        return build(self, members, folders)

    monkeypatch.setattr(Retraining, "build", count)
    expected = evaluate(alone).get()
    assert not counts
    folder, other = (ws.store.root / "pretrain" for ws in (alone, together))
    names = sorted(path.name for path in folder.iterdir())
    f1 = train(alone).address
    there = next(name for name in names if name != f1)
    shutil.copytree(folder / there, other / there)  # one of the four is there already
    assert evaluate(together).get().address == expected.address
    assert counts == [3] and sorted(path.name for path in other.iterdir()) == names
    for name in names:
        facts = provenance(find(together.store.root, f"pretrain/{name}"))["facts"]
        assert facts["devices"] == 1 and facts.get("together", 1) == (1 if name in (f1, there) else 3)
        for part in ("raw", "ema"):
            one, same = (load_file(where / name / f"{part}.safetensors") for where in (folder, other))
            assert all(torch.allclose(one[key], same[key], atol=1e-5) for key in one)
