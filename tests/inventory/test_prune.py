"""``tdattr-artifacts prune``: only what no run uses goes, or what was asked for; nothing that a job may still need."""

import json
import os
import shutil
import socket
import sys
import time
from pathlib import Path

import pytest

from tdattr.inventory import prune as pruning
from tdattr.locks import SUFFIX as LEASE
from tdattr.locks import acquire, name_machine
from tests.inventory.outputs import DAY, Chain, age_artifact, artifacts, make_older, names, write_run


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    """The outputs of one finished run of three days ago, and artifacts that no run uses, as old."""
    write_run(tmp_path, "kept")
    write_run(tmp_path, "gone", steps=10)
    shutil.rmtree(tmp_path / "runs/gone")
    for chain in (Chain(tmp_path), Chain(tmp_path, steps=10)):
        for plan in chain.everything.values():
            age_artifact(plan, 3) if plan.name not in Chain(tmp_path).everything else None
    make_older(tmp_path / "runs", 3)
    return tmp_path


def prune(outputs: Path, *arguments: str) -> str:
    done = artifacts("prune", "--yes", *arguments, outputs=outputs)
    assert done.status == 0, done.err
    return done.out


def test_what_no_run_uses_goes_and_the_rest_stays(outputs: Path) -> None:
    used = set(Chain(outputs).everything)
    unused = set(Chain(outputs, steps=10).everything) - used
    assert names(outputs) == used | unused
    dry = artifacts("prune", "--dry-run", outputs=outputs)
    assert dry.status == 0 and "8 artifacts that no run uses" in dry.out and "dry run" in dry.out
    assert names(outputs) == used | unused
    assert "Deleted 8 artifacts" in prune(outputs)
    assert names(outputs) == used
    assert not list((outputs / "artifacts").rglob(".*"))  # nor lock files
    assert "nothing to prune" in prune(outputs)
    assert artifacts("verify", outputs=outputs).status == 0


def test_what_was_asked_for_within_a_day_stays(outputs: Path) -> None:
    young = Chain(outputs, steps=10).model
    os.utime(young.artifact.folder)
    assert "Kept: 1, which no run uses but were asked for in the last 24 hours" in prune(outputs)
    assert young.finished
    assert "Deleted 1 artifact " in prune(outputs, "--all") and not young.finished


@pytest.mark.parametrize("option", ["--trainings", "--intermediate"])
def test_a_training_can_go_while_its_scores_stay(option: str, outputs: Path) -> None:
    chain = Chain(outputs)
    prune(outputs, option)
    left = {plan.artifact.stage for plan in chain.everything.values() if plan.finished}
    assert not {"pretrain", "unlearn"} & left
    assert {"dataset", "generate", "attribute", "evaluate"} <= left
    assert ("query_scores" in left) == (option == "--trainings")
    again = write_run(outputs, "again")
    assert again.store.built == []  # the same command finds its verdict
    other = Chain(outputs)
    other.model.get()
    assert other.store.built == [chain.model.name]  # and what is needed is built again, no more


def test_a_stage_can_be_chosen_but_what_runs_show_stays(outputs: Path) -> None:
    chain = Chain(outputs)
    prune(outputs, "--stage", "query_scores", "--stage", "evaluate")
    assert not any(plan.finished for plan in chain.parts)
    assert chain.verdict.finished and chain.model.finished


def write_status(outputs: Path, **changes: object) -> None:
    """Let a run that is not finished have begun two days ago and say how it goes."""
    folder = outputs / "runs/going"
    folder.mkdir(exist_ok=True)
    (folder / "config.yaml").write_text("seed: 1")
    began = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(time.time() - 2 * DAY))
    status = {"state": "running", "started": began, "pid": os.getpid(), "host": socket.gethostname()}
    (folder / "status.json").write_text(json.dumps(status | changes))


def test_what_a_going_run_has_asked_for_stays(outputs: Path) -> None:
    write_status(outputs)
    model = Chain(outputs).model  # of a finished run, too
    moment = time.time() - 1.5 * DAY
    for plan in Chain(outputs).everything.values():
        age_artifact(plan, 2.5)
    os.utime(model.artifact.folder, (moment, moment))
    assert "which going may use, a run that seems to be going on" in prune(outputs, "--trainings", "--all")
    assert model.finished and not Chain(outputs).again.finished
    write_status(outputs, state="done")
    prune(outputs, "--trainings", "--all")
    assert not model.finished


@pytest.mark.parametrize(
    "changes",
    [
        {"pid": 2**22 + 1},
        {"process": "1"},
        {"state": "failed"},
        {"state": 3},
        {"started": "yesterday"},
        {"host": 7, "pid": "x"},
    ],
    ids=str,
)
def test_a_status_says_whether_a_run_goes_on(changes: dict[str, object], outputs: Path) -> None:
    write_status(outputs, **changes)
    dead = changes in ({"pid": 2**22 + 1}, {"process": "1"}, {"state": "failed"})  # another process has the number
    said = artifacts("du", outputs=outputs).out
    assert any(
        line.startswith("going ") and line.endswith("not finished" if dead else "going") for line in said.splitlines()
    )


def test_what_a_run_that_was_not_finished_has_made_stays(outputs: Path) -> None:
    chain = Chain(outputs, steps=10)
    write_status(outputs, state="failed")
    age_artifact(chain.model, 1.5)
    assert "from which going may resume" in prune(outputs)
    assert chain.model.finished and not chain.scores.finished
    prune(outputs, "--all")
    assert not chain.model.finished


def make_unfinished(outputs: Path, days: float) -> Path:
    folder = outputs / "artifacts/pretrain/.0123456789abcdef.unfinished"
    folder.mkdir()
    (folder / "last.ckpt").write_bytes(bytes(1000))
    make_older(folder, days)
    return folder


def test_what_is_being_built_stays_and_what_was_left_unfinished_goes(outputs: Path) -> None:
    for days in (0.5, 3):
        folder = make_unfinished(outputs, days)
        lease = acquire(folder.with_name(".0123456789abcdef"), None)
        assert lease is not None
        assert "which" in prune(outputs)
        assert folder.exists() and lease.path.exists()
        lease.release()
        prune(outputs)
        assert folder.exists() == (days < 1)
        shutil.rmtree(folder, ignore_errors=True)


def test_an_artifact_whose_lease_is_held_stays(outputs: Path) -> None:
    plan = Chain(outputs, steps=10).scores
    lease = acquire(plan.artifact.folder.with_name(f".{plan.address}"), None)
    assert lease is not None
    assert "stayed: another job" in prune(outputs)
    assert plan.finished
    lease.release()
    prune(outputs)
    assert not plan.finished


def test_an_artifact_that_is_asked_for_meanwhile_stays(outputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Chain(outputs, steps=10).model
    monkeypatch.setattr(pruning, "record", lambda root, artifacts: plan.get())
    assert "stayed: another job" in prune(outputs)
    assert plan.finished


def test_what_a_run_begins_to_use_while_the_user_is_asked_stays(outputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It need not touch what was asked for within the hour, as other runs do that pass by."""
    plan = Chain(outputs, steps=10).model
    os.utime(plan.artifact.folder)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)

    def answer(prompt: str) -> str:
        write_status(outputs, started=time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime()))
        return "y"

    monkeypatch.setattr("builtins.input", answer)
    done = artifacts("prune", "--all", outputs=outputs)
    assert done.status == 0 and "1 stayed" in done.out
    assert plan.finished


def test_a_kill_leaves_no_half_artifact(outputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Chain(outputs).model

    def die(path: Path) -> None:
        next(path.iterdir()).unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", die)
        with pytest.raises(KeyboardInterrupt):
            artifacts("prune", "--yes", "--trainings", outputs=outputs)
    assert artifacts("verify", outputs=outputs).status == 0
    assert list((outputs / "artifacts").glob("*/.*.pruned"))
    assert "1 half-deleted artifact" in prune(outputs, "--trainings")
    assert not model.finished and not list((outputs / "artifacts").glob("*/.*.pruned"))


def test_a_link_goes_but_not_what_it_leads_to(outputs: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    chain = Chain(outputs, steps=10)
    elsewhere = tmp_path_factory.mktemp("disk") / "weights"
    shutil.move(chain.model.artifact.folder, elsewhere)
    chain.model.artifact.folder.symlink_to(elsewhere)
    prune(outputs)
    assert not os.path.lexists(chain.model.artifact.folder) and (elsewhere / "ema.safetensors").exists()


def test_nothing_is_deleted_that_was_not_agreed_to(outputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = names(outputs)
    refused = artifacts("prune", outputs=outputs)
    assert refused.status == 1 and "add --yes" in refused.err
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)

    def leave(prompt: str) -> str:
        raise EOFError

    monkeypatch.setattr("builtins.input", leave)
    assert artifacts("prune", outputs=outputs).status == 1
    for answer, status in (("", 1), ("no", 1), ("y", 0)):
        assert names(outputs) == before
        monkeypatch.setattr("builtins.input", lambda prompt, answer=answer: answer)
        assert artifacts("prune", outputs=outputs).status == status
    assert len(names(outputs)) == len(before) - 8


def test_a_store_that_cannot_be_written_is_a_sentence(outputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: object, *rest: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "rename", refuse)
    done = artifacts("prune", "--yes", outputs=outputs)
    assert done.status == 1 and done.err.startswith("error: Permission denied: ")


def test_nothing_goes_while_it_is_not_known_what_a_run_uses(outputs: Path) -> None:
    (outputs / "runs/kept/summary.json").write_text("{")
    done = artifacts("prune", "--yes", "--all", outputs=outputs)
    assert done.status == 1 and "What kept uses is not known, as its summary.json cannot be read" in done.err
    assert Chain(outputs).verdict.finished


def test_a_lease_of_another_machine_is_respected_and_that_of_a_killed_job_goes(outputs: Path) -> None:
    plan = Chain(outputs, steps=10).scores
    path = plan.artifact.folder.with_name(f".{plan.address}{LEASE}")
    path.write_text('000000000007\n{"owner": "0badc0de-7-7"}')
    assert "stayed: another job" in prune(outputs)
    assert plan.finished and path.exists()
    path.write_text(f'000000000007\n{{"owner": "{name_machine()}-{2**22 + 1}-7"}}')  # no process has that number
    assert "1 lease" in prune(outputs)
    assert not plan.finished and not path.exists()


def test_a_lease_in_which_nobody_has_counted_for_a_day_goes(outputs: Path) -> None:
    """Of another machine, or of this one before it was started again: nobody can tell that its holder is gone."""
    plan = Chain(outputs, steps=10).scores
    path = plan.artifact.folder.with_name(f".{plan.address}{LEASE}")
    path.write_text('000000000007\n{"owner": "0badc0de-7-7"}')
    moment = time.time() - 1.1 * DAY
    os.utime(path, (moment, moment))
    assert "1 lease" in artifacts("prune", "--dry-run", outputs=outputs).out
    assert path.exists()
    prune(outputs)
    assert not plan.finished and not path.exists()


def test_looking_leaves_the_leases_of_killed_jobs(outputs: Path) -> None:
    plan = Chain(outputs, steps=10).scores
    path = plan.artifact.folder.with_name(f".{plan.address}{LEASE}")
    path.write_text(f'000000000007\n{{"owner": "{name_machine()}-{2**22 + 1}-7"}}')
    for command in (["du"], ["prune", "--dry-run"]):
        assert artifacts(*command, outputs=outputs).status == 0
        assert path.exists()


@pytest.mark.parametrize("name", [".0123456789abcdef.0badc0de-7-7.copy", ".0123456789abcdef.lease.0badc0de-7-7"])
def test_what_a_kill_leaves_of_taking_over_goes(name: str, outputs: Path) -> None:
    path = outputs / "artifacts/pretrain" / name
    if name.endswith("copy"):
        path.mkdir()
        (path / "weights").write_bytes(bytes(10))
    else:
        path.write_text('000000000007\n{"owner": "0badc0de-7-7"}')
    make_older(path, 3)
    assert "1 unfinished artifact" in prune(outputs) if path.is_dir() else "1 lease" in prune(outputs)
    assert not path.exists()


@pytest.mark.parametrize("days", ["nan", "-1", "inf", "a week"])
def test_days_are_a_number(days: str, outputs: Path) -> None:
    done = artifacts("prune", "--yes", f"--days={days}", outputs=outputs)
    assert done.status == 2 and "is no number of days" in done.err
