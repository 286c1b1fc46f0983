"""What is composed of configs alone is composed once, for as long as they are the same files."""

import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tdattr import search_path
from tdattr.search_path import CONF, compose_once, load_group

OWN = [SimpleNamespace(schema="file", path=str(CONF)), SimpleNamespace(schema="pkg", path="hydra.conf")]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The groups that were composed; nothing was before."""
    real, made = search_path.compose_group, list[str]()

    def compose(group: str, folders: Any) -> Any:
        made.append(group)
        return real(group, folders)

    monkeypatch.setattr(search_path, "composed", {})
    monkeypatch.setattr(search_path, "compose_group", compose)
    return made


def test_a_group_is_composed_once_and_who_asks_may_change_it(made: list[str]) -> None:
    first = load_group("measure", OWN)
    first["ssim"]["_target_"] = "changed"
    assert load_group("measure", OWN)["ssim"]["_target_"] != "changed" and made == ["measure"]
    assert "mucs" in load_group("method", OWN) and made == ["measure", "method"]


def test_configs_from_elsewhere_are_read_every_time(made: list[str], tmp_path: Path) -> None:
    (tmp_path / "measure").mkdir()
    (tmp_path / "measure" / "mine.yaml").write_text("name: mine\n")
    sources = [*OWN, SimpleNamespace(schema="file", path=str(tmp_path))]
    assert "mine" not in load_group("measure", OWN)
    assert load_group("measure", sources)["mine"] == {"name": "mine"}
    (tmp_path / "measure" / "mine.yaml").write_text("name: other\n")
    assert load_group("measure", sources)["mine"] == {"name": "other"} and len(made) == 3


def test_a_file_that_changes_or_comes_is_seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shutil.copytree(CONF / "measure", tmp_path / "conf" / "measure")
    monkeypatch.setattr(search_path, "CONF", tmp_path / "conf")
    monkeypatch.setattr(search_path, "composed", {})
    made = iter(range(10))
    assert [compose_once("key", [], lambda: next(made)) for _ in range(2)] == [0, 0]
    os.utime(tmp_path / "conf" / "measure" / "ssim.yaml", ns=(1, 1))
    assert compose_once("key", [], lambda: next(made)) == 1
    (tmp_path / "conf" / "measure" / "new.yaml").write_text("name: new\n")
    assert [compose_once("key", [], lambda: next(made)) for _ in range(2)] == [2, 2]
    assert compose_once("other", [], lambda: next(made)) == 3
