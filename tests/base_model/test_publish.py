"""The copy that a base model is used from: whole or not there, and nothing beside it, however an attempt has ended."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tdattr.files import OUTPUTS
from tdattr.integrity import seal
from tdattr.pipeline import base
from tdattr.pipeline.base import publish
from tdattr.store import Artifact

KILLED = 9


@pytest.fixture
def make(tmp_path: Path) -> Callable[[str], Artifact]:
    """``make("text")`` is an artifact that holds a text."""

    def write(text: str) -> Artifact:
        folder = tmp_path / "store" / text
        (folder / "unet").mkdir(parents=True)
        (folder / "unet" / "weights").write_text(text)
        seal(folder, {"stage": "base", "text": text})
        return Artifact("base", text, folder)

    return write


def kill(monkeypatch: pytest.MonkeyPatch, name: str, publishing: Callable[[], None]) -> None:
    """Publish in a process that is gone in the middle, as soon as it calls a function of that name."""
    child = os.fork()
    if not child:
        monkeypatch.setattr(base, name, lambda *_: os._exit(KILLED))
        publishing()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == KILLED


def read(folder: Path) -> str:
    return (folder / "unet" / "weights").read_text()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_a_killed_attempt_has_left_is_deleted_by_the_next(
    make: Callable[[str], Artifact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the folder is not there yet, and while it is going to be replaced."""
    place = tmp_path / "weights"
    folder = place / "sd_tiny"
    first, second = make("first"), make("second")
    kill(monkeypatch, "sync_all", lambda: publish(first, folder))
    assert not folder.exists() and any("unfinished" in name for name in names(place))
    publish(first, folder)
    assert names(place) == ["sd_tiny"] and read(folder) == "first"

    kill(monkeypatch, "sync_all", lambda: publish(second, folder))
    assert read(folder) == "first" and len(names(place)) > 1
    publish(first, folder)  # which is there already
    assert names(place) == ["sd_tiny"] and read(folder) == "first"

    kill(monkeypatch, "sync", lambda: publish(second, folder))  # after both have got their names
    assert read(folder) == "second" and len(names(place)) > 1
    publish(second, folder)
    assert names(place) == ["sd_tiny"] and read(folder) == "second"


def test_a_copy_that_fails_leaves_nothing(
    make: Callable[[str], Artifact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is on a full disk would keep it full; the model that is there stays."""
    first, second = make("first"), make("second")
    folder = tmp_path / "weights" / "sd_tiny"
    publish(first, folder)

    def fail(paths: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(base, "sync_all", fail)
    with pytest.raises(Exception, match=r"make room there and run the same command again.*folder=…") as raised:
        publish(second, folder)
    assert OUTPUTS not in str(raised.value)
    assert names(folder.parent) == ["sd_tiny"] and read(folder) == "first"


def test_a_model_that_is_there_needs_no_place_to_write(make: Callable[[str], Artifact], tmp_path: Path) -> None:
    first = make("first")
    folder = tmp_path / "weights" / "sd_tiny"
    publish(first, folder)
    before = folder.parent.stat().st_mtime_ns
    publish(first, folder)
    assert folder.parent.stat().st_mtime_ns == before
