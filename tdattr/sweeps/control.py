"""Ending jobs of a sweep from outside, and starting them again."""

import os
import signal
import socket
import subprocess
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from tdattr.errors import UserError
from tdattr.jobs import join_names
from tdattr.run_status import CANCEL, forget_status, is_running, now, read_status
from tdattr.sweeps.pool import start_pool
from tdattr.sweeps.record import BASIC, JOB_LOG, LOCAL, SLURM, Sweep
from tdattr.sweeps.states import ENDS_BADLY, JobState, is_starting, read_states


def cancel(sweep: Sweep, numbers: Collection[int]) -> str:
    """End those jobs (without numbers, all) that have not ended, or see to it that they do not start. Gives
    what is to be said. Raises UserError where that cannot be done from here; then nothing is done."""
    states = read_states(sweep).jobs
    wanted = [state for state in states if not numbers or state.job.number in numbers]
    chosen = [state for state in wanted if not state.ended]
    if not chosen:
        return f"Nothing to cancel: {name(wanted)} {'has' if len(wanted) == 1 else 'have'} ended."
    others = [state for state in states if not state.ended and state not in chosen]
    check_reach(sweep, chosen, others)
    if sweep.launcher == SLURM:
        end_in_slurm(sorted({state.job.id for state in chosen if state.job.id is not None}))
    for state in chosen:  # after SLURM, which may refuse
        folder = sweep.folder / state.job.folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CANCEL).write_text(now())
    if sweep.launcher == BASIC:
        end_command(sweep)
    for state in chosen:
        if sweep.launcher not in (SLURM, BASIC) and state.state == "RUNNING":
            end_process(state.status["pid"], state.status.get("process"))
    running = sum(state.state == "RUNNING" for state in chosen)
    ending = f"; {running} of them ran and end now" if running else ""
    return f"Cancelled {name(chosen)}{ending}."


def check_reach(sweep: Sweep, chosen: Sequence[JobState], others: Sequence[JobState]) -> None:
    """Whether jobs can be ended from here, and without the others. Raises UserError."""
    if sweep.launcher == SLURM:
        shared = {state.job.id for state in chosen} - {None}
        if together := [state for state in others if state.job.id in shared]:
            raise UserError(f"{name(together)} would end with them, in the same job of SLURM: cancel these too.")
        return
    if sweep.launcher == BASIC and any(state.state == "RUNNING" for state in chosen) and others:
        raise UserError("These jobs run in the process of their sweep: tdattr-sweep cancel, without numbers, ends all.")
    for state in chosen:
        host = state.status.get("host", socket.gethostname())
        if state.state == "RUNNING" and host != socket.gethostname():
            raise UserError(f"Job #{state.job.number} runs on {host}: give the command there.")


def end_in_slurm(ids: Sequence[str]) -> None:
    """Have SLURM end jobs. Raises UserError where it does not."""
    if not ids:
        return
    try:
        done = subprocess.run(["scancel", *ids], capture_output=True, text=True)
    except FileNotFoundError:
        raise UserError("There is no scancel on this machine: give the command on a login node.") from None
    if done.returncode:
        said = done.stderr.strip() or f"scancel ended with status {done.returncode}"
        raise UserError(f"SLURM has not cancelled the jobs: {said.splitlines()[-1]}")


def end_command(sweep: Sweep) -> None:
    """End the command in whose process the jobs run, if it is there."""
    status = read_status(sweep.folder)
    if status is not None and is_starting(sweep):
        end_process(status["pid"], status.get("process"))


def end_process(number: int, identity: str | None) -> None:
    """End a process of this machine; it leaves what it can resume from."""
    if is_running(number, identity):
        os.kill(number, signal.SIGTERM)


def name(states: Sequence[JobState]) -> str:
    """``job #3``, ``jobs #3, #4 and #7``, or how many there are."""
    return join_names([f"#{state.job.number}" for state in states])


def retry(sweep: Sweep, numbers: Collection[int]) -> str:
    """Start those jobs again (without numbers, all) that have ended and are not done: in their folders, with
    the code that was submitted. Gives what is to be said. Raises UserError where that cannot be done now."""
    states = read_states(sweep)
    wanted = [state for state in states.jobs if not numbers or state.job.number in numbers]
    chosen = [state for state in wanted if state.state in ENDS_BADLY]
    if states.unknown:
        raise UserError(f"SLURM could not be asked which jobs have ended ({states.unknown}): try again later.")
    if not chosen:
        return f"Nothing to retry: {name(wanted)} {'is' if len(wanted) == 1 else 'are'} done, or not at an end."
    if sweep.launcher != SLURM and not states.ended:
        rest = [state for state in states.jobs if not state.ended]
        verb, whom = ("has", "it") if len(rest) == 1 else ("have", "them")
        raise UserError(f"{name(rest).capitalize()} {verb} not ended: wait for {whom}, or cancel {whom}, first.")
    again = [state.job.number for state in chosen]
    start = prepare_slurm(sweep, again) if sweep.launcher == SLURM else partial(run_here, sweep, again)
    for state in chosen:
        forget_status(sweep.folder / state.job.folder)
    start()
    return f"Started {name(chosen)} again."


def prepare_slurm(sweep: Sweep, numbers: Sequence[int]) -> Callable[[], object]:
    """What has SLURM run jobs again. Raises UserError where this machine cannot ask it to."""
    from omegaconf import DictConfig

    from tdattr.configs import typed
    from tdattr.sweeps.slurm import SlurmSettings

    settings: SlurmSettings = typed(SlurmSettings, sweep.settings, "hydra.launcher")
    settings.check([])
    return partial(settings.start, sweep, DictConfig({}), numbers, detached=True)


def run_here(sweep: Sweep, numbers: Sequence[int]) -> None:
    """Run jobs again on this machine, with nobody waiting. Those of a command's own process get one of their own, whose
    words go to a log of their own."""
    if sweep.launcher == BASIC:
        logs = {number: str(Path(sweep.job(number).folder) / JOB_LOG) for number in numbers}
        jobs = [replace(job, log=logs.get(job.number, job.log)) for job in sweep.jobs]
        sweep = replace(sweep, launcher=LOCAL, jobs=jobs)
    sweep = replace(sweep, slots=sweep.slots or [{}])  # it may have been interrupted before it had any
    sweep.write()
    replace(sweep, process=start_pool(sweep, numbers, detached=True)).write()
