"""The commands in the documentation: every one composes, and those with a Stable Diffusion have what it needs."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from tdattr.overrides import choose_loggers, is_override
from tests.conftest import CONF
from tests.sweep_jobs import jobs

ROOT = CONF.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)


def commands(page: Path) -> Iterator[list[str]]:
    """The overrides of the commands in the page's blocks, but for those that look for configs of one's own."""
    for block in BLOCK.findall(page.read_text()):
        for line in block.replace("\\\n", " ").splitlines():
            for command in re.split("&&|; ", f" {line}".partition(" #")[0]):  # what it prints may hold quotes
                program, *words = shlex.split(command) or [""]
                if program == "tdattr" and not any("searchpath" in word or "--config-dir" in word for word in words):
                    yield choose_loggers(filter(is_override, words))


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_composes(page: Path) -> None:
    found = list(commands(page))
    assert found or page.stem not in ("README", "configuration", "protocols")
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for job in (job for overrides in found for job in jobs(overrides)):
            cfg = compose("config", job)
            if cfg.model.name.startswith("sd"):
                assert (cfg.codec.name, cfg.dataset.text.name) == ("vae", "tokens"), job


def test_all_experiments_are_listed() -> None:
    table = (ROOT / "docs" / "configuration.md").read_text()
    [row] = [line for line in table.splitlines() if line.startswith("| `experiment` |")]
    assert {path.stem for path in (CONF / "experiment").glob("*.yaml")} == set(re.findall(r"`(\w+)`", row)[1:])
