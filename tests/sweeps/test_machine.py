"""What each of the jobs that run at once on a machine may use."""

import pytest

from tdattr.sweeps import machine
from tdattr.sweeps.machine import list_gpus, make_slots


def slots(
    wanted: int, pack: int | None = None, most: int | None = None, gpus: str = "", devices: int = 1, workers: int = 1
) -> list[str]:
    """The GPUs and the threads of each slot."""
    made = make_slots(wanted, pack, most, list(gpus), devices, workers)
    assert all(slot["OMP_NUM_THREADS"] == slot["TDATTR_THREADS"] for slot in made)
    return [f"{slot.get('CUDA_VISIBLE_DEVICES', '')}/{slot['TDATTR_THREADS']}" for slot in made]


def test_no_device_is_idle_and_the_cores_are_divided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "count_cores", lambda: 8)
    assert slots(20) == ["/1"] * 8
    assert slots(3) == ["/2"] * 3  # fewer jobs than cores
    assert slots(20, pack=4) == ["/2"] * 4
    assert slots(20, most=2) == ["/4"] * 2
    assert slots(20, gpus="0123") == ["0/2", "1/2", "2/2", "3/2"]
    assert slots(20, gpus="01", pack=2) == ["0/2", "1/2", "0/2", "1/2"]
    assert slots(2, gpus="01", pack=2) == ["0/4", "1/4"]  # each its own, while there are enough
    assert slots(20, gpus="0123", devices=2) == ["0,1/4", "2,3/4"]
    assert slots(20, gpus="0123", workers=2) == ["0,1/4", "2,3/4"]  # the job divides them among its workers
    assert slots(20, workers=2) == ["/2"] * 4
    assert slots(20, gpus="01", pack=9) == ["0/1", "1/1"] * 9
    assert slots(1, gpus="01", devices=4) == ["0,1/8"]  # Lightning says what is missing


def test_only_the_gpus_that_the_command_may_see_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for value, names in {"2,5": ["2", "5"], "": [], "-1": [], "GPU-a1,GPU-b2": ["GPU-a1", "GPU-b2"]}.items():
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
        assert list_gpus() == names
