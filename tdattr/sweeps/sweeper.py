"""A sweep from its command to its end: which jobs are new, running them, and what became of all."""

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Protocol, cast

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, OmegaConf

from tdattr.cli import CONFIG, explain_failures, is_detached
from tdattr.errors import UserError, first_line
from tdattr.files import expand
from tdattr.plan_notice import NOTICE, Planned
from tdattr.run_status import forget_status, report_run
from tdattr.sweeps.composing import Composer
from tdattr.sweeps.earlier import EARLIER, Earlier, find_finished, write_earlier
from tdattr.sweeps.lines import shorten
from tdattr.sweeps.outcome import show_outcome
from tdattr.sweeps.record import SWEEP
from tdattr.wording import counted

LAUNCHERS = "hydra_plugins.tdattr_launchers"
LOOK_SECONDS = 0.02
OUTPUT = ".sweep.log"  # of a detached sweep whose jobs run in the command's process
Batches = list[list[list[str]]]


class Checking(Protocol):
    """What tdattr's launchers have besides what Hydra's do."""

    def check(self, needs: Sequence[Mapping[str, Any]]) -> None:
        """Raise UserError where jobs cannot be started that say this of the place that they need (`launch.Needs`)."""


def run(
    config: DictConfig,
    loader: ConfigLoader,
    launcher: Launcher,
    arguments: Sequence[str],
    split: Callable[[list[Any]], Batches],
    again: bool,
) -> list[Sequence[JobReturn]]:
    """Run the jobs of a sweep, in the batches that ``split`` makes of its overrides; without ``again`` those alone that
    no earlier run has done. Raises once all have ended: of jobs in this process what the first that failed did, else
    UserError for all of them. Jobs that make a plan are all run, as it says what is there, and leave nothing to show.
    """
    if (kind := type(launcher).__module__) != LAUNCHERS:
        raise UserError(f"The launcher of {kind} does not run tdattr's jobs: choose hydra/launcher=local or slurm.")
    planned = NOTICE not in config.hydra.callbacks
    detached = is_detached(config) and not planned
    batches = split(OverridesParser.create(config_loader=loader).parse_overrides(list(arguments)))
    if detached and len(batches) > 1:
        raise UserError("A sweep in batches waits for each: leave sweep=detached or hydra.sweeper.max_batch_size out.")
    composer = Composer(loader, config)
    composer.check(job for batch in batches for job in batch)
    if len(composer.plans) > 1:
        raise UserError("plan is true for some of these jobs alone: add plan=true or plan=false for all of them.")
    if True in composer.plans and not planned:
        raise Planned
    folder = expand(config.hydra.sweep.dir).absolute()
    finished = {} if again or planned else find_done(batches, composer, config, folder)
    if any(tuple(job) not in finished for batch in batches for job in batch):
        cast(Checking, launcher).check(composer.needs)
    begin(folder, config)
    new = [leave_out_finished(batch, finished, folder) for batch in batches]
    in_process = isinstance(launcher, BasicLauncher)
    if detached and any(new) and (not in_process or not leave_terminal(folder)):
        started = [] if in_process else [launcher.launch(new[0], 0)]
        if not (folder / SWEEP).exists():
            raise UserError(f"The sweep ended before it had started: {shorten(folder / OUTPUT)} says why.")
        print(
            f"Started {counted(len(new[0]), 'job')} in {shorten(folder)}: tdattr-sweep status shows them.",
            file=sys.stderr,
        )
        return started
    returned: list[Sequence[JobReturn]] = []
    with report_run(folder, first_line, OUTPUT) if in_process else nullcontext():
        for batch in filter(None, new):
            returned.append(launcher.launch(batch, sum(map(len, returned))))
    state = None if planned else show_outcome(folder)
    jobs = [job for results in returned for job in results]  # in the order of their numbers
    failed = [number for number, job in enumerate(jobs) if job.status == JobStatus.FAILED]
    if failed and in_process:
        raise jobs[failed[0]]._return_value  # as the property does, which also prints the overrides
    if failed:
        cancelled = 0 if state is None else state.count("CANCELLED")
        raise UserError(explain_failures([f"#{number}" for number in failed], len(jobs), cancelled))
    return returned


def begin(folder: Path, config: DictConfig) -> None:
    """Make the sweep's folder, without what an earlier sweep has said of itself in it."""
    folder.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(config, folder / "multirun.yaml")
    for name in (SWEEP, EARLIER):
        (folder / name).unlink(missing_ok=True)
    forget_status(folder)


def leave_terminal(folder: Path) -> bool:
    """Go on in a process that no terminal and no shell ends, whose words go to a file. True in that process; the one
    of the terminal learns when the other one has written down what it runs."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    process = os.fork()
    if process:
        while not (folder / SWEEP).exists() and os.waitpid(process, os.WNOHANG) == (0, 0):
            time.sleep(LOOK_SECONDS)
        return False
    os.setsid()
    with open(os.devnull) as nothing, (folder / OUTPUT).open("a") as output:
        for file, number in ((nothing, 0), (output, 1), (output, 2)):
            os.dup2(file.fileno(), number)
    return True


def find_done(batches: Batches, composer: Composer, config: DictConfig, folder: Path) -> dict[tuple[str, ...], Path]:
    """The jobs of a sweep in ``folder`` that an earlier run has done, each with the folder of that run."""
    if config.hydra.job.config_name != CONFIG:
        return {}
    identities = {tuple(job): composer.identify(job) for batch in batches for job in batch}
    wanted = {identity for identity in identities.values() if identity is not None}
    done = find_finished(expand(config.paths.runs), expand(config.paths.artifacts), wanted, folder)
    return {job: done[identity] for job, identity in identities.items() if identity in done}


def leave_out_finished(
    batch: Sequence[list[str]], finished: Mapping[tuple[str, ...], Path], folder: Path
) -> list[list[str]]:
    """The jobs that are not finished; the others are written down in the sweep's folder, and said."""
    earlier = [Earlier(list(job), str(finished[tuple(job)])) for job in batch if tuple(job) in finished]
    if earlier:
        write_earlier(folder, earlier)
        verb, them = ("was", "it") if len(earlier) == 1 else ("were", "them")
        done = f"{len(earlier)} of {counted(len(batch), 'job')} {verb} done by earlier runs"
        print(f"{done}; hydra.sweeper.again=true runs {them} again.", file=sys.stderr)
    return [list(job) for job in batch if tuple(job) not in finished]
