"""Files: a digest follows its file, JSON is what every reader takes, and a full disk is one sentence, whoever was
writing."""

import ast
import errno
import json
import math
import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import save_file

import tdattr
import tdattr.search_path  # which registers what configs ask for
from tdattr import files
from tdattr.errors import UserError
from tdattr.files import digest, digest_once, expand, reserve, to_json, write_json, writing

PACKAGE = Path(tdattr.__file__).parent
LIMIT = 1 << 16  # bytes: larger files are refused, as on a full disk
VALUES = np.ones(LIMIT, np.float32)


@pytest.fixture
def limited() -> Iterator[None]:
    """No file grows beyond ``LIMIT``."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(
    ("given", "name"), [(2024, "2024"), (1.5, "1.5"), ("~/a", f"{Path.home()}/a"), (Path("b"), "b")]
)
def test_a_name_that_yaml_takes_for_a_number_is_a_path(given: Any, name: str) -> None:
    assert expand(given) == Path(name)


def test_so_is_a_folder_of_runs() -> None:
    for runs, meant in ((2024, "2024"), ("~/x", f"{Path.home()}/x")):
        assert OmegaConf.create({"runs": runs, "dir": "${expanduser:${runs}}"}).dir == meant


def save_text(path: Path) -> None:
    path.write_text("1 " * LIMIT)


def save_table(path: Path) -> None:
    pd.DataFrame({"value": VALUES}).to_csv(path)


def save_array(path: Path) -> None:
    np.save(path, VALUES)


def save_tensor(path: Path) -> None:
    save_file({"values": torch.from_numpy(VALUES)}, path)


def save_map(path: Path) -> None:
    np.lib.format.open_memmap(path, "w+", np.float32, VALUES.shape)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("save", [save_text, save_table, save_array, save_tensor, save_map])
def test_a_full_disk_is_one_sentence(save: Callable[[Path], None], tmp_path: Path, limited: None) -> None:
    with (
        pytest.raises(UserError, match=rf"in {tmp_path}: make room there and run .* resumes, or .* paths.outputs=…\.$"),
        writing(tmp_path),
    ):
        save(tmp_path / "x.npy")


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="not on this system")
def test_the_device_that_is_always_full(tmp_path: Path) -> None:
    for save in (save_text, save_table):
        with pytest.raises(UserError, match=f"^No space left on device in {tmp_path}: "), writing(tmp_path):
            save(Path("/dev/full"))


def test_the_folder_that_is_full_is_named(tmp_path: Path) -> None:
    """The system's temporary folder is not mended by another ``paths.outputs``."""
    elsewhere, below = "/somewhere/tmp/x", str(tmp_path / "stage" / "y")
    for path, expected in ((elsewhere, r"in /somewhere/tmp: .* resumes\.$"), (below, r"in .*/stage: .* paths.outputs")):
        with pytest.raises(UserError, match=expected), writing(tmp_path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)


@pytest.mark.parametrize("error", [OSError(errno.EACCES, "no"), OSError("other"), ValueError("os error 28")])
def test_other_errors_stay_what_they_are(error: Exception, tmp_path: Path) -> None:
    with pytest.raises(type(error)) as caught, writing(tmp_path):
        raise error
    assert caught.value is error


def test_space_is_reserved_before_it_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.write(b"begin")
        file.truncate(1 << 20)
    assert path.stat().st_blocks * 512 < 1 << 20
    reserve(path)
    assert path.stat().st_blocks * 512 >= 1 << 20 == path.stat().st_size
    assert path.read_bytes().startswith(b"begin\0")

    def refuse(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    with pytest.raises(OSError, match="No space left") as caught:
        reserve(path)
    assert caught.value.filename == str(path)


def test_space_is_reserved_page_by_page_where_the_system_has_no_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.write(b"begin")
        file.truncate(10 * files.PAGE)
    content = path.read_bytes()
    monkeypatch.delattr(os, "posix_fallocate")
    reserve(path)
    assert path.stat().st_blocks * 512 >= 10 * files.PAGE and path.read_bytes() == content


def test_a_digest_is_read_once_and_follows_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, moved = tmp_path / "a", tmp_path / "b"
    path.write_text("one")
    expected = digest_once(path)
    assert expected == digest(path)
    path.rename(moved)
    monkeypatch.setattr(files, "digest", lambda path: "read again")
    assert digest_once(moved) == expected
    moved.write_text("other")
    assert digest_once(moved) == "read again"


def test_json_is_replaced_in_one_step(tmp_path: Path, limited: None) -> None:
    path = tmp_path / "summary.json"
    write_json(path, {"a": 1})
    with pytest.raises(UserError, match="make room"):
        write_json(path, ["long"] * LIMIT)
    assert path.read_text() == '{\n  "a": 1\n}'


def refuse_constant(constant: str) -> None:
    """For a reader that takes JSON by its standard."""
    raise AssertionError(f"{constant} is no JSON")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_null_at_any_depth(value: float, tmp_path: Path) -> None:
    content = {"a": value, "b": [1.5, (value, {"c": value})], "d": "nan", "e": True, "f": 3}
    expected = {"a": None, "b": [1.5, [None, {"c": None}]], "d": "nan", "e": True, "f": 3}
    assert json.loads(to_json(content), parse_constant=refuse_constant) == expected
    write_json(tmp_path / "x.json", content)
    assert json.loads((tmp_path / "x.json").read_text(), parse_constant=refuse_constant) == expected


def test_no_json_file_is_written_that_could_hold_nan() -> None:
    """``json.dumps`` alone writes NaN, which other readers refuse: it is for what is digested."""

    def calls(node: ast.AST, name: str) -> list[ast.Call]:
        nodes = (part for part in ast.walk(node) if isinstance(part, ast.Call))
        return [part for part in nodes if isinstance(part.func, ast.Attribute) and part.func.attr == name]

    wrong = [
        f"{path.relative_to(PACKAGE)}:{write.lineno}"
        for path in PACKAGE.rglob("*.py")
        for write in calls(ast.parse(path.read_text()), "write_text")
        for dumped in calls(write, "dumps")
        if "allow_nan" not in {keyword.arg for keyword in dumped.keywords}
    ]
    assert wrong == []
    assert not [path for path in PACKAGE.rglob("*.py") if "json.dump(" in path.read_text()]
