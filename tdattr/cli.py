"""The console commands: compose the config, hand it on; nothing else. Nothing heavy is imported before a run starts."""

import gc
import logging
import os
import shlex
import signal
import sys
import traceback
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

import tdattr
from tdattr.completion import complete
from tdattr.declared import check_values
from tdattr.doctor.arguments import parse as parse_doctor
from tdattr.errors import UserError
from tdattr.files import OUTPUTS, describe_full
from tdattr.identity import identify
from tdattr.jobs import Interrupted, interruptible, join_names, own_job
from tdattr.overrides import arrange, check_overrides, compose_bare, explain, join_lines
from tdattr.plan_notice import NOTICE, Planned
from tdattr.progress import close_bars
from tdattr.replay import unfold, wants_replay
from tdattr.report.arguments import parse
from tdattr.run_status import CANCEL, LOG, report_run
from tdattr.search_path import CONF, in_sweep, register_launchers

log = logging.getLogger(__name__)
FULL_ERROR = "HYDRA_FULL_ERROR"
TORCH = "torch"  # most of what is imported
Stage = Callable[[DictConfig], None]
T = TypeVar("T")
ATTACHED = "attached"
DETACHED = "detached"  # the value of ``sweep`` under which the command does not wait for its jobs
ASKED = "TDATTR_FULL_ERROR"  # what the user said, for the commands that this one starts
PLAN = "plan=true"
WAITING = "OMP_WAIT_POLICY"  # of the threads of OpenMP for each other, where the user says how
SPINS = "GOMP_SPINCOUNT"  # how often a thread of GNU's OpenMP spins before it sleeps: millions of times by default
FEW_SPINS = "1000"  # else threads keep each other waiting beside other processes: benchmarks/waiting_threads.py
CONFIG = "config"  # that of a run, whose jobs have an identity
LAUNCHERS = ("hydra/launcher", "hydra.launcher")  # the group, and the settings of its choice
MODES = ("run", "sweep")  # of Hydra's, each with its folder


def main(jobs: "Jobs | None" = None) -> None:
    """``tdattr``: one run, or a sweep with ``-m``. ``jobs`` learns what becomes of it."""
    planned: list[Any] = []

    def load() -> Stage:
        from tdattr.pipeline.run import run

        return lambda cfg: plan(cfg) if cfg.plan else run(cfg, write_report)

    def plan(cfg: DictConfig) -> None:
        from tdattr.planning.command import Planner

        planned[:] = planned or [Planner()]
        planned[0].add(cfg)

    def finish() -> None:
        for planner in planned:
            planner.show()

    if wants_replay(sys.argv[1:]):
        sentences(replay, jobs or Jobs(CONFIG))
    given = sys.argv[1:]
    try:
        compose_and_run(load, jobs or Jobs(CONFIG), finish)
    except Planned:
        with planning(given) as sys.argv[1:]:
            compose_and_run(load, jobs or Jobs(CONFIG), finish)


def replay() -> None:
    """Put the overrides that the config of a run stands for into the command line, and say which they are."""
    sys.argv[1:] = unfold(sys.argv[1:])
    print(f"The same as: tdattr {shlex.join(sys.argv[1:])}", file=sys.stderr, flush=True)


@contextmanager
def planning(arguments: list[str]) -> Iterator[list[str]]:
    """The arguments by which a command is planned instead of run: its jobs leave no folders, no launcher starts them
    elsewhere, and Hydra does not list them."""
    kept = [argument for argument in arguments if not argument.startswith(LAUNCHERS)]
    listing = logging.getLogger("hydra")
    before = listing.level
    listing.setLevel(logging.WARNING)
    try:
        with TemporaryDirectory() as folder:
            folders = [f"hydra.{mode}.dir={folder}" for mode in MODES]
            quiet = ["hydra/hydra_logging=none", "hydra.output_subdir=null", f"~hydra.callbacks.{NOTICE}"]
            yield [*kept, f"{LAUNCHERS[0]}=basic", *quiet, *folders]
    finally:
        listing.setLevel(before)


def write_report(runs: list[Path], out: Path) -> None:
    """Write the report of the runs in some folders into another one."""
    from tdattr.report.command import write  # takes seconds to import

    write(runs, out)


def prepare() -> None:
    """``tdattr-prepare``: turn a raw dataset into its prepared form."""

    def load() -> Stage:
        from tdattr.pipeline.run import prepare_dataset

        return prepare_dataset

    compose_and_run(load, Jobs("prepare"))


def groups() -> None:
    """``tdattr-groups``: write a manifest of groups with noise."""

    def load() -> Stage:
        from tdattr.pipeline.run import write_noisy_groups

        return write_noisy_groups

    compose_and_run(load, Jobs("noisy_groups"))


def base() -> None:
    """``tdattr-base``: train the small text-to-image model that ``model=sd_tiny`` starts from."""

    def load() -> Stage:
        from tdattr.pipeline.base import train_base

        return train_base

    compose_and_run(load, Jobs("base"))


def bank() -> None:
    """``tdattr-bank``: retrain what a bank holds, and gather what methods reach by it."""

    def load() -> Stage:
        from tdattr.bank.build import build_bank

        return build_bank

    compose_and_run(load, Jobs("build_bank"))


def report() -> None:
    """``tdattr-report``: collect finished runs into tables and a page."""

    def load() -> Callable[[Namespace], None]:
        from tdattr.report.command import run

        return run

    run_with_options(parse, load)


def doctor() -> None:
    """``tdattr-doctor``: does what is given fit together, and is there anything to attribute?"""

    def load() -> Callable[[Namespace], None]:
        from tdattr.doctor.command import run

        return run

    run_with_options(parse_doctor, load)


def run_with_options(
    parse_options: Callable[[list[str]], Namespace], load: Callable[[], Callable[[Namespace], None]]
) -> None:
    """Run a command that takes options, which are read before what ``load`` imports is imported."""

    def command() -> None:
        options = parse_options(sys.argv[1:])
        import_for_good(load)(options)

    sentences(command, Jobs())


def import_for_good(load: Callable[[], T]) -> T:
    """What ``load`` imports. What there is now stays: nothing of it is looked at again by the garbage collector, which
    would take a quarter of a second of torch's modules when the process ends."""
    fresh = TORCH not in sys.modules
    loaded = load()
    if fresh:
        gc.freeze()
    gc.enable()
    return loaded


class Jobs:
    """The jobs of a command, one or those of a sweep: which of them is running, which have failed."""

    def __init__(self, config_name: str | None = None, log: str = LOG) -> None:
        self.config_name = config_name  # what Hydra composes for the command, if it does
        self.log = log  # where the words of a run go
        self.bare: DictConfig | None = None  # what Hydra composes without overrides, once it has been asked for
        self.full = wants_full_errors()
        self.sweep = False
        self.current = ""
        self.failed: list[str] = []
        self.cancelled = 0
        self.reason: str | None = None  # why the last one of those failed, or the command
        self.reasons: dict[str, str] = {}  # each reason, and the first job that failed by it
        self.started = 0
        self.signals: list[int] = []  # that have come

    def attempt(self, load: Callable[[], Stage], cfg: DictConfig) -> None:
        """Check the overrides and run a stage. A sweep goes on where one of its jobs fails, which is said at once; a
        single job that fails by what the user can mend ends here: before an exception that passes through it Hydra
        prints all overrides."""
        job = HydraConfig.get()
        self.sweep = in_sweep(job)
        self.started += 1
        self.current = f"#{job.job.num}" if self.sweep else ""
        folder = Path(job.runtime.output_dir)
        if self.sweep and (folder / CANCEL).exists():
            log.info("Job %s was cancelled.", self.current)
            self.cancelled += 1
            return
        identity = identify(cfg) if self.config_name == CONFIG else None
        try:
            with report_run(folder, self.describe, self.log, identity=identity):
                self.work(load, cfg, job)
        except Exception as error:
            close_bars()
            if self.sweep:
                self.note_failure(error, " ".join(job.overrides.task))
            elif isinstance(error, (UserError, OmegaConfBaseException)) and not self.full:
                print(f"error: {join_lines(str(error))}", file=sys.stderr)
                sys.exit(1)
            raise

    def work(self, load: Callable[[], Stage], cfg: DictConfig, hydra: Any) -> None:
        """Check the overrides and run a stage. ``hydra``: Hydra's own node. Raises Interrupted where a signal has ended
        it."""
        try:
            if self.bare is None:
                self.bare = compose_bare(hydra)
            check_overrides(cfg, hydra, self.bare)
            if is_detached(cfg) and not self.sweep:
                raise UserError(f"sweep={DETACHED} is for a sweep: add -m, also for a single job.")
            if TORCH not in sys.modules:
                check_values(cfg, hydra.overrides.task)
            import_for_good(load)(cfg)
        except Exception as error:
            if self.signals:  # it hit a process that the job had started, too
                raise Interrupted(self.signals[0]) from error
            raise

    def describe(self, error: Exception) -> str:
        """Why a job has failed, in one sentence."""
        return sentence(error, self.config_name) if concerns_user(error) else repr(error)

    def note_failure(self, error: Exception, overrides: str) -> None:
        """Say why the running job of a sweep has failed, and let go of all that it held."""
        self.failed.append(self.current)
        traced = self.full or not concerns_user(error)
        self.reason = repr(error) if traced else self.describe(error)
        first = self.reasons.setdefault(self.reason, self.current)
        said = self.reason if traced or first == self.current else f"for the same reason as job {first}"
        log.error("Job %s (%s) has failed: %s", self.current, overrides, said, exc_info=error if traced else None)
        held: BaseException | None = error
        while held is not None:  # Hydra keeps the exception, and so what caused it, until the sweep ends
            traceback.clear_frames(held.__traceback__)
            held = held.__cause__ or held.__context__

    def explain_interruption(self, number: int) -> str:
        """What is said where a signal has ended the command."""
        name = signal.Signals(number).name
        if not self.sweep:
            return f"Interrupted by {name}: run the same command again to resume."
        failed = f" Before it, {join_names(self.failed)} failed." if self.failed else ""
        return (
            f"Interrupted by {name} in job {self.current} of the sweep; no later job was started: the same command "
            f"resumes there.{failed}"
        )


def is_detached(config: DictConfig) -> bool:
    """What ``sweep`` says. Raises UserError where it says nothing that there is."""
    if config.get("sweep", ATTACHED) not in (ATTACHED, DETACHED):
        raise UserError(f"sweep={config.sweep} is neither {ATTACHED} nor {DETACHED}.")
    return config.get("sweep") == DETACHED


def explain_failures(failed: Sequence[str], jobs: int, cancelled: int) -> str:
    """What is said at the end of a sweep of so many jobs, of which some have failed and others were cancelled."""
    verb = "has" if len(failed) == 1 else "have"
    others = [f"{cancelled} {'was' if cancelled == 1 else 'were'} cancelled"] if cancelled else []
    others += ["the other jobs are finished"] if jobs > len(failed) + cancelled else []
    rest = f"; {', '.join(others)}" if others else ""
    return f"{join_names(failed)} of the sweep {verb} failed, as said above{rest}."


def compose_and_run(load: Callable[[], Stage], jobs: Jobs, finish: Callable[[], None] = lambda: None) -> None:
    """Compose a config with the command's overrides and run a stage with it, or answer what is asked instead.
    ``finish`` is called after all jobs, also where some have failed."""
    config_name = jobs.config_name
    assert config_name is not None
    if "--version" in sys.argv[1:]:  # Hydra's own says its own
        print(f"tdattr {tdattr.__version__}")
        return
    if sys.argv[1:2] in (["-sc"], ["--shell-completion"]) and len(sys.argv) == 3:
        sentences(lambda: complete(sys.argv[2], config_name), jobs)
        return

    @hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)
    def composed(cfg: DictConfig) -> None:
        jobs.attempt(load, cfg)

    def work() -> None:
        register_launchers()
        sys.argv[1:] = arrange(sys.argv[1:])
        try:
            composed()
        except Planned:
            if config_name != CONFIG:
                raise UserError(f"{PLAN} is for tdattr: leave it out here.") from None
            raise
        except Exception:
            finish()
            raise
        finish()

    sentences(work, jobs)


def wants_full_errors() -> bool:
    """Whether the user has asked for tracebacks (HYDRA_FULL_ERROR=1)."""
    return os.environ.get(ASKED, os.environ.get(FULL_ERROR, "")) not in ("0", "")


def sentences(command: Callable[[], None], jobs: Jobs) -> None:
    """Run ``command``; end with one sentence and status 1 where the user can mend what went wrong, and with a sentence
    and the status of a shell, 128 + its number, where a signal has ended it."""
    before = {name: os.environ.get(name) for name in (FULL_ERROR, ASKED, SPINS)}
    os.environ[ASKED] = str(int(jobs.full))
    os.environ[FULL_ERROR] = "1"  # Hydra hands exceptions on instead of printing its own extract
    if WAITING not in os.environ:
        os.environ.setdefault(SPINS, FEW_SPINS)
    gc.disable()  # until everything is imported: next to nothing is garbage before
    try:
        with own_job(), interruptible() as jobs.signals:
            command()
    except Interrupted as error:
        close_bars()
        print(error.explained or jobs.explain_interruption(error.number), file=sys.stderr)
        sys.exit(128 + error.number)
    except Exception as error:
        if jobs.full or not (jobs.failed or concerns_user(error)):
            raise
        if not jobs.failed:
            jobs.reason = sentence(error, jobs.config_name)
        said = explain_failures(jobs.failed, jobs.started, jobs.cancelled) if jobs.failed else jobs.reason
        print(f"error: {said}", file=sys.stderr)
        sys.exit(1)
    finally:
        gc.enable()
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def concerns_user(error: Exception) -> bool:
    """Whether an exception is about what the user gave: not an OSError that names no file, nor another error of
    Python's that neither Hydra nor OmegaConf raised."""
    if isinstance(error, (UserError, HydraException, OmegaConfBaseException)):
        return True
    if isinstance(error, OSError):
        return bool(error.filename) or describe_full(error) is not None
    return raised_in(error) in ("hydra", "omegaconf")


def raised_in(error: Exception) -> str:
    """The package whose code raised an exception."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return str(frame.f_globals["__name__"]).partition(".")[0]


def sentence(error: Exception, config_name: str | None) -> str:
    """What to tell the user about an error."""
    if (full := describe_full(error)) is not None:
        return full
    if isinstance(error, OSError) and not isinstance(error, HydraException):
        choice = "--out" if config_name is None else OUTPUTS
        hint = "" if isinstance(error, FileNotFoundError) else f"; choose another folder with {choice}"
        return f"{error.strerror}: {error.filename}{hint}"
    if config_name is None or isinstance(error, UserError):
        return join_lines(str(error))
    return explain(error, [argument for argument in sys.argv[1:] if not argument.startswith("-")], config_name)
