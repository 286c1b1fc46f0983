"""``tdattr-artifacts explain``: in which values and inputs two results differ, and why those differ."""

from pathlib import Path

import pytest

from tests.inventory.outputs import Chain, age_artifact, artifacts, write_run


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Chain, Chain]:
    return write_run(tmp_path, "long", steps=3000), write_run(tmp_path, "sweep/0", steps=1500)


def test_artifacts_differ_because_what_they_were_made_from_does(pair: tuple[Chain, Chain], tmp_path: Path) -> None:
    long, short = pair
    done = artifacts("explain", long.verdict.name, short.verdict.address[:12], outputs=tmp_path)
    assert done.status == 0
    assert done.out.splitlines()[2:] == [
        "They differ:",
        f"  their scores differ: {long.scores.name} against {short.scores.name}",
        f"    their models differ: {long.model.name} against {short.model.name}",
        "      train.steps: 3000 against 1500",
        f"    their queries differ: {long.queries.name} against {short.queries.name}",
        f"      their models differ, as said above: {long.model.name} against {short.model.name}",
        f"  their queries differ, as said above: {long.queries.name} against {short.queries.name}",
    ]


def test_two_runs_are_explained_by_their_configs_and_results(pair: tuple[Chain, Chain], tmp_path: Path) -> None:
    for names in (("long", "sweep/0"), ("long", "sw"), (str(tmp_path / "runs/long"), str(tmp_path / "runs/sweep/0"))):
        lines = artifacts("explain", *names, outputs=tmp_path).out.splitlines()
        assert lines[:2] == ["The configurations of long and sweep/0 differ:", "  train.steps: 3000 against 1500"]
        assert f"They have the same dataset ({pair[0].dataset.name})." in lines
        assert "  train.steps: 3000 against 1500" in lines[lines.index(lines[3]) :]
        assert sum("train.steps" in line for line in lines) == 2  # in the configs, and once where it matters


def test_how_the_work_was_done_is_no_difference(pair: tuple[Chain, Chain], tmp_path: Path) -> None:
    for workers, name in enumerate(("long", "sweep/0"), start=1):
        path = tmp_path / "runs" / name / "config.yaml"
        path.write_text(f"{path.read_text()}\nworkers: {workers}\nsweep: {name}\nplan: {workers > 1}\nuntil: {name}\n")
    done = artifacts("explain", "long", "sweep/0", outputs=tmp_path)
    assert "train.steps" in done.out and not any(word in done.out for word in ("workers", "plan:", "until"))


def test_a_training_that_was_pruned_is_still_known(pair: tuple[Chain, Chain], tmp_path: Path) -> None:
    names = pair[0].scores.name, pair[1].scores.name
    before = artifacts("explain", *names, outputs=tmp_path).out
    assert artifacts("prune", "--trainings", "--yes", outputs=tmp_path).status == 0
    assert not pair[0].model.finished and "train.steps: 3000 against 1500" in before
    assert artifacts("explain", *names, outputs=tmp_path).out == before
    assert artifacts("verify", outputs=tmp_path).status == 0


def test_other_kinds_of_differences_are_in_words(tmp_path: Path) -> None:
    chain = Chain(tmp_path)
    method = {"class": "tdattr.methods.trak.Trak", "damping": 1.0, "seeds": list(range(100))}

    def write(folder: Path) -> None:
        (folder / "x").touch()

    one = chain.store.plan("scores", 1, {"method": method, "ids": "a" * 16, "k": None}, {"torch": "2.6"}, write)
    changed = {"method": method | {"damping": 2.0}, "ids": "b" * 16, "k": True, "new": "b" * 16 + "/part"}
    other = chain.store.plan("scores", 2, changed, {"torch": "2.7", "model": "c" * 16}, write)
    third = chain.store.plan("scores", 2, {"method": {"class": "mine.Other"}}, {}, write)
    for plan in (one, other, third):
        plan.get()
    lines = artifacts("explain", one.name, other.name, outputs=tmp_path).out.splitlines()[3:]
    assert lines == [
        "  the code of the stage: version 1 against 2",
        "  method.damping: 1.0 against 2.0",
        "  ids: another content (aaaaaaaa… against bbbbbbbb…)",
        "  k: null against true",
        f"  new: nothing against {'b' * 16}/part",
        "  torch: 2.6 against 2.7",
        f"  their models differ: nothing against {'c' * 16}",
    ]
    assert "  method: Trak against Other" in artifacts("explain", one.name, third.name, outputs=tmp_path).out


def test_the_same_artifact_is_no_difference(pair: tuple[Chain, Chain], tmp_path: Path) -> None:
    name = pair[0].model.name
    assert "They are the same artifact." in artifacts("explain", name, name[:20], outputs=tmp_path).out
    again = write_run(tmp_path, "again", steps=3000)
    assert again.store.built == []
    done = artifacts("explain", "long", "again", outputs=tmp_path)
    assert done.out.startswith("The configurations of long and again are the same.\nThey have the same dataset")


def test_what_cannot_be_compared_is_a_sentence(pair: tuple[Chain, Chain], tmp_path: Path) -> None:
    long, short = pair
    (long.unlearned.artifact.folder / "provenance.json").write_text("{")
    (tmp_path / "runs/sweep/0/config.yaml").write_text("[1, 2")
    for first, second, sentence in (
        ("nothing", long.model.name, "No artifact and no run is called nothing"),
        ("pretrain/", long.model.name, "may be pretrain/"),
        (long.model.name, long.verdict.name, "are of different kinds"),
        (long.model.name, "long", "are an artifact and a run"),
        (long.unlearned.name, short.unlearned.name, "cannot be compared: provenance.json is not what was written"),
        ("long", "sweep/0", "The config.yaml of sweep/0 cannot be read"),
    ):
        done = artifacts("explain", first, second, outputs=tmp_path)
        assert done.status == 1 and done.err.startswith("error: ") and sentence in done.err


def test_a_run_that_is_not_finished_is_compared_by_its_config(pair: tuple[Chain, Chain], tmp_path: Path) -> None:
    write_run(tmp_path, "broken", steps=9, finished=False)
    age_artifact(pair[0].model, 1)
    done = artifacts("explain", "broken", "long", outputs=tmp_path)
    assert "train.steps: 9 against 3000" in done.out and "broken has no results: it is not finished." in done.out
