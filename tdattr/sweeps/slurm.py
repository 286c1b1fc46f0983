"""Jobs of a sweep as jobs of SLURM, submitted by submitit."""

import math
import os
import shlex
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

from omegaconf import DictConfig

from tdattr.errors import UserError, first_line
from tdattr.ranges import Count, CountOrZero, Positive
from tdattr.sweeps.job import SlurmJob
from tdattr.sweeps.launch import Launch, Needs
from tdattr.sweeps.machine import CORES, OMP
from tdattr.sweeps.record import Sweep, SweepJob

FILES = ".submitit"  # in a sweep's folder: what submitit keeps of each job
ARRAY = 1000  # jobs that are submitted as one array; SLURM takes 1000 unless its administrator says otherwise
MEGABYTES = 1024  # of a GB, as SLURM counts
CLUSTER = ("SLURM_CONF", "SLURM_CLUSTERS")  # variables that say which cluster is meant


@dataclass(frozen=True)
class SlurmSettings(Launch):
    """``conf/hydra/launcher/slurm.yaml``."""

    partition: str | None
    account: str | None
    qos: str | None
    constraint: str | None
    tasks: Count
    gpus: CountOrZero | None
    cpus: Count
    memory: Positive | None
    time: Count
    parallel: Count
    pack: Count
    requeue: CountOrZero
    notice: Count
    setup: list[str]
    more: dict[str, Any]

    def check(self, needs: Sequence[Needs]) -> None:
        """There must be submitit, and SLURM; and the tasks of a job are all its workers."""
        if find_spec("submitit") is None:
            raise UserError(
                "hydra/launcher=slurm needs submitit: pip install hydra-submitit-launcher, which is in tdattr's extra "
                "slurm."
            )
        if shutil.which("sbatch") is None:
            raise UserError(
                "There is no SLURM on this machine (no sbatch): give the command on a login node of the cluster, or "
                "hydra/launcher=local."
            )
        if self.tasks == 1:
            return
        if self.pack > 1:
            raise UserError(
                f"hydra.launcher.tasks={self.tasks} divides a job, and hydra.launcher.pack={self.pack} puts several "
                "together: leave one of them out."
            )
        if any(need.workers > 1 for need in needs):
            raise UserError(
                f"With hydra.launcher.tasks={self.tasks} the tasks of a job are its workers: leave workers at 1."
            )

    def start(self, sweep: Sweep, cfg: DictConfig, numbers: Sequence[int], detached: bool) -> Sweep:
        """Submit the jobs in arrays, ``pack`` of them as one."""
        from submitit.core.utils import FailedJobError

        shared = [tuple(numbers[start : start + self.pack]) for start in range(0, len(numbers), self.pack)]
        with outside_of_jobs():
            for start in range(0, len(shared), ARRAY):
                array = shared[start : start + ARRAY]
                try:
                    jobs = self.executor(sweep).submit_array([SlurmJob(str(sweep.folder), some) for some in array])
                except FailedJobError as error:
                    taken = f"of {len(shared)} jobs only the first {start}" if start else "no jobs"
                    raise UserError(f"SLURM took {taken}: {first_line(error)}") from error
                names = {number: job for some, job in zip(array, jobs, strict=True) for number in some}
                sweep = name_jobs(sweep, names)
                sweep.write()
        return sweep

    def executor(self, sweep: Sweep) -> Any:
        """What submits jobs with these settings."""
        from submitit import SlurmExecutor

        executor = SlurmExecutor(sweep.folder / FILES / "%j", max_num_timeout=self.requeue)
        options = {
            "partition": self.partition,
            "account": self.account,
            "qos": self.qos,
            "constraint": self.constraint,
            **(self.one_task() if self.tasks == 1 else self.several_tasks()),
        }
        executor.update_parameters(
            **{name: value for name, value in options.items() if value is not None},
            job_name="tdattr",
            cpus_per_task=self.cpus,
            time=self.time,
            signal_delay_s=self.notice,
            array_parallelism=self.parallel,
            stderr_to_stdout=True,
            setup=self.lines(sweep),
            additional_parameters={"requeue" if self.requeue else "no-requeue": True} | self.places() | self.more,
        )
        return executor

    def places(self) -> dict[str, Any]:
        """Where the tasks of a job may be: SLURM chooses the nodes."""
        return {} if self.tasks == 1 else {"ntasks": self.tasks, "nodes": f"1-{self.tasks}"}

    def one_task(self) -> dict[str, Any]:
        """What a job of one task needs."""
        memory = None if self.memory is None else f"{round(MEGABYTES * self.memory)}MB"
        return {"nodes": 1, "ntasks_per_node": 1, "gpus_per_node": self.gpus or None, "mem": memory}

    def several_tasks(self) -> dict[str, Any]:
        """What a job of several needs: for each task, as they may be on different nodes. One that ends, well or not,
        ends no other, whatever the cluster's default is."""
        memory = None if self.memory is None else f"{math.ceil(MEGABYTES * self.memory / self.cpus)}MB"
        step = ["--kill-on-bad-exit=0", "--wait=0", f"--cpus-per-task={self.cpus}"]
        return {"gpus_per_task": self.gpus or None, "mem_per_cpu": memory, "srun_args": step}

    def lines(self, sweep: Sweep) -> list[str]:
        """What the shell does before a job starts: the cores of each come from the allocation."""
        assert sweep.code is not None
        return [
            *(f"export {name}={shlex.quote(value)}" for name, value in sweep.environment.items()),
            f"export {CORES}=${{SLURM_CPUS_PER_TASK:-{self.cpus}}}",
            f"export {OMP}=${CORES}",
            *self.setup,
            f"cd {shlex.quote(sweep.code)}",  # where Python looks first for the code
        ]

    def interrupt(self, sweep: Sweep) -> str:
        """Leave the jobs: they are SLURM's."""
        arrays = dict.fromkeys(job.id.partition("_")[0] for job in sweep.jobs if job.id is not None)
        if not arrays:
            return "Interrupted before SLURM had taken any job: the same command starts again."
        return (
            "Interrupted; the jobs of the sweep go on, as they are SLURM's. To end them, too: "
            f"scancel {' '.join(arrays)}"
        )


@contextmanager
def outside_of_jobs() -> Iterator[None]:
    """While this lasts, the environment says nothing of a job that the command itself may run in, which the jobs that
    it submits would inherit; but where the cluster is stays."""
    from submitit.helpers import clean_env

    kept = {name: os.environ[name] for name in CLUSTER if name in os.environ}
    with clean_env():
        os.environ.update(kept)
        yield


def name_jobs(sweep: Sweep, submitted: Mapping[int, Any]) -> Sweep:
    """The sweep with SLURM's ids of its jobs, and the logs of those that have one of SLURM's jobs to themselves."""
    alone = Counter(job.job_id for job in submitted.values())

    def name(job: SweepJob) -> SweepJob:
        if job.number not in submitted:
            return job
        slurm = submitted[job.number]
        log = str(slurm.paths.stdout.relative_to(sweep.folder)) if alone[slurm.job_id] == 1 else job.log
        return replace(job, id=slurm.job_id, log=log)

    return replace(sweep, jobs=list(map(name, sweep.jobs)))
