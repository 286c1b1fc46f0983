"""``tdattr-sweep``: what the jobs of a sweep are doing, their logs, and how to end or repeat some of them.

Any shell may ask. Nothing heavy is imported, so that the answer is there at once.
"""

import argparse
import itertools
import os
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tdattr
from tdattr.errors import UserError
from tdattr.files import expand
from tdattr.run_status import RUNNING, read_status
from tdattr.sweeps import control
from tdattr.sweeps.earlier import read_earlier
from tdattr.sweeps.find import find_sweep
from tdattr.sweeps.lines import choose, count, left_out, tell
from tdattr.sweeps.record import Sweep, SweepJob, read_sweep
from tdattr.sweeps.states import log_of, read_states
from tdattr.wording import counted

MOST_LINES = 40  # that ``status`` shows without --all
FOLLOW_SECONDS = 0.5  # between two looks at a log
LOOKS = 20  # at a log, for one at whether its job is there: SLURM is not to be asked so often
NUMBERS = re.compile(r"(\d+)(?:-(\d+))?")
ACTIONS = {
    "status": "how all jobs are",
    "logs": "the log of one job",
    "cancel": "end jobs, or keep them from starting: those of these numbers, or all",
    "retry": "start jobs again that failed, were lost or cancelled: those of these numbers, or all",
}
CHANGES = ("cancel", "retry")


@dataclass(frozen=True)
class Options:
    """What is asked for. ``numbers``: of jobs; an empty list: all. ``note``: what is to be said of other sweeps."""

    action: str
    folder: Path
    note: str | None
    numbers: list[int]
    whole: bool
    follow: bool


def main() -> None:
    """The command. Ends with status 1 and a sentence where something is wrong."""
    try:
        options = parse(sys.argv[1:])
        if options.note is not None:
            print(options.note, file=sys.stderr)
        run(options, read_sweep(options.folder))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:  # its reader has left: tdattr-sweep status | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        sys.exit(130)


def parse(arguments: Sequence[str]) -> Options:
    """The options. Raises UserError for what cannot be meant."""
    parser = argparse.ArgumentParser("tdattr-sweep", description="What the jobs of a sweep are doing.")
    parser.add_argument("--version", action="version", version=f"tdattr {tdattr.__version__}")
    actions = parser.add_subparsers(dest="action", required=True)
    for name, text in ACTIONS.items():
        action = actions.add_parser(name, help=text, description=f"{text}.")
        words = "NUMBER" if name == "logs" else "SWEEP" if name == "status" else "NUMBER|SWEEP"
        action.add_argument("words", nargs="*", metavar=words, help="numbers of jobs (3 or 5-9), and a sweep's folder")
        action.set_defaults(whole=False, follow=False)
        if name == "status":
            action.add_argument("-a", "--all", dest="whole", action="store_true", help="a line for every job")
        if name == "logs":
            action.add_argument("-f", "--follow", action="store_true", help="also what is still to come")
    given, later = parser.parse_known_args(arguments)  # later: words that stand behind an option
    if unknown := [word for word in later if word.startswith("-")]:
        parser.error(f"there is no option {unknown[0]}")
    said = [*given.words, *later]
    numbers = [number for word in said if NUMBERS.fullmatch(word) for number in read_numbers(word)]
    folders = [expand(word) for word in said if not NUMBERS.fullmatch(word)]
    if len(folders) > 1:
        raise UserError(f"Name one sweep, not {len(folders)}: {' '.join(map(str, folders))}.")
    if given.action == "logs" and len(numbers) != 1:
        raise UserError("Whose log? Write tdattr-sweep logs NUMBER; tdattr-sweep status has the numbers.")
    folder, note = find_sweep(folders, alone=given.action in CHANGES)
    return Options(given.action, folder, note, numbers, given.whole, given.follow)


def read_numbers(word: str) -> range:
    """The numbers that ``3`` or ``5-9`` stands for. Raises UserError for an empty range such as ``9-5``."""
    match = NUMBERS.fullmatch(word)
    assert match is not None
    first, last = int(match[1]), int(match[2] or match[1])
    if last < first:
        raise UserError(f"{word} holds no job: write {last}-{first}.")
    return range(first, last + 1)


def run(options: Options, sweep: Sweep) -> None:
    """Do what is asked. Raises UserError."""
    known = {job.number: job for job in sweep.jobs}
    if unknown := [number for number in options.numbers if number not in known]:
        raise UserError(f"There is no job #{unknown[0]} in {sweep.folder}: tdattr-sweep status has the numbers.")
    if options.action == "status":
        show(sweep, options.numbers, options.whole)
    elif options.action == "logs":
        copy_log(sweep, known[options.numbers[0]], options.follow)
    elif options.action == "cancel":
        print(control.cancel(sweep, options.numbers))
    else:
        print(control.retry(sweep, options.numbers))


def show(sweep: Sweep, numbers: Sequence[int], whole: bool) -> None:
    """Print how the jobs are."""
    state = read_states(sweep)
    earlier = len(read_earlier(sweep.folder))
    print(f"{sweep.folder}: {counted(len(sweep.jobs), 'job')}, {sweep.launcher}, since {sweep.submitted}")
    if state.unknown:
        print(f"SLURM could not be asked ({state.unknown}): this is what the jobs said last.")
    lines = [line for line in tell(state) if not numbers or line.number in numbers]
    shown = lines if whole else choose(lines, MOST_LINES)
    for line in shown:
        print(line)
    if rest := left_out(lines, shown):
        print(f"{rest} (tdattr-sweep status --all shows them)")
    also = f"; {earlier} more were done before, in earlier runs" if earlier else ""
    print(f"{count(state)}{also}")


def copy_log(sweep: Sweep, job: SweepJob, follow: bool) -> None:
    """Print a job's log; with ``follow`` until the job has ended."""
    path = log_of(sweep, job)
    if not path.exists() and not follow:
        raise UserError(f"Job #{job.number} has no log yet ({path}): it has not started.")
    position = 0
    for look in itertools.count():
        running = follow and is_open(sweep, job, look % LOOKS == 0)  # before the last look at the log
        if path.exists():
            with path.open("rb") as file:
                file.seek(position)
                while block := file.read(1 << 16):
                    sys.stdout.buffer.write(block)
                position = file.tell()
            sys.stdout.flush()
        if not running:
            return
        time.sleep(FOLLOW_SECONDS)


def is_open(sweep: Sweep, job: SweepJob, thorough: bool) -> bool:
    """Whether more may come of a job, as it says itself and, if ``thorough``, as its process or SLURM shows."""
    status = read_status(sweep.folder / job.folder)
    if status is not None and status["state"] != RUNNING:
        return False
    return not thorough or next(not state.ended for state in read_states(sweep).jobs if state.job == job)


if __name__ == "__main__":
    main()
