"""One strict reader of text files: what was written comes back, and whatever is wrong is named with its line."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tdattr.errors import UserError
from tdattr.tables import read_frame, read_json, read_json_lines, read_lines, read_rows, read_table, write_table

REMEDY = "write another one"
ODD = ["a, b", 'say "no"', "two\nlines", "one\r\nmore", "\u2028para\u2029graph\x85\x0b\x1c", " space ", "NA", "1", ""]


def put(folder: Path, text: str, name: str = "file.csv", mark: bool = False) -> Path:
    (folder / name).write_bytes(text.encode("utf-8-sig" if mark else "utf-8"))
    return folder / name


@pytest.mark.parametrize("mark", [False, True])
def test_cells_come_back_as_they_were(tmp_path: Path, mark: bool) -> None:
    quoted = [cell.replace('"', '""') for cell in ODD]
    path = put(tmp_path, "id,text\n" + "".join(f'{i},"{cell}"\n' for i, cell in enumerate(quoted)), mark=mark)
    rows = read_rows(path, ["id", "text"], REMEDY)
    assert [row.cells["text"] for row in rows] == ODD == read_frame(path)["text"].tolist()
    assert [row.line for row in rows] == [2, 3, 4, 6, 8, 9, 10, 11, 12]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_tabs_and_empty_lines(tmp_path: Path, end: str) -> None:
    path = put(tmp_path, end.join(["id\tb", "1\tx,y", "", "2\tz", ""]), "file.TSV")
    assert [row.cells for row in read_rows(path, ["b"], REMEDY)] == [{"id": "1", "b": "x,y"}, {"id": "2", "b": "z"}]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("id,text\n0,a\n1\n", "line 3, has 1 cells instead of 2"),
        ("id,text\n0,a\n\n1,b,c\n", "line 4, has 3 cells instead of 2"),
        ('id,text\n0,"two\nlines"\n1,"open\nto the end', "line 4, is no row of a table"),
        ('id,text\n0,"a" b\n', "line 2, is no row of a table"),
        ("id,id,text\n", "line 1, has a column twice"),
        ("id;text\n0;a\n", "no column id, its first line holds id;text"),
        ("", "no column id, its first line holds nothing"),
    ],
)
def test_what_is_no_such_table_is_named_with_its_line(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(UserError, match=rf"file\.csv.*{complaint}.*{REMEDY}\.$"):
        read_rows(put(tmp_path, text), ["id", "text"], REMEDY)


def test_other_encodings_and_missing_files(tmp_path: Path) -> None:
    (tmp_path / "latin.csv").write_bytes("id\nx\nMädchen\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"latin\.csv, line 3, is not UTF-8"):
        read_frame(tmp_path / "latin.csv")
    (tmp_path / "wide.json").write_bytes(b"\xff\xfe{\x00}\x00")
    with pytest.raises(UserError, match="line 1, is not UTF-8"):
        read_json(tmp_path / "wide.json", REMEDY)
    for path in (tmp_path, tmp_path / "gone"):
        with pytest.raises(UserError, match=f"{path} cannot be read .*{REMEDY}"):
            read_lines(path, REMEDY)


def test_only_line_ends_end_lines(tmp_path: Path) -> None:
    assert read_lines(put(tmp_path, "a\u2028b\x85\r\n\nc\x0cd\n", mark=True), REMEDY) == ["a\u2028b\x85", "", "c\x0cd"]


def test_json(tmp_path: Path) -> None:
    content = {"Mädchen": [1, "\u2028"], "🐈": None}
    for ascii_only in (False, True):
        text = json.dumps(content, ensure_ascii=ascii_only)
        assert read_json(put(tmp_path, text, mark=True), REMEDY) == content
        assert list(read_json_lines(put(tmp_path, f"\n{text}\r\n", mark=True), REMEDY)) == [(2, content)]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('{"a": 1,\n "b" 2}', "line 2, is not JSON"),
        ("", "line 1, is not JSON"),
        ('{"c": {"a": 1, "b": 2, "a": 3}}', "has 'a' twice"),
        ('["\\ud83d"]', r"half a character, .ud83d"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_no_json_is_named(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(UserError, match=rf"file\.csv.*{complaint}.*{REMEDY}\.$"):
        read_json(put(tmp_path, text), REMEDY)
    with pytest.raises(UserError, match="line 2, is not JSON"):
        list(read_json_lines(put(tmp_path, "{}\n{\n"), REMEDY))


def test_types_come_back(tmp_path: Path) -> None:
    """Groups that are named by numbers, or as a missing value is, are text; numbers are numbers."""
    table = pd.DataFrame(
        {
            "query": range(len(ODD)),
            "gold": ODD,
            "named": ["1", "2", "NA", "nan", "True", "", "None", "1e3", "-0"],
            "score": np.linspace(0, 1, len(ODD)) ** 9,
            "gap": [0.5, np.nan, *range(len(ODD) - 2)],
        }
    )
    write_table(tmp_path / "t.csv", table)
    again = read_table(tmp_path / "t.csv")
    assert again.to_dict("list").keys() == table.to_dict("list").keys()
    for name in ("query", "gold", "named", "score"):
        assert again[name].tolist() == table[name].tolist()
    assert again["gap"].isna().tolist() == table["gap"].isna().tolist()
    assert list(again.select_dtypes("number")) == ["query", "score", "gap"]
    write_table(tmp_path / "t.csv", pd.DataFrame([]))
    assert read_table(tmp_path / "t.csv").empty


def test_tables_that_quote_nothing(tmp_path: Path) -> None:
    table = read_table(put(tmp_path, "query,named,score,word\n0,1,0.5,x\n1,NA,,2\n"), ["named"])
    assert table["named"].tolist() == ["1", "NA"] and table["word"].tolist() == ["x", "2"]
    assert table["query"].tolist() == [0, 1] and table["score"].isna().tolist() == [False, True]


@pytest.mark.parametrize("text", ['"a","b"\n1,2\n3', '"a"\nx\n', '"a"\n1\n"'])
def test_a_damaged_table_is_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(UserError, match=r"file\.csv.*delete its folder and run the command again"):
        read_table(put(tmp_path, text))


def test_long_cells_are_read(tmp_path: Path) -> None:
    table = pd.DataFrame({"prompt": ["x" * 200_000, "with\rreturn"], "value": [1, 2]})
    write_table(tmp_path / "t.csv", table)
    pd.testing.assert_frame_equal(read_table(tmp_path / "t.csv"), table)
    assert read_frame(tmp_path / "t.csv")["prompt"].tolist() == table["prompt"].tolist()
