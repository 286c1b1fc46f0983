"""What makes a job the same as an earlier run: its config, the files that it names, and the code."""

import errno
import hashlib
import importlib.util
import json
import os
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tdattr.experiments import HOW
from tdattr.files import expand
from tdattr.search_path import CONF

# nodes of the config that change no result; a run that ends before its verdict (`until`) is none that could be taken up
IRRELEVANT = {*HOW, "trainer"} - {"until"}
PRECISIONS = ("precision", "scoring_precision")  # the values of the trainer that do
CALL = re.compile(r"\$\{\s*[\w.]+\s*:")  # of a resolver: what it gives may depend on more than the config
TARGET = "_target_"
PACKAGE = Path(__file__).parent
MEASURES = CONF / "measure"  # configs that a run looks up by name once it is composed
MOST_FILES = 500_000  # that are looked at for one value
BROKEN_LINK = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)  # or a file that was deleted meanwhile
UNDEFINED = (OmegaConfBaseException, OSError, ValueError)


def identify(cfg: DictConfig) -> str | None:
    """The identity of a job with this composed config, Hydra's own node left out; None where it has none: a value of
    the config or a file cannot be read, or nobody knows here what its measures are (`read_measures`). The same config,
    with files of the same names, sizes and times of change, and the same code give the same identity; no data is
    read."""
    try:
        return digest(*plain(cfg))
    except UNDEFINED:
        return None


def plain(cfg: DictConfig) -> tuple[dict[str, Any], dict[str, Any]]:
    """A config as plain values, as it is written and with its interpolations resolved; without irrelevant nodes.

    Raises an OmegaConfBaseException where an interpolation leads nowhere.
    """
    kept = [name for name in map(str, cfg) if name not in (*IRRELEVANT, "hydra")]
    written = OmegaConf.to_container(OmegaConf.masked_copy(cfg, kept), resolve=False)
    resolved = {name: cfg[name] for name in kept}
    plain_resolved = {
        name: OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
        for name, value in resolved.items()
    }
    precision = {name: OmegaConf.select(cfg, f"trainer.{name}") for name in PRECISIONS}
    assert isinstance(written, dict)
    return {str(name): value for name, value in written.items()} | precision, plain_resolved | precision


def digest(written: Mapping[str, Any], resolved: Mapping[str, Any]) -> str:
    """The identity by both forms of a config (`plain`). Raises OSError and ValueError for files that it names."""
    texts = dict(flatten(resolved))
    called = {key: texts[key] for key, value in flatten(written) if isinstance(value, str) and CALL.search(value)}
    targets = {value for key, value in texts.items() if key.endswith(TARGET) and isinstance(value, str)}
    parts = {
        "config": written,
        "called": called,
        "measures": read_measures(resolved.get("metrics", []), resolved.get("measures", {})),
        "files": {value: stamp for value in texts.values() if isinstance(value, str) and (stamp := stamp_files(value))},
        "code": [digest_code(name) for name in sorted({PACKAGE.name, *(name.partition(".")[0] for name in targets)})],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def read_measures(metrics: Any, given: Mapping[str, Any]) -> dict[str, str]:
    """What the package's configs say of the measures that a run names, but for those that its own config holds whole
    (``given``). Raises OSError where a measure's config lies elsewhere, and for ``auto``, which is what is there."""
    names = metrics if isinstance(metrics, list) else [metrics]
    whole = {name for name, settings in given.items() if isinstance(settings, Mapping) and TARGET in settings}
    return {name: (MEASURES / f"{name}.yaml").read_text(encoding="utf-8") for name in names if name not in whole}


def flatten(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested mappings and lists, under dotted names."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from flatten(item, f"{prefix}.{key}")
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from flatten(item, f"{prefix}.{index}")
    else:
        yield prefix, value


@cache
def stamp_files(text: str) -> str | None:
    """What changes with the file that a text names, or with any file in the folder that it names; None where it names
    nothing. Raises ValueError for a folder of too many files."""
    path = expand(text) if text else None
    if path is None or "\0" in text or not path.exists():
        return None
    total = hashlib.sha256()
    for count, (name, facts) in enumerate(list_files(path)):
        if count == MOST_FILES:
            raise ValueError(f"{path} holds more than {MOST_FILES} files")
        total.update(f"{name}\0{facts.st_size}\0{facts.st_mtime_ns}\0".encode(errors="surrogateescape"))
    return total.hexdigest()[:16]


def list_files(path: Path) -> Iterator[tuple[str, os.stat_result]]:
    """A file, or all files below a folder, by their names in it and in one order."""
    if path.is_file():
        yield "", path.stat()
        return
    for folder, folders, files in os.walk(path, followlinks=True):
        folders.sort()
        inner = str(Path(folder).relative_to(path))
        for name in sorted(files):  # as text: paths as objects take three times as long as the file system
            try:
                facts = os.stat(os.path.join(folder, name))
            except OSError as error:
                if error.errno not in BROKEN_LINK:
                    raise
                continue
            yield name if inner == "." else f"{inner}/{name}", facts


@cache
def digest_code(name: str) -> str:
    """A digest of the source of a package or module, tdattr's or one that holds components of a user's own."""
    spec = None if name == PACKAGE.name else importlib.util.find_spec(name)
    origin = PACKAGE / "__init__.py" if name == PACKAGE.name else Path(spec.origin or "") if spec else Path()
    paths = sorted(origin.parent.rglob("*.py")) if origin.name == "__init__.py" else [origin]
    total = hashlib.sha256()
    for path in paths:
        total.update(f"{path.relative_to(origin.parent)}\0".encode())
        total.update(path.read_bytes())
    return total.hexdigest()[:16]
