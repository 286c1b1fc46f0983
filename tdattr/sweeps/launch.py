"""From what Hydra asks a launcher for to a sweep that runs, and to what became of it."""

import logging
import os
import shutil
import sys
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.types import HydraContext
from omegaconf import DictConfig, open_dict

from tdattr.cli import CONFIG, DETACHED
from tdattr.configs import Settings, typed
from tdattr.errors import UserError
from tdattr.files import expand
from tdattr.jobs import Interrupted
from tdattr.ranges import Count
from tdattr.run_status import LOG, forget_status
from tdattr.sweeps.composing import read_needs
from tdattr.sweeps.job import quote
from tdattr.sweeps.record import BASIC, JOB_LOG, Sweep, SweepJob, read_sweep
from tdattr.sweeps.snapshot import CODE, OWN, copy_code
from tdattr.sweeps.wait import wait

log = logging.getLogger(__name__)
REPLACED = ("hydra.mode", "hydra.run.dir", "hydra.sweep.dir", "hydra.searchpath")  # overrides a job has of its own
SUBDIR = "hydra.sweep.subdir"
VARIABLES = ("TDATTR_OUTPUTS", "TDATTR_DATA", "TDATTR_WEIGHTS")  # by which conf/config.yaml finds its paths
MODULES = "PYTHONPATH"  # where Python finds components of a user's own


@dataclass(frozen=True)
class Request:
    """Jobs that Hydra wants started: their overrides, and the number of the first."""

    launcher: str
    config: DictConfig
    context: HydraContext
    overrides: Sequence[Sequence[str]]
    first: int

    @property
    def folder(self) -> Path:
        """The sweep's."""
        return expand(str(self.config.hydra.sweep.dir)).absolute()

    def compose(self, index: int) -> DictConfig:
        """The config of one of the jobs, with Hydra's own node."""
        cfg = self.context.config_loader.load_sweep_config(self.config, list(self.overrides[index]))
        with open_dict(cfg):
            cfg.hydra.job.num = self.first + index
        return cfg


@dataclass(frozen=True)
class Devices:
    """Of the ``trainer`` node what is said of the machine."""

    devices: Count
    accelerator: str


@dataclass(frozen=True)
class Needs:
    """Of the config of a job what it needs of a machine."""

    workers: Count
    trainer: Devices


class Launch(Settings):
    """The base of a launcher's settings."""

    @abstractmethod
    def check(self, needs: Sequence[Needs]) -> None:
        """Raise UserError where this machine cannot do what is asked for, for jobs with these needs."""

    @abstractmethod
    def start(self, sweep: Sweep, cfg: DictConfig, numbers: Sequence[int], detached: bool) -> Sweep:
        """Start the jobs of those numbers, or see to it that they will be, and write down where they are. ``cfg`` is
        the config of the first; ``detached``: they go on after this process has ended."""

    @abstractmethod
    def interrupt(self, sweep: Sweep) -> str:
        """What becomes of the jobs when the command is interrupted: do it, and say it in a sentence."""


def record(request: Request, settings: Mapping[str, Any]) -> Sweep:
    """Write down the jobs before any is started. Those of an earlier batch of the same sweep stay."""
    hydra = request.config.hydra.overrides.hydra
    copied = request.launcher != BASIC
    earlier = read_sweep(request.folder) if request.first else None
    named = any(override.lstrip("+").startswith(f"{SUBDIR}=") for override in hydra)
    jobs = earlier.jobs if earlier is not None else []
    for index, overrides in enumerate(request.overrides):
        number = request.first + index
        folder = str(request.compose(index).hydra.sweep.subdir) if named else str(number)
        name = JOB_LOG if copied else LOG
        forget_status(request.folder / folder)
        jobs = [*jobs, SweepJob(number, list(overrides), folder, None, f"{folder}/{name}")]
    request.folder.mkdir(parents=True, exist_ok=True)
    if earlier is not None:
        sweep = replace(earlier, jobs=jobs)
    else:
        sweep = Sweep(
            folder=request.folder,
            command=[Path(sys.argv[0]).name, *(argument for argument in sys.argv[1:] if argument != "--")],
            launcher=request.launcher,
            submitted=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            settings=dict(settings),
            environment=read_environment(),
            working_folder=str(Path.cwd()),
            hydra=[o for o in hydra if o.lstrip("+").partition("=")[0] not in REPLACED],
            code=None,
            revision=None,
            slots=[],
            process=None,
            jobs=jobs,
        )
    sources = request.config.hydra.runtime.config_sources
    if copied and earlier is None:
        sweep = with_code(sweep, request)
    elif earlier is None:  # a job that is started again finds the user's configs from wherever it is
        places = [find_place(source) for source in sources if source.provider not in OWN]
        sweep = replace(sweep, hydra=[*sweep.hydra, *search(places)])
    sweep.write()
    return sweep


def read_environment() -> dict[str, str]:
    """What jobs find in their environment wherever they are started, now or again; "" is what is not set."""
    paths = [os.path.abspath(path) for path in os.environ.get(MODULES, "").split(os.pathsep) if path]
    return {name: os.environ.get(name, "") for name in VARIABLES} | {MODULES: os.pathsep.join(paths)}


def with_code(sweep: Sweep, request: Request) -> Sweep:
    """The sweep with a copy of the code and the configs, which its jobs run."""
    shutil.rmtree(sweep.folder / CODE, ignore_errors=True)  # of an earlier sweep in the same folder
    code, searched, revision = copy_code(sweep.folder, request.config.hydra.runtime.config_sources)
    return replace(sweep, code=str(code), revision=revision, hydra=[*sweep.hydra, *search(searched)])


def find_place(source: Any) -> str:
    """Where a source of configs is, for whoever is in another folder."""
    path = os.path.abspath(source.path) if source.schema == "file" else source.path
    return f"{source.schema}://{path}"


def search(places: Sequence[str]) -> list[str]:
    """The override by which a job finds the configs in those places, if there are any."""
    return [f"hydra.searchpath=[{','.join(map(quote, places))}]"] if places else []


def check(
    launcher: str, kind: type[Launch], values: Any, config: DictConfig, needs: Iterable[Mapping[str, Any]]
) -> Launch:
    """A launcher's settings. Raises UserError where jobs that need this cannot be started so. ``config``: the
    sweep's."""
    if config.hydra.job.config_name != CONFIG:
        raise UserError(f"hydra/launcher={launcher} runs the jobs of tdattr alone: leave it out.")
    settings: Launch = typed(kind, values, "hydra.launcher")
    settings.check([typed(Needs, dict(need), "") for need in needs])
    return settings


def launch(request: Request, kind: type[Launch], values: Any) -> Sequence[JobReturn]:
    """Start jobs as a launcher's settings say, and wait for them. A job that failed is one in what is returned, so that
    Hydra goes on with the next batch of the sweep; the others' results are there. Raises Interrupted, which says what
    became of the jobs."""
    cfg = request.compose(0)
    settings = check(request.launcher, kind, values, request.config, [read_needs(cfg)])  # sweepers of others do not
    numbers = range(request.first, request.first + len(request.overrides))
    detached = request.config.sweep == DETACHED
    sweep = record(request, values)
    try:
        sweep = settings.start(sweep, cfg, numbers, detached)
        if detached:
            return []
        failed = wait(sweep, numbers)
    except Interrupted as error:
        raise Interrupted(error.number, settings.interrupt(read_sweep(sweep.folder))) from error
    return [outcome(sweep.job(number), failed.get(number)) for number in numbers]


def outcome(job: SweepJob, why: str | None) -> JobReturn:
    """What Hydra is told of a job; ``why``: it is not done, if so."""
    result = JobReturn(overrides=job.overrides)
    result.status = JobStatus.COMPLETED if why is None else JobStatus.FAILED
    result.return_value = None if why is None else UserError(why)
    return result
