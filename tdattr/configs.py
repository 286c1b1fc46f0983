"""From a config node to the typed object that it describes."""

from dataclasses import fields, is_dataclass, make_dataclass
from typing import Any, Literal, get_args, get_origin

from hydra.errors import HydraException
from hydra.utils import get_class
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tdattr.errors import UserError

# where files lie does not change what is in them
ELSEWHERE = {"root", "default_root", "url", "_target_"}
IDENTIFIED = {"weights", "path"}  # places too, where the class says by itself (``identity``) what is there


def build(node: DictConfig, path: str) -> Any:
    """The dataclass named by the node's ``_target_``, filled with the node's values and checked against its types.

    ``path`` is where the node stands in the config, for messages. Raises UserError for an unknown key, a missing one,
    or a value of the wrong type.
    """
    if not isinstance(node, DictConfig):
        raise UserError(f"{path}={node} must be a group of settings, not a single value.")
    values = OmegaConf.to_container(node, resolve=True)
    assert isinstance(values, dict)
    return constructed({str(key): value for key, value in values.items()}, path)


def constructed(values: dict[str, Any], path: str) -> Any:
    """``build`` from plain values."""
    if "_target_" not in values:
        raise UserError(f"{path} has no _target_: its YAML must name the class that it configures.")
    values = dict(values)
    try:
        cls = get_class(values.pop("_target_"))
    except (HydraException, ImportError, ValueError) as error:
        raise UserError(f"{path}: {first_line(error)}") from error
    if not is_dataclass(cls):
        raise UserError(f"{path}._target_ must name a dataclass, which {cls.__name__} is not.")
    return typed(cls, values, path)


def typed(cls: type, values: Any, path: str) -> Any:
    """An instance of a dataclass from plain values. Fields that are dataclasses themselves are built first, as are
    those whose value names its class with ``_target_``, alone or as the values of a dictionary."""
    if not isinstance(values, dict):
        raise UserError(f"{path}={values} must be a group of settings, not a single value.")
    nested = {f.name: f.type for f in fields(cls) if isinstance(f.type, type) and is_dataclass(f.type)}
    children = {name: typed(kind, values[name], f"{path}.{name}") for name, kind in nested.items() if name in values}
    for name, value in values.items():
        if name not in nested and names_class(value):
            children[name] = constructed(value, f"{path}.{name}")
        elif name not in nested and isinstance(value, dict) and value and all(map(names_class, value.values())):
            children[name] = {key: constructed(node, f"{path}.{name}.{key}") for key, node in value.items()}
    try:
        plain = {key: value for key, value in values.items() if key not in children}
        checked = OmegaConf.to_container(OmegaConf.merge(OmegaConf.structured(schema(cls)), plain))
    except OmegaConfBaseException as error:
        raise UserError(f"{path}.{error.full_key}: {first_line(error)}.") from error
    assert isinstance(checked, dict)
    complete = {str(key): value for key, value in checked.items()} | children
    hints = {entry.name: entry.type for entry in fields(cls)}
    for name, value in complete.items():
        if value == MISSING:
            raise UserError(f"{path}.{name} must be given: it has no default.")
        choices = get_args(hints.get(name)) if get_origin(hints.get(name)) is Literal else ()
        if choices and value not in choices:
            *most, last = map(str, choices)
            raise UserError(f"{path}.{name}={value} is unknown: choose {', '.join(most)} or {last}.")
    return cls(**complete)


def schema(cls: type) -> type:
    """The dataclass with types that OmegaConf knows: a Literal is text to it."""
    if not any(get_origin(entry.type) is Literal for entry in fields(cls)):
        return cls
    types = [(entry.name, str if get_origin(entry.type) is Literal else entry.type, MISSING) for entry in fields(cls)]
    return make_dataclass(cls.__name__, types)


def names_class(value: Any) -> bool:
    """Whether a plain value is the node of an object."""
    return isinstance(value, dict) and "_target_" in value


def first_line(error: Exception) -> str:
    """What went wrong, without the lines about types and keys that OmegaConf adds."""
    return str(error).strip().splitlines()[0]


def described(node: DictConfig) -> dict[str, Any]:
    """The node's resolved values without the paths of files: what an artifact's address is made of."""
    values = OmegaConf.to_container(node, resolve=True)
    assert isinstance(values, dict)
    return {"class": ""} | placeless({str(key): value for key, value in values.items()})


def placeless(values: dict[str, Any]) -> dict[str, Any]:
    """Nested values without the paths of files; a ``_target_`` becomes ``class``."""
    target = values.get("_target_")
    places = ELSEWHERE | (IDENTIFIED if target is not None and hasattr(get_class(target), "identity") else set())
    kept = {
        key: placeless(value) if isinstance(value, dict) else value
        for key, value in values.items()
        if key not in places
    }
    return kept | ({} if target is None else {"class": target})
