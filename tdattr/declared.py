"""What is wrong with a value by what the source of its class declares, said before the class is imported: most need
torch, whose import takes longer than all else before such an error."""

import ast
import logging
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, is_dataclass, make_dataclass
from functools import cache
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import new_class
from typing import Any

from omegaconf import MISSING, DictConfig, OmegaConf

from tdattr.configs import UnknownSetting, construct, typed
from tdattr.errors import UserError
from tdattr.overrides import explain_unknown, parse

log = logging.getLogger(__name__)
TOP = "tdattr.pipeline.open.TopConfig"  # the single values at the top of a config
PLAIN = {"dataset": "tdattr.pipeline.dataset.DatasetConfig"}  # the classes of nodes without a _target_
# modules that are imported, as they are loaded already or nearly so
LIGHT = ("abc", "typing", "dataclasses", "collections.abc", "pathlib", "tdattr.configs", "tdattr.ranges")
AUTO, RECIPE = "auto", "dataset.recipe"  # a number that is derived later, and the node that asks for it


class UndeclaredError(Exception):
    """What the source of a module does not say by itself."""


def check_values(cfg: DictConfig, overrides: Iterable[str]) -> None:
    """Raise UserError where a node that one of the overrides changes has a value that its class does not take: an
    unknown setting, a wrong type or choice, a number out of range. What a class itself refuses, or what its source does
    not show, is said once it is imported."""
    keys = [override.package or override.key_or_group for override in map(parse, overrides)]
    for name in dict.fromkeys(re.split("[./]", key)[0] for key in keys):
        try:
            check_node(cfg, name)
        except UnknownSetting as error:
            raise UserError(explain_unknown(error, cfg)) from error
        except UserError:
            raise
        except Exception as error:  # the import decides: a class may be written in any way that Python has
            log.debug("Nothing can be said of %s before its class is imported: %r", name, error)


def check_node(cfg: DictConfig, name: str) -> None:
    """The same of one node, or of a single value at the top. Raises any other exception where nothing can be said of it
    yet."""
    node = cfg.get(name)
    values = OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
    if not isinstance(values, dict):
        top = declare(TOP)
        if name in top.__annotations__:
            kind = make_dataclass(top.__name__, [(name, top.__annotations__[name])])
            typed(kind, {name: values}, "", declare)
    elif name in PLAIN:
        typed(declare(PLAIN[name]), values, name, declare)
    elif "_target_" in values and not {MISSING, *find_derived(cfg)} & set(find_texts(values)):
        construct({str(key): value for key, value in values.items()}, name, None, declare)


def find_derived(cfg: DictConfig) -> set[str]:
    """The values of the recipe in whose place numbers are put before other nodes are read."""
    recipe = OmegaConf.select(cfg, RECIPE)
    return {AUTO} & set(find_texts(OmegaConf.to_container(recipe))) if OmegaConf.is_config(recipe) else set()


def find_texts(value: Any) -> Iterator[Any]:
    """The texts inside of a value."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from find_texts(inner)
    elif isinstance(value, str):
        yield value


def declare(target: str, path: str = "") -> Any:
    """A dataclass with the fields of the one that a dotted name stands for and bases that are declared likewise;
    nothing of what they do. Raises UndeclaredError, also where it does not seem to be one. ``path``: of its node, as
    `tdattr.configs` gives it."""
    module, _, name = target.rpartition(".")
    try:
        declared = read_module(module)[name]
    except KeyError as error:
        raise UndeclaredError(target) from error
    if not isinstance(declared, type) or not is_dataclass(declared):
        raise UndeclaredError(target)
    return declared


@cache
def read_module(name: str) -> "Names":
    """What a module's source defines. Raises UndeclaredError where there is no source."""
    spec = find_spec(name)
    if spec.origin is None or not spec.origin.endswith(".py"):
        raise UndeclaredError(name)
    try:
        return Names(name, ast.parse(Path(spec.origin).read_bytes()))
    except (OSError, SyntaxError) as error:
        raise UndeclaredError(name) from error


def find_spec(name: str) -> ModuleSpec:
    """Where a module lies, whose packages are not imported to find it. Raises UndeclaredError."""
    if (loaded := sys.modules.get(name)) is not None and loaded.__spec__ is not None:
        return loaded.__spec__
    package = name.rpartition(".")[0]
    path = find_spec(package).submodule_search_locations if package else None
    spec = PathFinder.find_spec(name, path)
    if spec is None:
        raise UndeclaredError(name)
    return spec


class Names:
    """The names that the top level of a module defines, each evaluated once it is asked for."""

    def __init__(self, module: str, tree: ast.Module) -> None:
        self.module = module
        self.statements: dict[str, ast.stmt] = {}
        self.imported: dict[str, tuple[str, str]] = {}
        self.values: dict[str, Any] = {}
        for statement in tree.body:
            if isinstance(statement, ast.ClassDef):
                self.statements[statement.name] = statement
            elif isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
                self.statements[statement.targets[0].id] = statement
            elif isinstance(statement, ast.ImportFrom) and statement.module and not statement.level:
                for alias in statement.names:
                    self.imported[alias.asname or alias.name] = (statement.module, alias.name)
            elif isinstance(statement, ast.Import):
                light = [alias for alias in statement.names if alias.name in LIGHT and "." not in alias.name]
                self.values |= {alias.asname or alias.name: import_module(alias.name) for alias in light}

    def __getitem__(self, name: str) -> Any:
        if name not in self.values:
            self.values[name] = self.define(name)
        return self.values[name]

    def define(self, name: str) -> Any:
        """The value of a name. Raises KeyError where there is none."""
        if name in self.imported:
            module, original = self.imported[name]
            if f"{module}.{original}" in LIGHT:
                return import_module(f"{module}.{original}")
            return getattr(import_module(module), original) if module in LIGHT else read_module(module)[original]
        statement = self.statements[name]
        if isinstance(statement, ast.ClassDef):
            return self.define_class(statement)
        assert isinstance(statement, ast.Assign)
        return self.evaluate(statement.value)

    def define_class(self, statement: ast.ClassDef) -> type:
        """A class of the same name and bases, with the fields alone. Raises UndeclaredError for one with another
        decorator than ``dataclass``."""
        content: dict[str, Any] = {"__module__": self.module, "__annotations__": {}}
        for line in statement.body:
            if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and not is_class_variable(line):
                content["__annotations__"][line.target.id] = self.evaluate(line.annotation)
                if line.value is not None:
                    content[line.target.id] = self.evaluate(line.value)
        bases = tuple(map(self.evaluate, statement.bases))
        declared = new_class(statement.name, bases, exec_body=lambda names: names.update(content))
        for mark in statement.decorator_list:
            if self.evaluate(mark.func if isinstance(mark, ast.Call) else mark) is not dataclass:
                raise UndeclaredError(f"{self.module}.{statement.name}")
            declared = self.evaluate(mark)(declared)
        return declared

    def evaluate(self, expression: ast.expr) -> Any:
        """The value of an expression of this module. Raises UndeclaredError."""
        code = compile(ast.Expression(expression), self.module, "eval")
        try:
            return eval(code, {}, self)  # type: ignore[arg-type]  # a mapping is enough
        except Exception as error:  # whatever it asks for that only the module itself has
            raise UndeclaredError(self.module) from error


def is_class_variable(line: ast.AnnAssign) -> bool:
    """Whether a line of a class is no field."""
    return any(isinstance(word, ast.Name) and word.id == "ClassVar" for word in ast.walk(line.annotation))
