"""A copy of the code and the configs in a sweep's folder: what was submitted runs, whatever changes meanwhile."""

import importlib.util
import os
import re
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tdattr.search_path import CONF
from tdattr.store import REVISION, revision

CODE = ".code"  # in a sweep's folder
PACKAGE = Path(__file__).parents[1]
PLUGINS = "hydra_plugins/tdattr_*.py"  # beside the package, in a checkout and in a wheel
OWN = ("hydra", "main", "schema")  # providers of configs that are not the user's
TARGET = re.compile(r"^\s*_target_:\s*['\"]?([A-Za-z_]\w*)\.", re.MULTILINE)
INSTALLED = ("site-packages", "dist-packages")  # folders of what is installed, which is not copied


def copy_code(sweep_folder: Path, sources: Iterable[Any]) -> tuple[Path, list[str], str | None]:
    """Copy the package, its configs and those that the user has added (``sources``: ``hydra.runtime.config_sources``)
    into a sweep's folder, and the modules that the latter name by ``_target_``. The copy's folder, the new search path
    of the user's configs, and the revision of the code."""
    code, copied = sweep_folder / CODE, revision()
    copy(PACKAGE, code / PACKAGE.name)
    copy(CONF, code / CONF.relative_to(PACKAGE.parent))
    for plugin in PACKAGE.parent.glob(PLUGINS):
        copy(plugin, code / plugin.relative_to(PACKAGE.parent))
    (code / REVISION).write_text(copied or "", encoding="utf-8")
    searched: list[str] = []
    for source in sources:
        if source.provider in OWN:
            continue
        if source.schema != "file":
            searched.append(f"{source.schema}://{source.path}")
            continue
        target = code / "configs" / str(len(searched))
        copy_configs(Path(source.path).absolute(), target, sweep_folder)
        copy_modules(target, code)
        searched.append(f"file://{target}")
    return code, searched, copied


def copy(source: Path, target: Path) -> None:
    """Copy a file or a folder, without what Python has compiled."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
    elif source.exists():
        shutil.copy2(source, target)


def copy_configs(source: Path, target: Path, sweep_folder: Path) -> None:
    """Copy the configs below a folder, which may also hold all that a user has: not what is hidden, nor the folders in
    which the sweep lies, with those of other runs."""
    target.mkdir(parents=True)
    for place, folders, files in os.walk(source, followlinks=True):
        below = [name for name in folders if not name.startswith(".")]
        folders[:] = [name for name in below if not sweep_folder.is_relative_to(Path(place, name))]
        for name in files:
            if name.endswith(".yaml"):
                copy(Path(place, name), target / Path(place, name).relative_to(source))


def copy_modules(configs: Path, code: Path) -> None:
    """Copy the user's own modules that configs name: those that are not installed."""
    texts = [path.read_text(encoding="utf-8") for path in configs.rglob("*.yaml")]
    for name in sorted({name for text in texts for name in TARGET.findall(text)} - {PACKAGE.name}):
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None or name in sys.stdlib_module_names:
            continue
        origin = Path(spec.origin)
        if any(part in INSTALLED for part in origin.parts):
            continue
        source = origin.parent if origin.name == "__init__.py" else origin
        copy(source, code / source.name)
