"""Where configs lie: the package's own folder, and what a command adds to Hydra's search path."""

import os
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from pathlib import Path
from typing import Any, TypeVar

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.errors import ConfigCompositionException
from omegaconf import DictConfig, OmegaConf
from yaml import YAMLError

from tdattr.errors import UserError, first_line

HERE = Path(__file__).parent
CONF = HERE / "conf" if (HERE / "conf").is_dir() else HERE.parent / "conf"  # in a wheel, in a checkout
LOCAL = "local"
Made = TypeVar("Made")
BASIC = "hydra_plugins.tdattr_launchers.Basic"
HYDRA = "hydra.conf"  # the package of its own configs
FOLDERS = ("file", "pkg")  # kinds of sources that hold configs as files
composed: dict[tuple[Any, ...], Any] = {}  # see `compose_once`

# of the environment; one that is empty counts as not set, as everywhere in a shell
OmegaConf.register_new_resolver("variable", lambda name, default: os.environ.get(name) or default, replace=True)
OmegaConf.register_new_resolver("share_threads", lambda *given: share_threads(*given), replace=True)
OmegaConf.register_new_resolver("conf", lambda name: str(CONF / name), replace=True)  # a file beside the configs
OmegaConf.register_new_resolver(  # of Hydra's own folders: ~ is not ./~, and YAML takes the folder 2024 for a number
    "expanduser", lambda path: os.path.expanduser(str(path)), replace=True
)


def share_threads(threads: str | None, workers: Any) -> int | None:
    """Of the threads that a launcher gives a job those of each of its workers; None: nobody says how many."""
    if threads is None:
        return None
    return max(1, int(threads) // workers) if isinstance(workers, int) and workers > 0 else int(threads)


def in_sweep(hydra: Any) -> bool:
    """Whether Hydra's own node is that of a job of a sweep, which has a number, in whichever process it runs."""
    return not OmegaConf.is_missing(hydra.job, "num")


def register_open_node(name: str) -> None:
    """Make ``- open_NAME`` in a defaults list the empty node NAME, which takes values of keys that it does not hold."""
    ConfigStore.instance().store(f"open_{name}", DictConfig({name: DictConfig({}, flags={"struct": False})}))


register_open_node("measures")  # before any config is composed


def register_launchers() -> None:
    """Make Hydra's own launcher note what it starts, as the others do, and take in values of one's own for those."""
    Plugins.instance()  # which registers the configs of Hydra's own, once
    ConfigStore.instance().store("basic", {"_target_": BASIC}, "hydra/launcher", provider="tdattr")
    register_local()


def register_local() -> None:
    """Make the files of ``conf/local`` in the working folder choices of the group ``local``, as those of a checkout's
    ``conf/local`` are: values of one's own, such as those of a cluster, which belong to no package. Raises UserError
    for a file that cannot be read."""
    store = ConfigStore.instance()
    store.repo.pop(LOCAL, None)  # of another working folder
    for path in sorted(Path("conf", LOCAL).glob("*.yaml")):
        try:
            store.store(path.stem, OmegaConf.load(path), group=LOCAL)
        except (OSError, ValueError, YAMLError) as error:
            raise UserError(f"{path} cannot be read: {first_line(error)}.") from error


def composing() -> AbstractContextManager[Any]:
    """Hydra with the package's own configs, or as it is where it runs already."""
    running = GlobalHydra.instance().is_initialized()
    return nullcontext() if running else initialize_config_dir(str(CONF), version_base="1.3")


def compose_once(key: str, sources: Iterable[Any], make: Callable[[], Made]) -> Made:
    """What ``make`` composes, or composed before under that key, of the package's configs as they are now: half a
    second of every command of a session. Where ``sources`` has other configs it is always made. Nobody may change it.

    ``sources``: entries of ``hydra.runtime.config_sources``.
    """
    if any(source.schema in FOLDERS and source.path not in (str(CONF), HYDRA) for source in sources):
        return make()
    paths = [os.path.join(folder, name) for folder, _, names in os.walk(CONF) for name in names]
    known = (key, *((path, os.stat(path).st_mtime_ns) for path in paths if os.path.exists(path)))
    if known not in composed:
        composed[known] = make()
    return composed[known]


def load_group(group: str, sources: Iterable[Any] | None = None) -> dict[str, Any]:
    """Every config of a group by name, as plain values whose interpolations are not resolved.

    Besides the package's own configs those in ``sources``, which are entries of ``hydra.runtime.config_sources``; by
    default those of the running command: what ``hydra.searchpath=[file:///folder]`` or ``--config-dir folder`` added.
    """
    if sources is None:
        sources = HydraConfig.get().runtime.config_sources if HydraConfig.initialized() else ()
    sources = list(sources)
    folders = [
        f"file://{CONF}",
        *(f"{source.schema}://{source.path}" for source in sources if source.schema in FOLDERS),
    ]
    return deepcopy(compose_once(group, sources, lambda: compose_group(group, folders)))


def compose_group(group: str, folders: Iterable[str]) -> dict[str, Any]:
    """The configs of a group by name. ``folders``: where configs lie, as Hydra writes them."""
    quoted = ["'" + folder.replace("'", r"\'") + "'" for folder in dict.fromkeys(folders)]
    search = [f"hydra.searchpath=[{','.join(quoted)}]"]
    with composing():
        names = GlobalHydra.instance().config_loader().get_group_options(group, overrides=search)
        choices = [*search, *(f"+{group}@options.{name}={name}" for name in names)]
        try:
            found = compose(overrides=choices)  # without any other group
        except ConfigCompositionException:  # a choice overrides those of other groups
            found = compose("config", choices)
    options = OmegaConf.to_container(found).get("options", {})  # type: ignore[union-attr]
    assert isinstance(options, dict)
    return {str(name): options[name] for name in names}
