"""Dependencies point one way: nothing imports from a layer above its own, or from a neighbour in the same one; and what
takes seconds to import is imported where it is used."""

import ast
import re
import subprocess
import sys
from itertools import permutations
from pathlib import Path

import pytest

from tests.conftest import CONF
from tests.heavy import HEAVY

PACKAGE = Path(__file__).parents[1] / "tdattr"
LAYERS = [  # from the ground up; what stands in one line does not know of each other
    [
        "errors",
        "jobs",
        "ids",
        "image_bytes",
        "seeding",
        "schedules",
        "run_status",
        "recorder",
        "interim",
        "plan_notice",
    ],
    ["progress", "pictures", "wording"],
    ["costs", "files", "locks", "ranges"],
    ["stopwatch"],
    ["checkpoints", "configs", "experiments", "integrity", "pretrained", "rows", "tables", "unfinished"],
    ["joint"],
    ["store"],
    ["scores", "queries", "search_path"],
    ["networks", "data", "loggers", "overrides", "identity"],
    ["codecs", "diffusion", "features", "counterfactuals", "base_model", "composition"],
    ["training", "metrics"],
    ["scoring", "unlearning", "metagradients"],
    ["methods", "protocols"],
    ["report", "pipeline", "inventory"],
    ["library", "completion", "planning", "declared", "own_model", "replay", "bank"],
    ["schemas"],
    ["doctor"],
    ["cli"],
    ["sweeps", "explain"],
]
RANKS = {name: rank for rank, names in enumerate(LAYERS) for name in names}


def part(module: str) -> str:
    """The package or module directly in ``tdattr`` that a dotted name belongs to."""
    return module.split(".")[1]


def imports(path: Path) -> set[str]:
    """The dotted names of everything of ``tdattr`` that a file imports, wherever in it, but for annotations alone."""
    tree = ast.parse(path.read_text())
    typing_only = {
        id(child)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for child in ast.walk(node)
    }
    names: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "tdattr":
            names |= {f"tdattr.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
    return {name for name in names if name.startswith("tdattr.")}


FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_downwards(path: Path) -> None:
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for name in imports(path):
        assert part(name) == own or RANKS[part(name)] < RANKS[own], f"{own} must not import {name}"


def test_every_part_has_a_layer() -> None:
    parts = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in FILES}
    assert parts == set(RANKS)


def test_the_picture_shows_the_layers() -> None:
    """What is in a lower layer stands below in docs/design.svg."""
    picture = (PACKAGE.parent / "docs" / "design.svg").read_text()
    layers = picture[picture.index("The layers:") :]
    heights = {name: int(y) for y, name in re.findall(r'class="name" x="\d+" y="(\d+)">(\w+)<', layers)}
    assert {"codecs", "data", "features", "methods", "cli"} <= heights.keys() <= RANKS.keys()
    for lower, higher in permutations(heights, 2):
        assert RANKS[lower] >= RANKS[higher] or heights[lower] > heights[higher], f"{lower} must stand below {higher}"


def test_a_mistake_in_the_configuration_costs_no_heavy_import() -> None:
    """The classes of config nodes can be imported without what takes seconds; torch alone is an exception."""
    code = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
print(*sys.modules)
"""
    targets = {
        target.rpartition(".")[0]
        for path in CONF.rglob("*.yaml")
        for target in re.findall(r"_target_: (tdattr\.\S+)", path.read_text())
    }
    command = [sys.executable, "-c", code, "tdattr.pipeline.workspace", *sorted(targets)]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert "torch" in loaded and len(targets) > 50
    assert not HEAVY & set(loaded)
