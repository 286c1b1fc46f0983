"""From a config node to the typed object that it describes, and back to what an artifact's address is made of."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING as NO_DEFAULT
from dataclasses import Field, field, fields, is_dataclass, make_dataclass
from difflib import get_close_matches
from functools import reduce
from importlib import import_module
from operator import or_
from typing import Annotated, Any, ClassVar, Literal, get_args, get_origin, get_type_hints

from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tdattr.errors import UserError, first_line
from tdattr.ranges import alternatives, check_kinds, check_numbers

Find = Callable[[str, str], Any]  # from a _target_ and the path of its node to a class
CONTAINERS: dict[Any, str] = {list: "list", dict: "group"}
CONTENTS = {int: ("whole numbers", "1"), float: ("numbers", "0.5"), str: ("texts", "a"), bool: ("truth values", "true")}


class Settings:
    """The base of dataclasses of which some fields are not read under some values of the others.

    ``added``: fields that came later, each with the value under which all is as before: no address has them then.
    """

    added: ClassVar[Mapping[str, Any]] = {}

    def unread(self) -> Mapping[str, str]:
        """Those that nothing reads now, each with the setting of this object that makes it so, as ``name=value``."""
        return {}


class Node(Settings):
    """The base of everything that a YAML file with a ``_target_`` configures; subclasses are frozen dataclasses.

    ``unaddressed``: fields that results do not depend on, such as labels, and the paths of files whose content is
    known by other means (the fingerprint of a source, the identity of an extractor). ``code_version``: raised
    whenever the class computes something else from the same values, so that results of the code before are not taken.
    """

    unaddressed: ClassVar[tuple[str, ...]] = ("name",)
    code_version: ClassVar[int] = 1

    def describe(self) -> dict[str, Any]:
        """The class and all values that results depend on: what an artifact's address is made of."""
        return describe(self)

    def children(self) -> Iterator[tuple[str, "Node"]]:
        """The nodes inside this one that it uses, but not those inside of them, each with its dotted name."""
        for entry in fields(self):  # type: ignore[arg-type]
            yield from nodes_in(getattr(self, entry.name), entry.name)


class UnknownSetting(UserError):
    """A setting that the class of a node does not have: its ``name`` in the node at ``path``."""

    def __init__(self, path: str, name: str, known: Iterable[str]) -> None:
        meant = get_close_matches(name, list(known), 1)
        hint = f"did you mean {meant[0]}?" if meant else f"there are {', '.join(known)}."
        super().__init__(f"{join(path, name)}: there is no setting {name}, {hint}")
        self.path, self.name = path, name


def nodes_in(value: Any, name: str) -> Iterator[tuple[str, Node]]:
    """A value of that name, if it is a node, or the nodes in a dictionary, list or plain dataclass."""
    if isinstance(value, Node):
        yield name, value
    elif is_dataclass(value) and not isinstance(value, type):
        for entry in fields(value):
            yield from nodes_in(getattr(value, entry.name), f"{name}.{entry.name}")
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from nodes_in(inner, f"{name}.{key}")
    elif isinstance(value, (list, tuple)):
        for index, inner in enumerate(value):
            yield from nodes_in(inner, f"{name}.{index}")


def walk(node: Node, prefix: str = "") -> Iterator[tuple[str, Node]]:
    """All nodes inside ``node``, each with its dotted name."""
    for name, child in node.children():
        yield prefix + name, child
        yield from walk(child, f"{prefix}{name}.")


def describe(value: Any) -> Any:
    """A value as JSON can hold it; of a dataclass, its class and the fields that are not ``unaddressed``, nor ``added``
    and as if they were not there."""
    if is_dataclass(value) and not isinstance(value, type):
        skipped = value.unaddressed if isinstance(value, Node) else ()
        added = value.added if isinstance(value, Settings) else {}
        values = {e.name: getattr(value, e.name) for e in fields(value) if e.name not in skipped}
        told = {name: describe(given) for name, given in values.items() if name not in added or given != added[name]}
        return {"class": name_class(value)} | told
    if isinstance(value, dict):
        return {str(key): describe(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [describe(item) for item in value]
    return value


def name_class(value: Any) -> str:
    """The class of a value, and the version of its code once that was raised."""
    name = f"{type(value).__module__}.{type(value).__qualname__}"
    return f"{name} {value.code_version}" if isinstance(value, Node) and value.code_version > 1 else name


def build(node: Any, path: str, kind: type | None = None) -> Any:
    """The dataclass named by the node's ``_target_``, filled with the node's values and checked against its types.

    ``path`` is where the node stands in the config, for messages; ``kind`` what the class must be derived from. Raises
    UserError for an unknown key, a missing one, a value of the wrong type, one that is none of the choices, and a
    number outside of the field's range (`tdattr.ranges`).
    """
    if not isinstance(node, DictConfig):
        raise UserError(f"{path}={show(node)} must be a group of settings, not a single value.")
    values = OmegaConf.to_container(node, resolve=True)
    assert isinstance(values, dict)
    return construct({str(key): value for key, value in values.items()}, path, kind)


def import_class(target: str, path: str) -> Any:
    """What the ``_target_`` of the node at ``path`` names. Raises UserError where it cannot be imported."""
    module, _, name = target.rpartition(".")
    try:
        return getattr(import_module(module), name)
    except Exception as error:  # whatever the module raises while it is imported
        raise UserError(
            f"{path}._target_={target} cannot be imported ({type(error).__name__}: {first_line(error)}): mind the "
            "spelling, and put a module of your own on PYTHONPATH."
        ) from error


def construct(values: dict[str, Any], path: str, kind: type | None = None, find: Find = import_class) -> Any:
    """``build`` from plain values. ``find`` gives the class that a ``_target_`` at a path names."""
    if "_target_" not in values:
        raise UserError(f"{path} has no _target_: its YAML must name the class that it configures.")
    values = dict(values)
    target = str(values.pop("_target_"))
    cls = find(target, path)
    if not isinstance(cls, type) or not is_dataclass(cls):
        raise UserError(f"{path}._target_ must name a dataclass, which {target.split('.')[-1]} is not.")
    if kind is not None and not issubclass(cls, kind):
        raise UserError(f"{path}._target_ must name a {kind.__name__}, which {cls.__name__} is not.")
    return typed(cls, values, path, find)


def typed(cls: type, values: Any, path: str, find: Find = import_class) -> Any:
    """An instance of a dataclass from plain values. Fields that are dataclasses themselves are built first, as are
    those whose value names its class with ``_target_``, alone or as the values of a dictionary (see `construct`)."""
    if not isinstance(values, dict):
        raise UserError(f"{path}={show(values)} must be a group of settings, not a single value.")
    hints = get_type_hints(cls)  # without ranges
    names = [entry.name for entry in fields(cls)]
    for name in values:
        if name not in names:
            raise UnknownSetting(path, name, names)
    children = {
        name: child(hints.get(name), value, join(path, name), find)
        for name, value in values.items()
        if holds_object(hints.get(name), value)
    }
    plain = {key: value for key, value in values.items() if key not in children}
    for name, value in plain.items():
        check_kinds(hints.get(name), value, join(path, name))
    try:
        structured = OmegaConf.structured(schema(cls, hints, frozenset(children), plain))
        checked = OmegaConf.to_container(OmegaConf.merge(structured, plain))
    except OmegaConfBaseException as error:
        raise UserError(f"{join(path, error.full_key)}: {explain(error, hints, plain, path)}") from error
    assert isinstance(checked, dict)
    complete = {str(key): value for key, value in checked.items()} | children
    ranges = get_type_hints(cls, include_extras=True)
    for name, value in complete.items():
        if value == MISSING:
            raise UserError(f"{join(path, name)} must be given: it has no default.")
        check_choice(hints[name], value, join(path, name))
        check_numbers(ranges[name], value, join(path, name))
    return cls(**complete)


def explain(error: OmegaConfBaseException, hints: Mapping[str, Any], plain: Mapping[str, Any], path: str) -> str:
    """What is wrong with one of the ``plain`` values of the node at ``path``, where OmegaConf does not take it."""
    name = error.full_key or ""
    value, taken = plain.get(name), hints.get(name)
    container = next((kind for kind in alternatives(taken) if get_origin(kind) in CONTAINERS), None)
    if container is None and type(value) in CONTAINERS:
        return f"{json.dumps(value)} must be a single value, not a {CONTAINERS[type(value)]}."
    if container is not None and type(value) not in CONTAINERS:
        kinds = [
            get_args(kind)[0] if get_origin(kind) is Annotated else kind
            for kind in alternatives(get_args(container)[-1])
        ]
        known = [CONTENTS[kind] for kind in kinds if kind in CONTENTS] or [("values", "a")]
        items, sample = " or ".join(name for name, _ in known), known[0][1]
        written = f"[{value or sample}]" if get_origin(container) is list else f"{{name: {sample}}}"
        word = CONTAINERS[get_origin(container)]
        return f"{json.dumps(value)} must be a {word} of {items}, as in {join(path, name)}={written}."
    if isinstance(value, float) and value.is_integer():  # 1e3
        return f"{value} must be a whole number: write {int(value)}."
    also = f"; it may also be {join_choices(literals(taken))}" if literals(taken) and besides_literals(taken) else ""
    return f"{first_line(error)}{also}."


def show(value: Any) -> Any:
    """A value as it is written on the command line."""
    return "null" if value is None else value


def join(path: str, name: str | None) -> str:
    """The dotted name of what stands under a name in a node; ``path`` is empty at the top of the config."""
    return f"{path}.{name}" if path else str(name)


def holds_object(hint: Any, value: Any) -> bool:
    """Whether a plain value is to become an object, or a dictionary of objects."""
    if plain_dataclass(hint) is not None and (value is not None or type(None) not in alternatives(hint)):
        return True
    return names_class(value) or (isinstance(value, dict) and bool(value) and all(map(names_class, value.values())))


def child(hint: Any, value: Any, path: str, find: Find) -> Any:
    """The object, or the dictionary of objects, that a plain value describes."""
    if names_class(value):
        return construct(value, path, node_kind(hint), find)
    if (cls := plain_dataclass(hint)) is not None:
        return typed(cls, value, path, find)
    kind = node_kind(get_args(hint)[1]) if get_origin(hint) is dict else None
    return {key: construct(node, f"{path}.{key}", kind, find) for key, node in value.items()}


def node_kind(hint: Any) -> type | None:
    """What class of nodes a hint asks for; None: any."""
    return next((kind for kind in alternatives(hint) if is_node(kind)), None)


def plain_dataclass(hint: Any) -> type | None:
    """The dataclass that a hint names, alone, or beside None where it is no node; its values need no ``_target_``."""
    kinds = [kind for kind in alternatives(hint) if isinstance(kind, type) and is_dataclass(kind)]
    return next((kind for kind in kinds if kind is hint or not is_node(kind)), None)


def names_class(value: Any) -> bool:
    """Whether a plain value is the node of an object."""
    return isinstance(value, dict) and "_target_" in value


def schema(cls: type, hints: Mapping[str, Any], built: frozenset[str], plain: Mapping[str, Any]) -> type:
    """A dataclass of the fields that are still ``plain`` values, with types that OmegaConf knows."""
    rest = [entry for entry in fields(cls) if entry.name not in built]
    typed_fields = [
        (entry.name, plain_type(hints[entry.name], plain.get(entry.name)), default(entry)) for entry in rest
    ]
    return make_dataclass(cls.__name__, typed_fields)


def default(entry: Field[Any]) -> Any:
    """The default of a field, or what marks one that must be given."""
    if entry.default is not NO_DEFAULT or entry.default_factory is not NO_DEFAULT:
        return field(default=entry.default, default_factory=entry.default_factory)  # type: ignore[call-overload]
    return MISSING


def plain_type(hint: Any, value: Any) -> Any:
    """What OmegaConf is to check in place of a hint: a Literal is to it of the type of its choices, a node or an
    optional dataclass anything. A value beside which choices stand (``float | Literal["auto"]``) is checked as one or
    the other."""
    kinds = alternatives(hint)
    if any(is_node(kind) or holds_nodes(kind) for kind in kinds) or (
        plain_dataclass(hint) is not None and len(kinds) > 1
    ):
        return Any
    choices = literals(hint)
    if choices and besides_literals(hint) and value not in choices:
        return reduce(or_, (kind for kind in kinds if get_origin(kind) is not Literal))
    if choices:
        return type(choices[0]) | None if type(None) in kinds else type(choices[0])
    return hint


def literals(hint: Any) -> list[Any]:
    """The choices that a hint allows; none where it is no Literal."""
    return [choice for kind in alternatives(hint) if get_origin(kind) is Literal for choice in get_args(kind)]


def besides_literals(hint: Any) -> list[Any]:
    """What a hint allows besides choices and None."""
    return [kind for kind in alternatives(hint) if get_origin(kind) is not Literal and kind is not type(None)]


def is_node(kind: Any) -> bool:
    """Whether a hint is a class of nodes."""
    return isinstance(kind, type) and issubclass(kind, Node)


def holds_nodes(kind: Any) -> bool:
    """Whether a hint is a dictionary of nodes."""
    return get_origin(kind) is dict and is_node(get_args(kind)[1])


def check_choice(hint: Any, value: Any, path: str) -> None:
    """Raise UserError where a hint is a Literal, or a node, and the value is no such thing."""
    kinds = alternatives(hint)
    if value is None and type(None) in kinds:
        return
    choices = literals(hint)
    if choices and value not in choices and not besides_literals(hint):
        raise UserError(f"{path}={value} is unknown: choose {join_choices(choices)}.")
    nodes = tuple(kind for kind in kinds if is_node(kind))
    if nodes and not isinstance(value, nodes):
        raise UserError(f"{path}={value} must be a group of settings with a _target_, not a single value.")
    for kind in filter(holds_nodes, kinds):
        for name, inner in value.items() if isinstance(value, dict) else [(None, value)]:
            check_choice(get_args(kind)[1], inner, path if name is None else f"{path}.{name}")


def join_choices(choices: Sequence[Any]) -> str:
    """``a, b or c``."""
    *most, last = map(str, choices)
    return f"{', '.join(most)} or {last}" if most else last
