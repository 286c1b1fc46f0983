"""Metadata as Hugging Face's imagefolder has them: fields, captions, and a sentence for what does not fit."""

import csv
import json
import logging
import os
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from tdattr.data.groups import find_groups
from tdattr.data.image_folder import ImageFolder
from tdattr.data.listing import TOP
from tdattr.errors import UserError
from tests.data.folders import prepared, put, source

NAMES = ["z.png", "Kätzchen/a.png", "dogs/0.png", "dogs/1.png"]
ROWS: list[dict[str, Any]] = [
    {"file_name": "dogs/1.png", "text": 'a "dog",\nlying', "artist": "Ann, jr.", "year": 1990, "sold": True},
    {"file_name": "./dogs/0.png", "text": "NA", "artist": "Bo", "year": 1991, "sold": False},
    {"file_name": "z.png", "text": "=z", "artist": "Ann, jr.", "year": 1990, "sold": False},
    {"file_name": "Ka\u0308tzchen\\a.png", "text": "子猫", "artist": "Größe", "year": None, "sold": True},
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Four images in two sub-folders and beside them."""
    for number, name in enumerate(NAMES):
        put(tmp_path / "raw" / name, number)
    return tmp_path / "raw"


def put_table(path: Path, rows: list[dict[str, Any]]) -> None:
    """The rows as the kind of file that the path ends like."""
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    else:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(dict.fromkeys(name for row in rows for name in row))
            writer.writerows([json.dumps(v) if isinstance(v, bool) else v for v in row.values()] for row in rows)


def folder(root: Path, **values: Any) -> ImageFolder:
    return source(root, condition="none", **{"metadata": "auto", "caption_column": "auto", **values})


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl", "metadata.parquet", "other.jsonl", "apart.parquet"])
def test_columns_become_fields_and_captions(
    root: Path, tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / name if name.startswith("apart") else root / name
    put_table(path, ROWS)
    setting = "auto" if name.startswith("metadata") else str(path) if name.startswith("apart") else name
    with caplog.at_level(logging.INFO):
        data = prepared(folder(root, metadata=setting), tmp_path / "out")
    assert f"{path}: fields artist, year, sold, captions from text" in caplog.messages
    assert data.train.items["name"].tolist() == NAMES
    assert data.train.items["prompt"].tolist() == ["=z", "子猫", "NA", 'a "dog",\nlying']
    assert data.train.items["artist"].tolist() == ["Ann, jr.", "Größe", "Bo", "Ann, jr."]
    assert data.train.items["year"].tolist() == ["1990", "", "1991", "1990"]
    assert data.train.items["sold"].tolist() == ["false", "true", "false", "true"]
    assert {key: ids.tolist() for key, ids in find_groups(data, "artist").items()} == {
        "Ann, jr.": [0, 3], "Bo": [2], "Größe": [1],
    }  # fmt: skip
    assert list(find_groups(data, "sold")) == ["false", "true"] and next(iter(find_groups(data, "group"))) == TOP
    with pytest.raises(UserError, match=r"dataset.groups=year has nothing for 1 of 4 items, the first of them 1"):
        find_groups(data, "year")


def test_tables_in_sub_folders(root: Path, tmp_path: Path) -> None:
    """Paths begin in the folder that a table lies in, and not every table has every column."""
    put_table(root / "metadata.csv", [{"file_name": "z.png", "a": "1"}, {"file_name": "Kätzchen/a.png", "a": "2"}])
    put_table(root / "dogs" / "metadata.jsonl", [{"file_name": "0.png", "b": 3.0}, {"file_name": "1.png", "b": 1e20}])
    data = prepared(folder(root), tmp_path / "out")
    assert data.train.items["a"].tolist() == ["1", "2", "", ""]
    assert data.train.items["b"].tolist() == ["", "", "3.0", "1e+20"] and "prompt" not in data.train.items
    with pytest.raises(UserError, match=r"metadata.csv has no row for 2 images, first dogs/0\.png"):
        next(folder(root, metadata="metadata.csv").examples("train"))
    (root / "metadata.csv").unlink()
    put_table(root / "dogs" / "all.csv", [{"file_name": "../z.png"}, {"file_name": "../Kätzchen/a.png"}, *ROWS[:0]])
    with pytest.raises(UserError, match=r"all.csv has no row for 2 images, first dogs/0\.png"):
        next(folder(root, metadata="dogs/all.csv").examples("train"))


def test_names_that_items_have_already(root: Path, tmp_path: Path) -> None:
    rows = [
        {"file_name": name, "id": number, "name": "x", "group": "g", "prompt_by": "p", "": number}
        for number, name in enumerate(NAMES)
    ]
    put_table(root / "metadata.csv", rows)
    data = prepared(folder(root), tmp_path / "out")
    columns = ["id", "group", "name", "metadata_id", "metadata_name", "metadata_group", "metadata_prompt_by"]
    assert data.train.items.columns.tolist() == columns
    assert data.train.items["id"].tolist() == [0, 1, 2, 3] and data.train.items["name"].tolist() == NAMES
    assert find_groups(data, "metadata_group").keys() == {"g"}
    put_table(root / "metadata.csv", [row | {"metadata_id": 1} for row in rows])
    with pytest.raises(UserError, match="both become metadata_id: rename one"):
        next(folder(root).examples("train"))


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_lists_and_objects_are_left_out(
    root: Path, tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [row | {"boxes": [[1, 2], [3, 4]], "size": {"width": 3}} for row in ROWS]
    put_table(root / f"metadata.{suffix}", rows)
    with caplog.at_level(logging.INFO):
        data = prepared(folder(root), tmp_path / "out")
    assert not {"boxes", "size"} & set(data.train.items.columns)
    assert any(message.endswith("left out: boxes, size (lists or objects)") for message in caplog.messages)


def test_which_column_has_the_captions(root: Path, tmp_path: Path) -> None:
    put_table(root / "metadata.jsonl", [row | {"caption": "c", "title": "t"} for row in ROWS])
    (root / "c.json").write_text(json.dumps(dict.fromkeys(NAMES, "from the file")))
    for number, (values, prompt, field) in enumerate(
        [
            ({}, 'a "dog",\nlying', "caption"),
            ({"caption_column": "title"}, "t", "text"),
            ({"caption_column": None}, None, "text"),
            ({"captions": "c.json"}, "from the file", "text"),
        ]
    ):
        data = prepared(folder(root, **values), tmp_path / str(number))
        assert field in data.train.items and (prompt is not None) == ("prompt" in data.train.items)
        assert prompt is None or data.train.items["prompt"].tolist()[-1] == prompt
    with pytest.raises(UserError, match=r"caption_column=nothing is no column of texts in .*: there are text, artist"):
        next(folder(root, caption_column="nothing").examples("train"))
    assert folder(root, captions="c.json").unread() == {"caption_column": "captions=c.json"}
    assert folder(root, metadata=None).unread() == {"caption_column": "metadata=null"} and not folder(root).unread()


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        (
            "metadata.csv",
            "file,artist\nz.png,a\n",
            r"has no column file_name, its first line holds file, artist: write",
        ),
        ("metadata.csv", "file_name,a\nz.png,1,2\n", r"line 2, has 3 cells instead of 2"),
        ("metadata.csv", "file_name,a,a\nz.png,1,2\n", r"has a column twice"),
        ("metadata.csv", "file_name,a\n,1\n", r"line 2, has no text in the column file_name"),
        ("metadata.csv", "file_name,a\nz.png,1\n./z.png,2\n", r"line 3, is a second row for z\.png: remove one"),
        ("metadata.csv", "file_name,a\nz.png,1\n", r"metadata.csv has no row for 3 images, first Kätzchen/a\.png: add"),
        ("metadata.csv", "", r"has no column file_name, its first line holds nothing"),
        ("metadata.jsonl", '{"file_name": "z.png"}\n[1]\n', r"line 2, holds no JSON object"),
        ("metadata.jsonl", '{"file_name": "z.png"\n', r"line 1, is not JSON"),
        ("metadata.jsonl", '{"file_name": 3}\n', r"line 1, has no text in the column file_name"),
        ("metadata.jsonl", '{"artist": "a"}\n', r"line 1, has no text in the column file_name"),
        ("metadata.parquet", "no Parquet", r"metadata.parquet cannot be read as Parquet \(.+\): write a table"),
    ],
)
def test_tables_that_are_none(root: Path, name: str, content: str, complaint: str) -> None:
    (root / name).write_text(content)
    with pytest.raises(UserError, match=complaint) as caught:
        next(folder(root).examples("train"))
    assert str(root / name) in str(caught.value) and "\n" not in str(caught.value)
    assert next(folder(root, metadata=None).examples("train")).fields["name"] == "z.png"


def test_rows_without_an_image(root: Path) -> None:
    put_table(root / "metadata.csv", [*ROWS, {**ROWS[0], "file_name": "dogs/2.png"}])
    with pytest.raises(UserError, match=r"has 1 row without an image in dataset.source.root, first dogs/2\.png: mend"):
        next(folder(root).examples("train"))


def test_a_parquet_file_without_the_column(root: Path) -> None:
    put_table(root / "metadata.parquet", [{"image": b"x"}])
    with pytest.raises(UserError, match="has no column file_name, there are image: write"):
        next(folder(root).examples("train"))


def test_files_that_are_missing_or_too_many(root: Path) -> None:
    assert folder(root).fingerprint().keys() == {"images"}
    with pytest.raises(UserError, match=r"nowhere.csv is missing: mend dataset.source.metadata=<file>"):
        folder(root, metadata="nowhere.csv").fingerprint()
    with pytest.raises(UserError, match=r"caption_column=title needs metadata, and .* has no metadata.csv, metadata"):
        folder(root, caption_column="title").fingerprint()
    put_table(root / "all.tsv", ROWS)
    with pytest.raises(UserError, match=r"metadata=.*all.tsv is neither a .csv, a .jsonl nor a .parquet file"):
        next(folder(root, metadata="all.tsv").examples("train"))
    put_table(root / "metadata.csv", ROWS)
    put_table(root / "metadata.jsonl", ROWS)
    with pytest.raises(UserError, match=r"raw has metadata.csv and metadata.jsonl: remove one, or set"):
        folder(root).fingerprint()
    assert folder(root, metadata="metadata.csv").fingerprint().keys() == {"images", "metadata"}


def test_changed_metadata_are_another_dataset(root: Path) -> None:
    put_table(root / "metadata.csv", ROWS)
    first = folder(root).fingerprint()
    os.utime(root / "metadata.csv", ns=(1, 1))
    assert folder(root).fingerprint() == first
    put_table(root / "metadata.csv", [row | {"artist": "x"} for row in ROWS])
    assert folder(root).fingerprint()["metadata"] != first["metadata"]
    assert folder(root, metadata=None).fingerprint() == {"images": first["images"]}
