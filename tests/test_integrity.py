"""A damaged artifact is one sentence that names it and what rebuilds it, whatever is damaged and whoever reads it."""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tdattr import files
from tdattr.errors import UserError
from tdattr.files import known
from tdattr.locks import name_process
from tdattr.store import Artifact, Plan, Store, find, provenance, share_out

LINES = "one two three\n" * 100
OLD = ("files", "sha256")  # what the provenance of an older version does not have


def write(folder: Path) -> Mapping[str, Any]:
    (folder / "weights.bin").write_text(LINES)
    (folder / "more").mkdir(exist_ok=True)
    (folder / "more" / "table.csv").write_text(LINES)
    return {"loss": float("inf"), "by_step": {10: 0.5, 9: 0.25}}


def plan(root: Path) -> Plan:
    return Store(root, "cpu").plan("train", 1, {"steps": 5}, {}, write)


def flip(path: Path, offset: int = 0) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 4
    path.write_bytes(content)


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "bit": (lambda folder: flip(folder / "weights.bin", 700), "weights.bin is not what was written"),
    "cut": (lambda folder: os.truncate(folder / "weights.bin", 9), "weights.bin has 9 bytes instead of 1400"),
    "deleted": (lambda folder: (folder / "weights.bin").unlink(), "weights.bin is missing"),
    "folder": (lambda folder: shutil.rmtree(folder / "more"), "more/table.csv is missing"),
    "below": (lambda folder: flip(folder / "more" / "table.csv"), "more/table.csv is not what was written"),
    "no provenance": (lambda folder: (folder / "provenance.json").unlink(), "provenance.json is missing"),
    "cut provenance": (lambda folder: os.truncate(folder / "provenance.json", 99), "provenance.json is not what"),
    "empty provenance": (lambda folder: os.truncate(folder / "provenance.json", 0), "provenance.json is not what"),
    "bit of provenance": (lambda folder: change(folder, lambda old: old | {"seconds": 1e9}), "provenance.json is not"),
}


def change(folder: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    path = folder / "provenance.json"
    path.write_text(json.dumps(edit(json.loads(path.read_text()))))


READERS: dict[str, Callable[[Path, Artifact], object]] = {
    "plan": lambda root, artifact: plan(root).get(),
    "share": lambda root, artifact: share_out([plan(root)]),
    "report": lambda root, artifact: find(root, artifact.name),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("reader", READERS)
def test_damage_is_one_sentence(reader: str, damage: str, tmp_path: Path) -> None:
    artifact = plan(tmp_path).get()
    spoil, reason = DAMAGES[damage]
    spoil(artifact.folder)
    known.clear()  # as another process
    with pytest.raises(UserError) as caught:
        READERS[reader](tmp_path, artifact)
    assert f"{caught.value}".startswith(f"The artifact {artifact.name} is damaged ({reason}")
    assert f"`rm -r {artifact.folder}`, and the tdattr command that uses it builds it again." in f"{caught.value}"
    shutil.rmtree(artifact.folder)
    assert plan(tmp_path).get() == artifact and READERS[reader](tmp_path, artifact)


def test_what_is_intact_is_read_in_whole_once_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    real = files.digest
    monkeypatch.setattr(files, "digest", lambda path: read.append(path.name) or real(path))
    artifact = plan(tmp_path).get()
    assert sorted(read) == ["table.csv", "weights.bin"]  # when it was built
    assert plan(tmp_path).get() == artifact and len(read) == 2
    known.clear()
    for _ in range(3):
        assert plan(tmp_path).get() == find(tmp_path, artifact.name)
    assert len(read) == 4
    os.truncate(artifact.folder / "weights.bin", 9)
    with pytest.raises(UserError, match="9 bytes instead"):
        plan(tmp_path).get()


def test_artifacts_of_older_versions_stay_readable(tmp_path: Path) -> None:
    artifact = plan(tmp_path).get()
    change(artifact.folder, lambda old: {key: value for key, value in old.items() if key not in OLD})
    flip(artifact.folder / "weights.bin")  # nobody can know
    assert plan(tmp_path).get() == artifact
    assert provenance(artifact)["facts"]["by_step"] == {"10": 0.5, "9": 0.25}


def test_an_artifact_has_its_name_once_it_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is renamed before its content is written is empty after a power cut."""
    synced: list[str] = []
    fsync, replace = os.fsync, os.replace

    def note(descriptor: int) -> None:
        synced.append(os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")))
        fsync(descriptor)

    def move(source: Path, target: Path) -> None:
        synced.append("renamed")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", note)
    monkeypatch.setattr(os, "replace", move)
    address = plan(tmp_path).get().address
    renamed, own = synced.index("renamed"), f".{address}.{name_process()}.unfinished"
    assert set(synced[:renamed]) - {f".{address}.lease"} == {"weights.bin", "table.csv", "more", "provenance.json", own}
    assert synced[renamed + 1 :] == ["train"]
