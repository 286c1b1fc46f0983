"""``sweep.json``: what a sweep has started, its jobs and where each is."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tdattr.errors import UserError
from tdattr.files import write_json

SWEEP = "sweep.json"
BASIC, LOCAL, SLURM = "basic", "local", "slurm"  # launchers
JOB_LOG = "job.log"  # of a job that is a process of its own, in its folder


@dataclass(frozen=True)
class SweepJob:
    """One job. ``folder`` and ``log`` are relative to the sweep's."""

    number: int
    overrides: list[str]  # its own and those that all jobs have
    folder: str
    id: str | None  # SLURM's; several jobs have the same where they share one of SLURM's
    log: str


@dataclass(frozen=True)
class Sweep:
    """What a command has started; kept in its folder, in a file of JSON that a job reads when it starts."""

    folder: Path
    command: list[str]
    launcher: str  # BASIC, LOCAL or SLURM
    submitted: str  # time, with its zone
    settings: dict[str, Any]  # of the launcher
    environment: dict[str, str]  # what tdattr and Python's imports read of it
    working_folder: str  # in which the command was given: relative paths start there
    hydra: list[str]  # overrides of Hydra's own settings that all jobs have
    code: str | None  # the folder of the code and configs that the jobs run; None: those of the command's process
    revision: str | None  # of the code
    slots: list[dict[str, str]]  # of this machine: each runs one job at a time, in this environment
    process: int | None  # that runs the jobs on this machine
    jobs: list[SweepJob]

    def write(self) -> None:
        """Write ``sweep.json`` in one step."""
        content = asdict(self)
        del content["folder"]
        write_json(self.folder / SWEEP, content)

    def job(self, number: int) -> SweepJob:
        """The job of that number."""
        return next(job for job in self.jobs if job.number == number)


def read_sweep(folder: Path) -> Sweep:
    """The sweep in a folder. Raises UserError where there is none."""
    try:
        content = json.loads((folder / SWEEP).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"There is no sweep in {folder}: it has no {SWEEP}.") from None
    jobs = [SweepJob(**job) for job in content.pop("jobs")]
    return Sweep(folder=folder.absolute(), jobs=jobs, **content)  # jobs start in other folders
