"""Annotations checked at run time: the shapes and types of what tdattr's functions are given and return."""

from collections.abc import Callable
from functools import cache, reduce
from operator import or_
from types import UnionType
from typing import Any, Protocol, Union, get_args, get_origin

from beartype import BeartypeConf, beartype
from jaxtyping import install_import_hook

CONFIG = BeartypeConf(is_pep484_tower=True)  # an int is a float


def loosened(hint: Any) -> Any:
    """The annotation with ``Any`` for protocols, which can be checked by mypy alone."""
    if isinstance(hint, type) and Protocol in hint.__bases__:
        return Any
    if isinstance(hint, UnionType) or get_origin(hint) is Union:
        return reduce(or_, (loosened(part) for part in get_args(hint)))
    if get_origin(hint) in (list, tuple, dict):
        return get_origin(hint)[tuple(loosened(part) for part in get_args(hint))]
    return hint


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """``beartype``, for what can be checked; it prepares the checks at the first call, as most functions have none."""

    @cache
    def check() -> Callable[..., Any]:
        function.__annotations__ = {name: loosened(hint) for name, hint in function.__annotations__.items()}
        return beartype(conf=CONFIG)(function)

    return lambda *arguments, **named: check()(*arguments, **named)


def check_annotations() -> None:
    """From now on modules of tdattr are imported with their annotations checked."""
    install_import_hook("tdattr", "tests.shapes.checked")
