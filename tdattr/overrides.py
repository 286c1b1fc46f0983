"""What is wrong with the overrides of a command, in one sentence that says what to write instead."""

import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from difflib import get_close_matches
from os.path import expanduser
from typing import Any

from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig

from tdattr.configs import UnknownSetting
from tdattr.errors import UserError
from tdattr.search_path import CONF, compose_once, composing, load_group

MOST_SUGGESTED = 3
UNTYPED = ("paths", "elbo")  # nodes of plain values, which no class describes
LOGGER = "logger"
LAUNCHER = "hydra/launcher"
SEVERAL = "several"  # the choice of the group logger that holds others


# -- before anything is composed ---------------------------------------------------------------------------------------


def arrange(arguments: Sequence[str]) -> list[str]:
    """The arguments of a command as Hydra takes them: options first, so that they may stand anywhere."""
    overrides = [argument for argument in arguments if is_override(argument)]
    options = [argument for argument in arguments if not is_override(argument)]
    return [*options, "--", *choose_loggers(overrides)] if overrides else options


def is_override(argument: str) -> bool:
    """Whether an argument is neither an option nor an option's value."""
    return argument.startswith("~") or ("=" in argument and not argument.startswith("-"))


def choose_loggers(overrides: Iterable[str]) -> list[str]:
    """The overrides with ``logger=[csv,wandb]`` as the choices that it stands for: Hydra would merge the two nodes."""
    return [written for override in overrides for written in expand_loggers(override)]


def expand_loggers(override: str) -> list[str]:
    """One override, or what it stands for."""
    if not override.startswith(f"{LOGGER}=["):
        return [override]
    try:
        names = parse(override).value()
    except HydraException:
        return [override]  # composing says what is wrong with it
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return [override]
    places = [f"+{LOGGER}@{LOGGER}.loggers.{name}={name}" for name in dict.fromkeys(map(str, names))]
    return [f"{LOGGER}={SEVERAL}", *places] if places else [f"{LOGGER}=none"]


def parse(override: str) -> Override:
    """An override as Hydra reads it. Raises OverrideParseException."""
    return OverridesParser.create().parse_override(override)


# -- of a composed config ----------------------------------------------------------------------------------------------


def compose_bare(hydra: Any) -> DictConfig:
    """What Hydra composes for a command without overrides, whose own node is ``hydra``."""
    name = hydra.job.config_name
    return compose_once(f"{name} bare", hydra.runtime.config_sources, lambda: compose(name, return_hydra_config=True))


def check_overrides(cfg: DictConfig, hydra: Any, bare: DictConfig) -> None:
    """Whether everything in a composed config is a setting, and every choice was made as one. Raises UserError.

    ``hydra``: Hydra's own node of the same composition; ``bare``: of `compose_bare`, the same for all jobs of a sweep.
    What lies deeper is checked when its object is built.
    """
    overrides = [parse(override) for override in hydra.overrides.task]
    deleted = {override.key_or_group for override in overrides if override.is_delete()}
    for group, usual in bare.hydra.runtime.choices.items():
        if usual is not None and not {group} & {*hydra.runtime.choices, *deleted} and not re.search("[@/]", group):
            raise UserError(f"{group} takes one choice, such as {group}={usual}; -m runs one choice after another.")
    choices = list(map(str, hydra.runtime.choices))
    places = {key.partition("@")[2] or key.replace("/", "."): key for key in choices if re.search("[@/]", key)}
    for override in overrides:
        key, value = override.key_or_group, override.value()
        if key in places and isinstance(value, str):
            raise UserError(
                f"{key} is a group of settings, which is chosen by name: write {places[key]}={value} instead of "
                f"{key}={value}."
            )
    for name, path in cfg.paths.items():
        if not path:
            raise UserError(f"paths.{name}={'null' if path is None else repr(path)} must be a folder.")
    for name in find_unknown(cfg, bare):
        known = [other for other in [*choices, *flatten(cfg)] if not f"{other}.".startswith(f"{name}.")]
        raise UserError(no_setting(name, known))


def find_unknown(cfg: DictConfig, bare: DictConfig) -> Iterator[str]:
    """The dotted names of what ``cfg`` holds besides ``bare``, at the top and in the nodes that no class describes."""
    yield from (str(key) for key in cfg if key not in bare and key != "hydra")
    for node in UNTYPED:
        if isinstance(cfg.get(node), DictConfig):
            yield from (f"{node}.{key}" for key in cfg[node] if key not in bare[node])


def flatten(node: DictConfig, prefix: str = "") -> Iterator[str]:
    """The dotted names of all nodes and values; interpolations are not followed."""
    for key, value in node.items_ex(resolve=False):
        name = f"{prefix}{key!s}"
        yield name
        if isinstance(value, DictConfig) and not value._is_none() and not value._is_interpolation():
            yield from flatten(value, f"{name}.")


def no_setting(name: str, known: Iterable[str]) -> str:
    """The sentence for a setting that there is not, with those that may be meant."""
    others = dict.fromkeys(other for other in known if not name.startswith(f"{other}."))
    names = [other for other in others if "@" in other or "@" not in name]
    last = re.split(r"[.@]", name)[-1]
    elsewhere = [other for other in names if other != name and last in (other.split(".")[-1], other.split("@")[0])]
    meant = elsewhere if 0 < len(elsewhere) <= MOST_SUGGESTED else get_close_matches(name, names, 1)
    hint = f"did you mean {' or '.join(meant)}?" if meant else "tdattr --cfg job shows all that there are."
    return f"There is no setting {name}: {hint}"


def explain_unknown(error: UnknownSetting, cfg: DictConfig) -> str:
    """The sentence for a setting that a node of the config does not have: which other choices of its group have it, as
    those of an experiment may, or what may be meant."""
    group, setting = error.path, f"{error.path}.{error.name}"
    options = load_group(group) if group in cfg and "name" in cfg[group] and (CONF / group).is_dir() else {}
    owners = [f"{group}={name}" for name, node in options.items() if isinstance(node, dict) and error.name in node]
    if not owners:
        return str(error)
    which = "it" if len(owners) == 1 else "one of them"
    return (
        f"{setting} is a setting of {' and of '.join(owners)} and not of {group}={cfg[group].name}: choose {which}, or "
        f"leave it out, which ~{setting} does where an experiment sets it."
    )


# -- of what Hydra refuses ---------------------------------------------------------------------------------------------


def explain(error: Exception, overrides: Sequence[str], config_name: str) -> str:
    """The sentence for an exception that Hydra raised while it read or composed those overrides."""
    message = str(error)
    if isinstance(error, OverrideParseException):
        return explain_syntax(error.override)
    if isinstance(error, MissingConfigException) and (match := re.search(r"Could not find '(.+)/(.+?)'", message)):
        options = re.findall(r"^\t(\S+)$", message, re.MULTILINE)
        meant = get_close_matches(match[2], options, 1)
        hint = f"did you mean {meant[0]}? There" if meant else "there"
        return f"There is no {match[1]}/{match[2]}: {hint} are {', '.join(options)}."
    if match := re.match(r"Could not (?:override|delete from config\.) '(.+?)'", message):
        if launchers := find_launchers(overrides, config_name, match[1]):
            which = "it" if len(launchers) == 1 else "one of them"
            return f"{match[1]} is a setting of {' and of '.join(launchers)}: choose {which}, too."
        if (swept := find_swept(overrides, match[1])) is not None:
            return explain_swept(overrides, config_name, match[1], swept)
        known = find_settings(overrides, config_name, match[1])
        if (choice := find_first_choice(overrides, match[1], known)) is not None:
            return f"There is no choice of {match[1]} yet: put a + before it, +{choice}."
        if match[1] in known:
            return f"{match[1]} holds other keys than those that are given: add one with +{match[1]}.KEY=VALUE."
        return no_setting(match[1], known)
    if match := re.match(r"Override (.+?)=.* looks like a config group", message):
        return no_setting(match[1], find_settings(overrides, config_name, match[1]))
    if match := re.match(r"Could not append to config\. An item is already at '(.+?)'", message):
        return f"There is a setting {match[1]} already: leave out the + before it."
    if match := re.match(r"(\S+) appears more than once in the final defaults list", message):
        return f"There is a choice of {match[1]} already: leave out the + before it."
    if match := re.match(r"Ambiguous value for argument '(.+)'", message):
        key, _, value = match[1].partition("=")
        return (
            f"{match[1]} has several values: -m runs one after the other, {key}=[{value}] is a list, and "
            f"{shlex.quote(quote(key, value))} is one text with a comma."
        )
    if message.startswith("Only one of --run"):
        return "Of -m, -r, --cfg, --info and -sc there can be only one: --cfg job shows the config without -m."
    if isinstance(error, (ValueError, TypeError)):
        return explain_choice(overrides) or f"The command line cannot be read: {join_lines(message)}."
    return join_lines(message)


def find_swept(overrides: Sequence[str], name: str) -> Override | None:
    """The override that sweeps over a group which a setting, or a group inside of it, belongs to."""
    place = (name.partition("@")[2] or name).partition(".")[0]
    swept = {o.key_or_group: o for o in filter_readable(overrides) if o.is_sweep_override()}
    return swept.get(place) if place != name else None


def explain_swept(overrides: Sequence[str], config_name: str, name: str, swept: Override) -> str:
    """The sentence for a setting of a group that is swept over: not all of the choices have it, or all do but Hydra
    reads it before there is one."""
    group = swept.key_or_group
    choices = swept.sweep_string_iterator() if isinstance(swept.value(), ChoiceSweep) else ()
    others = [str(override.input_line) for override in filter_readable(overrides) if not override.is_sweep_override()]
    known = {
        f"{group}={choice}": find_settings([*others, f"{group}={choice}"], config_name, name) for choice in choices
    }
    having = [choice for choice, settings in known.items() if name in settings]
    lacking = [choice for choice in known if choice not in having]
    if lacking and not having:
        return no_setting(name, known[lacking[0]])
    if lacking:
        return (
            f"{name} is a setting of {' and of '.join(having)} and not of {' or '.join(lacking)}: run "
            f"{' and '.join(lacking)} in a command without it."
        )
    return (
        f"Hydra reads {name} before it sweeps over {group}, and without {group} there is no such setting: give it in a "
        f"command with one {group}."
    )


def explain_syntax(override: str) -> str:
    """The sentence for an override that Hydra cannot read: how it is quoted, if that mends it."""
    key, equals, value = override.partition("=")
    for written in (f"{key}={expanduser(value)}", quote(key, expanduser(value))) if equals else ():
        if list(filter_readable([written])):
            return (
                f"{override} cannot be read, because Hydra gives a meaning to some of its characters: write "
                f"{shlex.quote(written)}."
            )
    return f"{override!r} is no override: write name=value, for example seed=2."


def quote(key: str, value: str) -> str:
    """An override whose value is one text, whatever its characters; the shell's quotes come on top."""
    return f"{key}={quote_value(value)}"


def quote_value(value: str) -> str:
    """A text as a value, alone or in a list."""
    mark = "'" if '"' in value and "'" not in value else '"'
    return f"{mark}{value.replace(mark, chr(92) + mark)}{mark}"


def filter_readable(overrides: Iterable[str]) -> Iterator[Override]:
    """Those that Hydra can read."""
    for override in overrides:
        with suppress(HydraException):
            yield parse(override)


def explain_choice(overrides: Sequence[str]) -> str | None:
    """The sentence for overrides of which one gives a group something that is no name of a choice; None: none does."""
    with composing():
        loader = GlobalHydra.instance().config_loader()
        for override in filter_readable(overrides):
            options = loader.get_group_options(override.key_or_group)
            if not options or override.is_sweep_override() or isinstance(override.value(), (str, dict)):
                continue
            if "none" in options:
                hint = f"write {override.get_key_element()}=none for none of them"
            elif override.package is not None:
                hint = f"write {override.package}=null for none of them"
            else:
                hint = "leave it out for the usual one"
            return f"{override.input_line} is no choice: choose one of {', '.join(options)}, or {hint}."
    return None


def find_settings(overrides: Sequence[str], config_name: str, besides: str) -> list[str]:
    """The names of all settings and choices under those overrides that choose from a group, ``besides`` one of them."""
    with composing():
        loader = GlobalHydra.instance().config_loader()
        others = [o for o in filter_readable(overrides) if o.get_key_element() != besides]
        chosen = [str(o.input_line) for o in others if loader.get_group_options(o.key_or_group)]
        try:
            cfg = compose(config_name, chosen, return_hydra_config=True)
        except (ConfigCompositionException, ValueError):  # one of the choices is wrong too
            cfg = compose(config_name, return_hydra_config=True)
    if besides.startswith("hydra."):
        return [name for name in flatten(cfg) if name.startswith(f"{besides.rpartition('.')[0]}.")]
    choices = [str(key) for key in cfg.hydra.runtime.choices if not str(key).startswith("hydra/")]
    return [*choices, *(name for name in flatten(cfg) if name.split(".")[0] != "hydra")]


def find_first_choice(overrides: Sequence[str], name: str, known: Sequence[str]) -> str | None:
    """The override that chooses ``name``, a group at the place of a setting where no choice was made so far; None where
    it is another mistake."""
    group, _, place = name.partition("@")
    if place not in known:
        return None
    with composing():
        options = GlobalHydra.instance().config_loader().get_group_options(group)
    given = [override for override in filter_readable(overrides) if override.get_key_element() == name]
    return given[0].input_line if given and options else None


def find_launchers(overrides: Sequence[str], config_name: str, setting: str) -> list[str]:
    """The launchers that have a setting, as one chooses them; none where a command has chosen its launcher."""
    node, _, name = setting.rpartition(".")
    if node != LAUNCHER.replace("/", ".") or any(override.startswith(f"{LAUNCHER}=") for override in overrides):
        return []
    choices = [f"{LAUNCHER}={path.stem}" for path in sorted((CONF / LAUNCHER).glob("*.yaml"))]
    with composing():
        composed = {choice: compose(config_name, [choice], return_hydra_config=True) for choice in choices}
    return [choice for choice, cfg in composed.items() if name in cfg.hydra.launcher]


def join_lines(message: str) -> str:
    """What an exception of Hydra or OmegaConf says, in one line, without its search path and its own bookkeeping."""
    lines = [line.strip() for line in message.split("Config search path")[0].splitlines() if line.strip()]
    return " ".join(line for line in lines if not line.startswith(("full_key:", "object_type=", "reference_type=")))
