"""Files of prompts: what they hold, and what is no such file."""

import json
from pathlib import Path

import pytest

from tdattr.data.prompt_file import read_prompt_file
from tdattr.errors import UserError

LINES = [
    {"style": "Cubism", "object": "Sea", "prompt": "An artwork of  Sea, with a, b", "descriptors": ["a", "b"]},
    {"style": "Dadaism", "object": "Sea", "prompt": "An artwork of Sea, with c", "source": "eval"},
    {"style": "Cubism", "object": "Cats", "prompt": "An artwork of Cats"},
]


def write(folder: Path, text: str, name: str = "prompts.jsonl") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_one_a_line(tmp_path: Path) -> None:
    path = write(tmp_path, "a cat \nein Kätzchen\r\n子猫", "prompts.txt")
    assert [row["prompt"] for row in read_prompt_file(path, {})] == ["a cat", "ein Kätzchen", "子猫"]


@pytest.mark.parametrize("name", ["prompts.txt", "prompts.jsonl"])
def test_files_of_windows_say_the_same(name: str, tmp_path: Path) -> None:
    """A byte order mark, and two characters at the end of each line."""
    prompts = ["ein Kätzchen", "a cat"]
    lines = prompts if name.endswith("txt") else [json.dumps({"prompt": p}, ensure_ascii=False) for p in prompts]
    path = tmp_path / name
    path.write_bytes(("\ufeff" + "\r\n".join([*lines, ""])).encode())
    assert [row["prompt"] for row in read_prompt_file(path, {})] == prompts


def test_lines_of_json_keep_what_is_known_of_a_prompt(tmp_path: Path) -> None:
    path = write(tmp_path, "\n".join(map(json.dumps, LINES)) + "\n")
    first, second, third = read_prompt_file(path, {})
    assert first == LINES[0] | {"prompt": "An artwork of Sea, with a, b", "descriptors": "a, b"}
    assert second["source"] == "eval" and "descriptors" not in third
    chosen = read_prompt_file(path, {"style": ["Cubism"]})
    assert [row["object"] for row in chosen] == ["Sea", "Cats"]
    assert len(read_prompt_file(path, {"style": ["Cubism"], "object": ["Cats"]})) == 1


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("prompts.txt", "a\n\nb\n", r"line 2, is empty: take it out, or write a prompt on each line"),
        ("prompts.txt", "", r"prompts\.txt holds no prompt: write"),
        ("prompts.jsonl", '{"prompt": "a"}\n\n{"prompt": "b"}\n', r"line 2, is empty"),
        ("prompts.jsonl", '{"prompt": "a"}\n{"text": "b"}\n', r"line 2, holds no prompt: write"),
        ("prompts.jsonl", '{"prompt": "a"}\n["b"]\n', r"line 2, holds no prompt"),
        ("prompts.jsonl", '{"prompt": " "}\n', r"line 1, holds no prompt"),
        ("prompts.jsonl", "a cat\n", r"line 1, is not JSON"),
    ],
)
def test_what_is_no_prompt_is_one_sentence(name: str, text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        read_prompt_file(write(tmp_path, text, name), {})


def test_a_file_or_a_choice_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^queries\.prompts: .*nowhere\.txt does not exist: write"):
        read_prompt_file(tmp_path / "nowhere.txt", {})
    path = write(tmp_path, "\n".join(map(json.dumps, LINES)))
    with pytest.raises(UserError, match=r"^queries\.where names kind, which no line of .* has"):
        read_prompt_file(path, {"kind": ["a"]})
    with pytest.raises(
        UserError, match=r"^queries\.where names the style 'Fauvism', which no line of .* has: did you mean 'Cubism'\?$"
    ):
        read_prompt_file(path, {"style": ["Cubism", "Fauvism"]})
    with pytest.raises(UserError, match=r"holds no prompt that queries\.where leaves"):
        read_prompt_file(path, {"style": ["Dadaism"], "object": ["Cats"]})
