"""What the documentation shows works: every command composes or is understood, every block of Python runs.

A block is left out where the line above it says why: ``<!-- not tested: REASON -->``.
"""

import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

import tdattr
from tdattr import explain
from tdattr.doctor import arguments as doctor
from tdattr.errors import UserError
from tdattr.inventory import command as inventory
from tdattr.overrides import choose_loggers, is_override
from tdattr.report import arguments as report
from tdattr.sweeps import command as sweeps
from tests.conftest import CONF
from tests.sweep_jobs import jobs

ROOT = CONF.parent
TOP = [ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "CHANGELOG")]
PAGES = [*TOP, *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^(<!-- not tested: \S.*-->\n)?( *)```(sh|python)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
COMPOSED = {
    "tdattr": "config",
    "tdattr-prepare": "prepare",
    "tdattr-base": "base",
    "tdattr-bank": "build_bank",
    "tdattr-groups": "noisy_groups",
}
PARSED: dict[str, Callable[[list[str]], object]] = {
    "tdattr-doctor": doctor.parse,
    "tdattr-explain": explain.read_request,
    "tdattr-report": report.parse,
    "tdattr-artifacts": inventory.parse,
    "tdattr-sweep": sweeps.parse,
}
ELSEWHERE = {".", "cp", "eval", "git", "mkdir", "pip", "pre-commit", "wandb", "tensorboard"}  # of no concern here
SMALL = ["dataset=digits", "train.steps=4", "train.epoch_steps=4", "train.warmup_steps=1", "diffusion.steps=2",
         "queries.attributed=3", "queries.controls=2", "protocol.k=5", "trainer.threads=1"]  # fmt: skip
TARGETS = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M)


def blocks(page: Path, kind: str) -> Iterator[str]:
    """The page's blocks of shell commands (sh) or Python, but for those that say why they are not tested."""
    for left_out, _, language, code in BLOCK.findall(page.read_text()):
        if language == kind and not left_out:
            yield code


def commands(page: Path) -> Iterator[list[str]]:
    """The words of each command in the page's blocks, without assignments before them."""
    for block in blocks(page, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            for command in re.split("&&|; ", f" {line}".partition(" #")[0]):  # what it prints may hold quotes
                words = shlex.split(command)
                while words and re.fullmatch(r"[A-Z_]+=.*", words[0], re.S):
                    words = words[1:]
                if words:
                    yield words


def finds_configs_of_its_own(words: list[str]) -> bool:
    """Whether a command looks for configs that are not here."""
    return any("searchpath" in word or "--config-dir" in word for word in words)


def check_composes(program: str, words: list[str], seen: set[tuple[str, ...]]) -> None:
    """Every job of a command composes that is not in ``seen``; those with a Stable Diffusion have what it needs."""
    for job in jobs(choose_loggers(filter(is_override, words))):
        if (program, *job) in seen:
            continue
        seen.add((program, *job))
        cfg = compose(COMPOSED[program], job)
        if cfg.model.name.startswith("sd"):
            assert (cfg.codec.name, cfg.dataset.text.name) == ("vae", "tokens"), job


def check_trainings(words: list[str]) -> None:
    """The trainings that a benchmark is given compose: words that hold the overrides of a method."""
    for word in words:
        if word.startswith("method="):
            compose("config", list(filter(is_override, word.split())))


def check_understood(program: str, words: list[str]) -> None:
    """The command has these options, else it would exit; that the files which it names are not here is no fault."""
    with suppress(UserError):
        PARSED[program](words)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_is_one(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = list(commands(page))
    assert found or page.stem not in ("README", "configuration", "protocols", "start", "choose")
    monkeypatch.chdir(tmp_path)
    seen: set[tuple[str, ...]] = set()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for program, *words in found:
            if program in COMPOSED:
                if not finds_configs_of_its_own(words):
                    check_composes(program, words, seen)
            elif program in PARSED:
                check_understood(program, words)
            elif program == "make":
                assert {word for word in words if "=" not in word} <= set(TARGETS), words
            elif program == "python" and words[0] == "-m":
                assert find_spec(words[1]) is not None, words
            elif program == "python" or "/" in program:
                script, *given = words if program == "python" else [program, *words]
                assert (ROOT / script).is_file(), words
                check_trainings(given)
            else:
                assert program in ELSEWHERE, f"{program} is no command that is known here"


PYTHON = [(page, code) for page in PAGES for code in blocks(page, "python")]


@pytest.mark.slow
@pytest.mark.parametrize(("page", "code"), PYTHON, ids=[f"{page.stem}-{n}" for n, (page, _) in enumerate(PYTHON)])
def test_python_runs(page: Path, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an empty folder, with what is composed made small."""

    def compose_small(overrides: list[str]) -> Any:
        kept = [override for override in overrides if not override.startswith("dataset=")]
        return original([*SMALL, *kept, f"paths.outputs={tmp_path / 'outputs'}"])

    original = tdattr.compose
    monkeypatch.setattr(tdattr, "compose", compose_small, raising=False)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, str(page), "exec"), {"__name__": f"documented_{page.stem}"})


def test_there_are_blocks_of_python() -> None:
    assert {page.stem for page, _ in PYTHON} >= {"CONTRIBUTING", "design"}


def test_all_experiments_are_listed() -> None:
    table = (ROOT / "docs" / "configuration.md").read_text()
    [row] = [line for line in table.splitlines() if line.startswith("| `experiment` |")]
    assert {path.stem for path in (CONF / "experiment").glob("*.yaml")} == set(re.findall(r"`(\w+)`", row)[1:])


def test_every_method_has_its_section() -> None:
    """With what it computes, what it takes, when it fails and how to read it."""
    text = (ROOT / "docs" / "methods.md").read_text()
    sections = re.findall(r"^## (`[^\n]*)\n\n(.*?)(?=^## )", text, re.M | re.S)
    named = [name for title, _ in sections for name in re.findall(r"`(\w+)`", title)]
    assert sorted(named) == sorted(path.stem for path in (CONF / "method").glob("*.yaml"))
    for title, section in sections:
        paragraph, formula, cost, failure, sign = section.split("\n- ")
        assert len(paragraph) > 50, title
        assert formula.startswith("Formula: ") and cost.startswith("Cost: ") and sign.startswith("Sign: "), title
        assert " fail" in failure.splitlines()[0], title
