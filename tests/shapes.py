"""Annotations checked at run time: the shapes and types of what tdattr's functions are given and return.

jaxtyping's own hook checks arguments twice at every call, which took a quarter of the tests' time."""

import ast
import sys
from collections.abc import Callable, Sequence
from copy import copy
from functools import cache, reduce, wraps
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from inspect import isgeneratorfunction
from operator import or_
from types import CodeType, ModuleType, SimpleNamespace, UnionType
from typing import Any, Protocol, Union, get_args, get_origin, get_type_hints

import jaxtyping
from beartype import BeartypeConf, beartype

CONFIG = BeartypeConf(is_pep484_tower=True, violation_type=TypeError)  # an int is a float; what Python raises too
DECORATOR = ast.parse("__import__('tests.shapes').shapes.checked", mode="eval").body  # needs no import in the module


def loosened(hint: Any) -> Any:
    """The annotation with ``Any`` for protocols, which can be checked by mypy alone."""
    if isinstance(hint, type) and Protocol in hint.__bases__:
        return Any
    if isinstance(hint, UnionType) or get_origin(hint) is Union:
        return reduce(or_, (loosened(part) for part in get_args(hint)))
    if get_origin(hint) in (list, tuple, dict):
        return get_origin(hint)[tuple(loosened(part) for part in get_args(hint))]
    return hint


def resolved(hint: Any, names: dict[str, Any]) -> Any:
    """The annotation without names in quotes; ``Any`` where it is in quotes as mypy alone knows what it says."""
    try:
        return get_type_hints(SimpleNamespace(__annotations__={"hint": hint}), names, include_extras=True)["hint"]
    except (NameError, AttributeError, TypeError):
        return Any


def has_shape(hint: Any) -> bool:
    """Whether arrays are in the annotation, whose sizes are compared within a call."""
    if get_origin(hint) is None and isinstance(hint, type):
        return issubclass(hint, jaxtyping.AbstractArray)
    return any(map(has_shape, get_args(hint)))


def checked(thing: Any) -> Any:
    """The function, or the dataclass, with checks of what it is called with and of what it returns, but not of what it
    yields. They are prepared at the first call: most functions are not called.

    A function within a function is made anew by every call of the outer one. It is checked only where one of its
    annotations names an array, and a dataclass in there is not.
    """
    if isinstance(thing, type):
        if "__dataclass_fields__" in vars(thing) and "__init__" in vars(thing):
            thing.__init__ = checked(thing.__init__)
        return thing
    hints = thing.__annotations__
    if not hints or ("<locals>" in thing.__qualname__ and not any(map(has_shape, hints.values()))):
        return thing

    @cache
    def prepare() -> tuple[Callable[..., Any], bool]:
        known = {name: resolved(hint, thing.__globals__) for name, hint in hints.items()}
        thing.__annotations__ = {name: loosened(hint) for name, hint in known.items()}
        started = thing
        if isgeneratorfunction(thing):  # it is given its arguments when it is called, not when it begins to yield
            started = wraps(thing)(lambda *arguments, **named: thing(*arguments, **named))
        return beartype(conf=CONFIG)(started), any(map(has_shape, known.values()))

    @wraps(thing)
    def call(*arguments: Any, **named: Any) -> Any:
        __tracebackhide__ = True
        if jaxtyping.config.jaxtyping_disable:
            return thing(*arguments, **named)
        function, shaped = prepare()
        if not shaped:
            return function(*arguments, **named)
        with jaxtyping.jaxtyped("context"):
            return function(*arguments, **named)

    return call


class Decorate(ast.NodeTransformer):
    """Puts ``checked`` innermost on functions, and outermost on classes."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        node.decorator_list.append(ast.copy_location(copy(DECORATOR), node))
        self.generic_visit(node)
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        node.decorator_list.insert(0, ast.copy_location(copy(DECORATOR), node))
        self.generic_visit(node)
        return node


class Loader(SourceFileLoader):
    """Compiles anew in every process, as Python's cache holds the modules without checks; all takes some seconds."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        tree = Decorate().visit(ast.parse(self.get_data(path), path))
        return compile(ast.fix_missing_locations(tree), path, "exec", dont_inherit=True)


class Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] != "tdattr":
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = Loader(spec.loader.name, spec.loader.path)
        return spec


def check_annotations() -> None:
    """From now on modules of tdattr are imported with their annotations checked."""
    sys.meta_path.insert(0, Finder())
