"""Progress: a bar on a terminal, plain lines in a file."""

import logging
import re
import sys

import pytest

from tdattr import progress


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> pytest.CaptureFixture[str]:
    """Standard error is a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(type(sys.stderr), "isatty", lambda self: True, raising=False)
    return capsys


class Clock:
    """Time that passes when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(progress.time, "monotonic", lambda: self.now)


def shown(text: str) -> list[str]:
    """The pictures that were drawn over each other."""
    return [part.strip("\n") for part in text.replace("\x1b[A", "\r").split("\r")]


def test_a_nested_bar_disappears(terminal: pytest.CaptureFixture[str]) -> None:
    assert list(progress.track(iter("abc"), "Doing", 3, nested=True)) == ["a", "b", "c"]
    pictures = shown(terminal.readouterr().err)
    assert "Doing" in pictures[1] and pictures[-2].strip() == ""


def test_a_terminal_shows_where_long_work_stands(terminal: pytest.CaptureFixture[str]) -> None:
    bar = progress.Bar("Training F1", 40, start=10)
    bar.show("loss 0.125")
    bar.advance(20)
    bar.close()
    last = shown(terminal.readouterr().err)[-1]
    assert all(part in last for part in ("Training F1", "30/40", "75%", "loss 0.125"))
    list(progress.track(range(5), "Generating", 5))
    assert "5/5" in terminal.readouterr().err
    hidden = progress.Bar("Training F1", 40, hidden=True)
    hidden.advance(40)
    hidden.close()
    assert terminal.readouterr().err == ""


def test_no_line_is_longer_than_a_terminal_is_wide(terminal: pytest.CaptureFixture[str]) -> None:
    bar = progress.Bar("Retraining 12 of 20, without a group of a long name (1234 items)", 200_000)
    bar.show("loss 0.125")
    bar.advance(12_345)
    bar.close()
    pictures = shown(terminal.readouterr().err)
    assert pictures[-1].startswith("Retraining 12 of 20, withou…") and "12345/200000" in pictures[-1]
    assert max(map(len, pictures)) <= 80


def test_a_log_line_stands_above_the_bars(terminal: pytest.CaptureFixture[str]) -> None:
    bar = progress.Bar("Attributing", 3)
    record = logging.LogRecord("x", logging.INFO, "x", 1, "Training F1: %d steps", (60,), None)
    progress.Console(sys.stderr).emit(record)
    bar.close()
    pictures = shown(terminal.readouterr().err)
    line = pictures.index("Training F1: 60 steps")
    assert pictures[line - 1].strip() == "" and "Attributing" in pictures[line + 1]


def test_a_file_gets_plain_lines_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock(monkeypatch)
    bar = progress.Bar("Training F1", 400, start=100)
    for _ in range(30):
        clock.now += 4
        bar.show("loss 0.125")
        bar.advance(10)
    bar.close()
    assert capsys.readouterr().err.splitlines() == [
        "Training F1: 180 of 400 (45%) after 0:32, about 1:28 left, loss 0.125",
        "Training F1: 260 of 400 (65%) after 1:04, about 0:56 left, loss 0.125",
        "Training F1: 340 of 400 (85%) after 1:36, about 0:24 left, loss 0.125",
        "Training F1: 400 of 400 in 2:00, loss 0.125",
    ]


def test_what_is_nested_leaves_no_last_line_in_a_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock(monkeypatch)
    for _ in progress.track(range(3), "Unlearning query 0", 3, nested=True):
        clock.now += 40
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and lines[0].startswith("Unlearning query 0: 1 of 3 (33%) after 0:40, about 1:20 left")


def test_names_cannot_move_the_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    list(progress.track(range(2), "Unlearning \x1b[2J日本\r\n", 2))
    assert re.fullmatch(r"Unlearning \?\[2J日本\?\?: 2 of 2 in \d:\d\d\n", capsys.readouterr().err)


def test_durations() -> None:
    assert [progress.duration(seconds) for seconds in (0.4, 65, 3599.6, 3723)] == ["0:00", "1:05", "1:00:00", "1:02:03"]
