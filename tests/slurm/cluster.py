"""A cluster of SLURM whose nodes are all this machine, in a temporary folder for as long as it is wanted.

python -m tests.slurm.cluster COMMAND…    # run a command in one with a CPU for every core
"""

import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tdattr.jobs import count_cores

PROGRAMS = ("munged", "mungekey", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel")
SYSTEM = "/usr/sbin"  # where the daemons are, also for users whose PATH leaves it out
START_SECONDS = 120.0  # of a busy machine
END_SECONDS = 60.0  # of jobs that are killed
CONFIG = """
ClusterName=tdattr
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
MpiDefault=none
ReturnToService=2
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SchedulerParameters=batch_sched_delay=0,sched_interval=2
MessageTimeout=60
KillWait=30
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
NODE = "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cpus} State=UNKNOWN\n"


def missing() -> str | None:
    """Why there can be no cluster on this machine; None where there can."""
    absent = [name for name in PROGRAMS if find(name) is None]
    if absent:
        return f"{', '.join(absent)} not installed (Debian: apt-get install slurmctld slurmd slurm-client munge)"
    if os.geteuid() != 0:
        return "its daemons need root"
    try:
        pwd.getpwnam("munge")
    except KeyError:
        return "there is no user munge"
    return None


def find(program: str) -> str | None:
    """Where a program is."""
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}{os.pathsep}{SYSTEM}")


@dataclass(frozen=True)
class Cluster:
    """A cluster that runs. ``nodes``: their names; ``environment``: what commands of SLURM need to find it."""

    nodes: str
    environment: dict[str, str]

    def call(self, *command: str) -> str:
        """What a command of SLURM prints."""
        environment = os.environ | self.environment
        run = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert run.returncode == 0, f"{' '.join(command)}: {run.stderr}"
        return run.stdout

    def node(self, state: str) -> None:
        """Set the state of the nodes, for example to ``down`` or ``drain``."""
        self.call("scontrol", "update", f"NodeName={self.nodes}", f"State={state}", "Reason=test")

    def node_up(self) -> None:
        """Let the nodes take jobs again; one that is down may come back by itself, as its daemon is there, also between
        the question and the command, which SLURM then refuses."""
        end = time.monotonic() + END_SECONDS
        while closed := self.closed():
            for name in closed:
                command = ["scontrol", "update", f"NodeName={name}", "State=resume"]
                done = subprocess.run(command, env=os.environ | self.environment, capture_output=True, text=True)
                assert time.monotonic() < end, done.stderr or f"{name} stays closed"
            time.sleep(0.1)

    def closed(self) -> list[str]:
        """The nodes that take no jobs."""
        lines = self.call("sinfo", "--noheader", "--Node", "--format=%N %T").splitlines()
        return [name for name, state in map(str.split, lines) if state.startswith(("down", "drain"))]

    def hurry(self) -> None:
        """Let jobs start at once that were queued again, which SLURM makes wait for two minutes, also where their node
        refused them because it was still ending them: it is drained then, and they are held."""
        self.node_up()
        for job in self.call("squeue", "--noheader", "--array", "--states=PENDING", "--format=%i %r").splitlines():
            if "held" in job:
                self.call("scontrol", "release", job.split()[0])
        for job in self.call("squeue", "--noheader", "--array", "--states=PENDING", "--format=%i").split():
            command = ["scontrol", "update", f"JobId={job}", "StartTime=now"]  # fails for one that has just started
            subprocess.run(command, env=os.environ | self.environment, capture_output=True)

    def states(self) -> list[str]:
        """The states of all jobs that have not ended."""
        return self.call("squeue", "--noheader", "--array", "--format=%T").split()

    def end_jobs(self) -> None:
        """Kill what a test has left, which would outlive the daemons."""
        environment = os.environ | self.environment
        end = time.monotonic() + END_SECONDS
        while self.states() and time.monotonic() < end:
            subprocess.run(["scancel", "--me", "--full", "--signal=KILL"], env=environment, capture_output=True)
            subprocess.run(["scancel", "--me"], env=environment, capture_output=True)
            time.sleep(0.5)


@contextmanager
def start_cluster(cpus: int, nodes: int = 1) -> Iterator[Cluster]:
    """A cluster with so many CPUs on each node, whatever the machine has; all its processes end with it."""
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    folder.chmod(0o755)  # munged runs as another user
    host = socket.gethostname().partition(".")[0]
    daemons: list[subprocess.Popen[bytes]] = []

    def daemon(name: str, *arguments: str, **options: str) -> None:
        with (folder / f"{name}.output").open("wb") as output:
            command = [find(name) or name, *arguments]
            environment = {key: value for key, value in os.environ.items() if not key.startswith("SLURM")}
            daemons.append(
                subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, **options
                )
            )

    try:
        (folder / "state").mkdir()
        munge = folder / "munge"
        munge.mkdir(mode=0o700)
        subprocess.run([find("mungekey") or "mungekey", "--create", f"--keyfile={munge}/key"], check=True)
        for path in (munge / "key", munge):
            shutil.chown(path, "munge", "munge")
        files = [f"--{name}-file={munge}/{name}" for name in ("key", "log", "pid", "seed")]
        socket_path = folder / "munge.socket"
        shutil.chown(folder, "munge")
        daemon("munged", "--foreground", f"--socket={socket_path}", *files, user="munge")
        wait_for(socket_path.exists, folder)
        controller, *ports = free_ports(1 + nodes)
        names = [f"node{number}" for number in range(nodes)]
        config = folder / "slurm.conf"
        lines = [NODE.format(name=n, host=host, port=p, cpus=cpus) for n, p in zip(names, ports, strict=True)]
        config.write_text("".join([CONFIG.format(host=host, controller=controller, folder=folder), *lines]))
        daemon("slurmctld", "-D", "-f", str(config))
        for name in names:
            daemon("slurmd", "-D", "-f", str(config), "-N", name)
        path = f"{os.environ['PATH']}{os.pathsep}{SYSTEM}"
        cluster = Cluster(",".join(names), {"SLURM_CONF": str(config), "PATH": path})
        wait_for(lambda: is_idle(cluster), folder)
        try:
            yield cluster
        finally:
            cluster.end_jobs()
    finally:
        for process in reversed(daemons):
            process.terminate()
        for process in reversed(daemons):
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def is_idle(cluster: Cluster) -> bool:
    """Whether the node waits for jobs."""
    command = ["sinfo", "--noheader", "--format=%t"]
    run = subprocess.run(command, env=os.environ | cluster.environment, capture_output=True, text=True)
    return run.stdout.strip() == "idle"


def wait_for(condition: Callable[[], bool], folder: Path) -> None:
    """Wait until something is true; what the daemons said where that takes too long."""
    until = time.monotonic() + START_SECONDS
    while not condition():
        said = {path.name: path.read_text(errors="replace")[-2000:] for path in folder.glob("*.output")}
        assert time.monotonic() < until, said
        time.sleep(0.2)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens to."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


if __name__ == "__main__":
    with start_cluster(count_cores()) as started:
        sys.exit(subprocess.run(sys.argv[1:], env=os.environ | started.environment).returncode)
