"""``tdattr --config RUN/config.yaml``: the command of a run again, and as overrides of it all that its config says and
the command does not: where files lie, and defaults that were others then."""

import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra.errors import HydraException
from omegaconf import OmegaConf, open_dict

from tdattr.composition import compose_command
from tdattr.errors import UserError, first_line
from tdattr.experiments import ITSELF
from tdattr.files import expand
from tdattr.overrides import is_override, parse, quote_value
from tdattr.run_status import HYDRA, OVERRIDES
from tdattr.search_path import CONF

OPTION = "--config"
ASK = f"{OPTION} takes the config.yaml of a run, as in tdattr {OPTION} outputs/runs/RUN/config.yaml"
NODES = ("dataset", "model", "diffusion", "method", "protocol", "queries", "paths")  # which every run has
ROOTS = ("outputs", "data", "weights")  # of the paths, those that the others begin with
DROPPED = ("sweep", "plan")  # how a command was started, which is not repeated
APART = ("logger", "measures", *DROPPED)  # nodes that belong to one folder, or that a run completes
OPEN = ("auto", "???")  # values that a run decides, the same again
ADOPTED = ("diffusion.", "train.lora.")  # where it decides what is null, by a checkpoint
COUNTED = ("queries.attributed", "queries.controls")  # by pictures, seeds, and items that are scored for themselves
EXPLAINED = "queries.explained"


def wants_replay(arguments: Iterable[str]) -> bool:
    """Whether one of the arguments of a command is the option."""
    return any(argument.partition("=")[0] == OPTION for argument in arguments)


def unfold(arguments: Sequence[str]) -> list[str]:
    """The arguments of a command with the overrides that a run's config stands for in place of the option. Raises
    UserError where the option names no such config, or one that this version cannot repeat."""
    rest, paths = [], []
    waiting = iter(arguments)
    for argument in waiting:
        name, equals, value = argument.partition("=")
        if name == OPTION:
            paths.append(value if equals else next(waiting, ""))
        else:
            rest.append(argument)
    if len(paths) != 1 or not paths[0]:
        raise UserError(f"{ASK}, once.")
    return [*repeat(expand(paths[0]), [argument for argument in rest if is_override(argument)]), *rest]


def repeat(path: Path, further: Sequence[str]) -> list[str]:
    """The overrides that compose what a run's config holds, without those for which ``further`` ones make another
    choice."""
    stored, command = read_config(path), read_command(path)
    roots = [write(f"paths.{name}", stored["paths"][name]) for name in ROOTS if name in stored["paths"]]
    given = [*find_sources(path), *(one for one in command if target(one) not in DROPPED), *roots]
    pinned = pin(path, list_settings(stored), compose_settings(path, given), command)
    places = [place for place in map(choose, further) if place is not None]
    return [one for one in [*given, *pinned] if not any(f"{target(one)}.".startswith(f"{p}.") for p in places)]


def pin(path: Path, stored: dict[str, Any], composed: dict[str, Any], command: Sequence[str]) -> list[str]:
    """The overrides that give what was composed the values that are stored. Raises UserError where one of them has a
    setting that the other lacks."""
    for names, lacks in ((stored.keys() - composed.keys(), "lacks"), (composed.keys() - stored.keys(), "has")):
        if names:
            raise UserError(
                f"{path} cannot be repeated exactly, as this version of tdattr {lacks} the setting {min(names)}: it "
                f"was written by another one, or changed; its command was {shlex.join(['tdattr', *command])}."
            )
    itself = stored.get(EXPLAINED) == ITSELF
    counted = {*COUNTED} if stored.get("queries.images") or stored.get("queries.seeds") or itself else set()
    counted |= {EXPLAINED} if itself else set()
    return [
        write(name, value)
        for name, value in stored.items()
        if value != composed[name] and name not in counted and not is_open(name, composed[name])
    ]


def is_open(name: str, value: Any) -> bool:
    """Whether a run decides a setting of that value itself."""
    return value in OPEN or (value is None and name.startswith(ADOPTED))


def read_config(path: Path) -> dict[str, Any]:
    """A run's config. Raises UserError for a file that is none."""
    if not path.is_file():
        raise UserError(f"{path} is no file: {ASK}.")
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (ValueError, yaml.YAMLError) as error:
        raise UserError(f"{path} cannot be read ({first_line(error)}): {ASK}.") from error
    if not isinstance(config, dict) or not all(isinstance(config.get(node), dict) for node in NODES):
        raise UserError(f"{path} is not the config of a run: {ASK}.")
    return config


def read_command(path: Path) -> list[str]:
    """The overrides of a run's command. Raises UserError where they were not kept beside its config."""
    file = path.parent / OVERRIDES
    try:
        return [str(override) for override in yaml.safe_load(file.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError, yaml.YAMLError) as error:
        raise UserError(
            f"{path} cannot be repeated, as its command is not beside it in {OVERRIDES}: name the config in the folder "
            "of the run."
        ) from error


def find_sources(path: Path) -> list[str]:
    """The override by which folders of configs of one's own are found, where the run had some."""
    try:
        runtime = yaml.safe_load((path.parent / HYDRA).read_text(encoding="utf-8"))["hydra"]["runtime"]
        files = [source for source in runtime["config_sources"] if source["schema"] == "file"]
        folders = [source["path"] for source in files if source["provider"] != "main"]
    except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError):
        return []
    return [f"hydra.searchpath=[{','.join(quote_value(f'file://{folder}') for folder in folders)}]"] if folders else []


def compose_settings(path: Path, overrides: Sequence[str]) -> dict[str, Any]:
    """What this version composes for the command of a run. Raises UserError where it does not take that."""
    try:
        cfg = compose_command(overrides).cfg
    except UserError as error:
        raise UserError(f"The command of {path} is not one of this version of tdattr: {error}") from error
    with open_dict(cfg):
        for name in APART:
            cfg.pop(name, None)
    return list_settings(OmegaConf.to_container(cfg, resolve=True))


def list_settings(config: Any, name: str = "") -> dict[str, Any]:
    """The values of a config under dotted names; lists, and dictionaries without a key, are values."""
    if not isinstance(config, dict) or not config:
        return {name: config}
    settings: dict[str, Any] = {}
    for key, value in config.items():
        if name or key not in APART:
            settings |= list_settings(value, f"{name}.{key}" if name else str(key))
    return settings


def target(override: str) -> str:
    """The dotted name of what an override changes, a setting or the node of a choice."""
    key = override.lstrip("+~").partition("=")[0]
    return (key.partition("@")[2] or key).replace("/", ".")


def choose(override: str) -> str | None:
    """The node for which an override makes another choice; None where it sets a value."""
    try:
        group = str(parse(override).key_or_group)
    except HydraException:  # composing says what is wrong with it
        return None
    return target(override) if (CONF / group).is_dir() else None


def write(name: str, value: Any) -> str:
    """The override that gives a setting its value."""
    return f"{name}={spell(value)}"


def spell(value: Any) -> str:
    """A value as Hydra reads it."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{spell(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(spell, value)) + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return quote_value(value) if isinstance(value, str) else repr(value)
