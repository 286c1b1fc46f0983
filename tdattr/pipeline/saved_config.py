"""The config of a run as its folder holds it: with what was decided for what was left open, and with paths that name
the same files from any folder."""

import os
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from tdattr.data.groups import SUFFIXES
from tdattr.files import expand
from tdattr.pipeline.attribute import settle
from tdattr.pipeline.workspace import Workspace

PATHS = ("queries.images", "queries.captions", "queries.prompts")  # settings that are paths
NAMES = ("root", "default_root", "path", "checkpoint")  # of settings that are paths wherever they stand
PERHAPS = ("weights", "clip")  # of settings that are paths where a file or folder has that name, else ids of a hub
GROUPS = "dataset.groups"  # a path where it ends like a manifest, else a field of the items
NOT_PATHS = ("weights", "dataset.recipe.weights")  # which of the weights of a training count


def save_config(ws: Workspace, path: Path) -> dict[str, Any]:
    """Write the composed config: what the method left open as it was decided, by which a report compares runs, and
    absolute paths, so that a report can be made, and the run repeated, from anywhere. Gives what it holds."""
    saved = OmegaConf.create(OmegaConf.to_container(ws.cfg, resolve=True))
    assert isinstance(saved, DictConfig)
    put_decided(saved.method, ws.method, settle(ws, ws.method))
    for name in list_paths(saved):
        value = OmegaConf.select(saved, name)
        OmegaConf.update(saved, name, str(expand(value).absolute()))
    OmegaConf.save(saved, path)
    values = OmegaConf.to_container(saved)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def list_paths(cfg: DictConfig) -> Iterator[str]:
    """The dotted names of all values of a resolved config that are paths."""
    for name, value in list(list_values(OmegaConf.to_container(cfg), "")):
        setting = name.partition("[")[0]
        last = setting.rpartition(".")[2]
        if value in (None, "") or isinstance(value, bool) or setting in NOT_PATHS:
            continue
        certain = setting in PATHS or setting.startswith("paths.") or last in NAMES
        perhaps = last in PERHAPS or (setting == GROUPS and expand(value).suffix.lower() in SUFFIXES)
        if certain or (perhaps and os.path.exists(expand(value))):
            yield name


def list_values(node: Any, name: str) -> Iterator[tuple[str, Any]]:
    """The single values in nested dictionaries and lists, under names such as ``queries.images[0]``."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from list_values(value, f"{name}.{key}" if name else str(key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from list_values(value, f"{name}[{index}]")
    else:
        yield name, node


def put_decided(node: DictConfig, given: Any, decided: Any) -> None:
    """Put into the node of an object, or of a dictionary, those of its values that were decided otherwise than given;
    one that the node leaves to a default of the class stays there."""
    before, after = (
        value if isinstance(value, dict) else {entry.name: getattr(value, entry.name) for entry in fields(value)}
        for value in (given, decided)
    )
    for name in before.keys() & after.keys() & node.keys():
        if isinstance(node[name], DictConfig):
            put_decided(node[name], before[name], after[name])
        elif before[name] != after[name]:
            node[name] = after[name]
