"""The JSON schema of a type hint: what a YAML file may hold where a config node has that type."""

import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from tdattr.configs import Node
from tdattr.ranges import Range

Schema = dict[str, Any]
DRAFT = "http://json-schema.org/draft-07/schema#"  # the newest that editors' YAML servers know whole
DEFERRED = "#/definitions/deferred"
DEFINITIONS: Schema = {
    "deferred": {
        "description": "A value that Hydra puts in: ${another.key}, or ??? for one that must be given.",
        "type": "string",
        "pattern": r"^\?\?\?$|\$\{.*\}",
    },
    "defaults": {"description": "The files that this one starts from, Hydra's defaults list.", "type": "array"},
}
BOUNDS = {"least": "minimum", "above": "exclusiveMinimum", "most": "maximum", "below": "exclusiveMaximum"}
PLAIN: dict[Any, Schema] = {
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    str: {"type": ["string", "integer"]},  # a whole number stands for the text of its digits
    Path: {"type": "string"},
    type(None): {"type": "null"},
}


class Definitions:
    """The schemas of classes that others refer to, each made once: of dataclasses, and of the classes that may stand
    where a hint names a base of nodes. ``classes``: all that a ``_target_`` may name; ``comments``: descriptions, by
    the class and the key."""

    def __init__(self, classes: Mapping[str, type], comments: Mapping[type, Mapping[str, str]]) -> None:
        self.classes = classes
        self.comments = comments
        self.made: dict[str, Schema] = dict(DEFINITIONS)

    def value(self, hint: Any) -> Schema:
        """Of a field with that hint: what it says, or a value that Hydra puts in."""
        return {"anyOf": [*self.alternatives(hint), {"$ref": DEFERRED}]}

    def alternatives(self, hint: Any) -> list[Schema]:
        """What a hint allows, a schema each."""
        origin = get_origin(hint)
        if origin in (Union, types.UnionType):
            return [schema for kind in get_args(hint) for schema in self.alternatives(kind)]
        if origin is Annotated:
            kind, *marks = get_args(hint)
            bounds = {key: value for mark in marks if isinstance(mark, Range) for key, value in limits(mark).items()}
            return [schema | bounds for schema in self.alternatives(kind)]
        if origin is Literal:
            return [{"enum": list(get_args(hint))}]
        if origin is list:
            return [{"type": "array", "items": self.value(get_args(hint)[0])}]
        if origin is dict:
            return [{"type": "object", "additionalProperties": self.value(get_args(hint)[1])}]
        if isinstance(hint, type) and issubclass(hint, Node):
            return [{"$ref": self.nodes(hint)}]
        if isinstance(hint, type) and is_dataclass(hint):
            return [{"$ref": self.dataclass(hint)}]
        return [PLAIN[hint]] if hint in PLAIN else [{}]

    def nodes(self, base: type) -> str:
        """A reference to the schema of a node of any class derived from ``base``: its ``_target_`` says which one. A
        class of one's own may have any keys."""
        name = f"any {base.__name__}"
        if name not in self.made:
            self.made[name] = {}  # of which one of its own fields may be
            targets = sorted(target for target, cls in self.classes.items() if issubclass(cls, base))
            self.made[name] = by_target({target: self.dataclass(self.classes[target]) for target in targets})
        return f"#/definitions/{name}"

    def dataclass(self, cls: type) -> str:
        """A reference to the schema of a group of settings with the fields of a dataclass. None is required: a file may
        start from another one."""
        name = f"{cls.__module__}.{cls.__qualname__}"
        if name not in self.made:
            self.made[name] = {}
            hints, comments = get_type_hints(cls, include_extras=True), self.comments.get(cls, {})
            keys = {entry.name: self.value(hints[entry.name]) for entry in fields(cls)}
            described = {key: {"description": comments[key]} if key in comments else {} for key in keys}
            self.made[name] = {
                "description": (cls.__doc__ or "").partition("\n\n")[0].replace("\n    ", " "),
                "type": "object",
                "properties": {"_target_": {"type": "string"}, "defaults": {"$ref": "#/definitions/defaults"}}
                | {key: described[key] | schema for key, schema in keys.items()},
                "additionalProperties": False,
            }
        return f"#/definitions/{name}"


def limits(mark: Range) -> Schema:
    """The bounds of a range, as JSON schemas have them."""
    return {word: getattr(mark, name) for name, word in BOUNDS.items() if getattr(mark, name) is not None}


def by_target(classes: Mapping[str, str]) -> Schema:
    """A node whose ``_target_`` is one of these, and which then has the keys of its class, by reference. Without one it
    starts from another file, and has the keys of any of them."""
    told = {"required": ["_target_"]}
    branches = [
        {"if": told | {"properties": {"_target_": {"const": target}}}, "then": {"$ref": reference}}
        for target, reference in classes.items()
    ]
    derived = {"if": {"not": told}, "then": {"anyOf": [{"$ref": reference} for reference in classes.values()]}}
    target = {"description": "The class that is configured.", "type": "string", "examples": list(classes)}
    return {"type": "object", "properties": {"_target_": target}, "allOf": [*branches, derived] if classes else []}
