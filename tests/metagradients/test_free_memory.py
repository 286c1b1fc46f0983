"""Memory that a container or a SLURM job may not take is not free."""

from pathlib import Path

import pytest
import torch

from tdattr.metagradients import free_memory
from tdattr.metagradients.free_memory import find_free_memory, free_of_limits


def write(folder: Path, **files: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(f"{content}\n")


def test_limits_of_all_groups_around_count(tmp_path: Path) -> None:
    write(tmp_path, groups="0::/slurm/job_1/task_0")
    write(tmp_path / "slurm/job_1/task_0", memory__max="max", memory__current=40)
    write(tmp_path / "slurm/job_1", memory__max=100, memory__current=70, memory__stat="inactive_file 5\nactive_file 2")
    write(tmp_path / "slurm", memory__max=1000, memory__current=70)
    assert free_of_limits(tmp_path / "groups", tmp_path) == [37, 930]


def test_the_older_version(tmp_path: Path) -> None:
    write(tmp_path, groups="9:cpu:/other\n4:memory:/box\n0::/")
    write(tmp_path / "memory/box", memory__limit_in_bytes=100, memory__usage_in_bytes=80)
    write(tmp_path / "cpu/other", memory__limit_in_bytes=1, memory__usage_in_bytes=1)
    assert free_of_limits(tmp_path / "groups", tmp_path) == [20]


def test_where_there_are_no_limits_the_machine_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert free_of_limits(tmp_path / "groups", tmp_path) == []
    monkeypatch.setattr(free_memory, "GROUPS", tmp_path / "groups")
    assert find_free_memory(torch.device("cpu")) > 0


def test_the_least_of_machine_and_limits_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, groups="0::/")
    write(tmp_path, memory__max=100, memory__current=70)
    monkeypatch.setattr(free_memory, "GROUPS", tmp_path / "groups")
    monkeypatch.setattr(free_memory, "MOUNT", tmp_path)
    assert find_free_memory(torch.device("cpu")) == 30
