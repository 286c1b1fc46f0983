"""Progress bars."""

import sys

import pytest

from tdattr import progress


def test_a_nested_bar_disappears(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress.track(iter("abc"), "Doing", 3, nested=True)) == ["a", "b", "c"]
    assert capsys.readouterr().err.split("\r")[-2].strip() == ""


@pytest.mark.parametrize("terminal", [True, False])
def test_a_file_gets_few_pictures_of_a_bar(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    assert progress.pace(0.1) == ({"mininterval": 0.1} if terminal else {"mininterval": 30, "maxinterval": 30})


def test_long_work_shows_where_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    bar = progress.Bar("Training F1", 40, start=10)
    bar.show("loss 0.125")
    bar.advance(20)
    bar.close()
    shown = capsys.readouterr().err
    assert "Training F1" in shown
    assert "30/40" in shown
    assert "75%" in shown
    assert "loss 0.125" in shown
    list(progress.track(range(5), "Generating", 5))
    assert "5/5" in capsys.readouterr().err
    hidden = progress.Bar("Training F1", 40, hidden=True)
    hidden.advance(40)
    hidden.close()
    assert capsys.readouterr().err == ""
