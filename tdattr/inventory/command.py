"""The console command ``tdattr-artifacts``: its arguments, and one sentence where something cannot be done."""

import argparse
import os
import signal
import sys
from io import TextIOWrapper

import tdattr
from tdattr.errors import UserError
from tdattr.files import describe_full, expand, outputs_folder
from tdattr.inventory.artifacts import Inventory, read_inventory
from tdattr.inventory.explain import explain, find
from tdattr.inventory.listing import ORDERS, select, show_list, show_usage
from tdattr.inventory.prune import TRAININGS, Choice, Wanted, choose, prune
from tdattr.inventory.runs import RunFolder, find_runs
from tdattr.inventory.uses import find_uses
from tdattr.inventory.verify import verify
from tdattr.inventory.words import printable
from tdattr.jobs import Interrupted, interruptible
from tdattr.progress import close_bars

PRUNE = f"""
Deletes the artifacts that no run uses, and what killed jobs have left: unfinished artifacts, half-deleted ones, and
leases of killed jobs. It says what goes and asks first.

A finished run uses the artifacts that its summary.json names and all that those were made from. The runs that are
known are those below OUTPUTS/runs and below the folders given by --runs; what runs elsewhere use is not known. While
the summary of a run cannot be read, nothing is pruned.
Artifacts of versions that did not note what they used count as used by every run that may have used them.

To free more, let go of what finished runs needed on the way and need no longer: --trainings (F1, retrained and
unlearned networks: {", ".join(TRAININGS)}), --stage NAME, or --intermediate for all of it. What a run shows stays: its
scores, images, verdict and dataset. The same command then finds its verdict and computes nothing; another command
that needs a network which is gone trains it again. What prune deletes of this kind is noted in
OUTPUTS/artifacts/pruned.jsonl, so that `explain` still knows it. To delete the results of a run too, delete the run's
folder first, then prune.

Never deleted is what a job holds the lease of, and what was asked for since a run began that is still going. Kept
unless --all is given: what no run uses but was asked for within a day (--days), and what was made or asked for while a
run went on that was not finished, as the same command may resume from it.
"""


def main() -> None:
    """``tdattr-artifacts``."""
    if isinstance(sys.stdout, TextIOWrapper):  # a terminal that lacks a letter shows another
        sys.stdout.reconfigure(errors="replace")
    try:
        with interruptible():
            status = run(parse(sys.argv[1:]))
            sys.stdout.flush()
    except BrokenPipeError:  # the reader has left (`| head`); nor shall the interpreter say so when it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    except Interrupted as error:
        close_bars()
        print(f"Interrupted by {signal.Signals(error.number).name}.", file=sys.stderr)
        status = 128 + error.number
    except (UserError, OSError) as error:
        if isinstance(error, OSError) and not error.filename:
            raise
        close_bars()
        print(f"error: {printable(say(error))}", file=sys.stderr)
        status = 1
    sys.exit(status)


def say(error: UserError | OSError) -> str:
    """One sentence on what went wrong."""
    if isinstance(error, UserError):
        return str(error)
    return describe_full(error) or f"{error.strerror}: {error.filename}."


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command and its options."""
    outputs = outputs_folder()
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--outputs", type=expand, default=outputs, metavar="FOLDER", help="default: %(default)s")
    common.add_argument("--artifacts", type=expand, metavar="FOLDER", help="the store; default: OUTPUTS/artifacts")
    common.add_argument(
        "--runs", type=expand, action="append", default=[], metavar="FOLDER", help="runs that lie elsewhere, too"
    )
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("tdattr-artifacts", description="What is stored, who uses it, and what may go.")
    parser.add_argument("--version", action="version", version=f"tdattr {tdattr.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    text = "list the artifacts: what each is, its size and age, and the runs that use it"
    listing = commands.add_parser("list", parents=[common], help=text, description=text.capitalize() + ".")
    listing.add_argument("--stage", action="append", default=[], help="only this stage; may be repeated")
    listing.add_argument("--run", help="only what this run uses")
    listing.add_argument("--unused", action="store_true", help="only what no run uses")
    listing.add_argument("--sort", choices=list(ORDERS), default="age", help="default: %(default)s, the newest first")
    form = listing.add_mutually_exclusive_group()
    for name in ("csv", "json"):
        form.add_argument(f"--{name}", dest="form", action="store_const", const=name, default="table")

    text = "read every file and compare it with its checksum; status 1 where one is damaged or missing"
    checking = commands.add_parser(
        "verify",
        parents=[common],
        help=text,
        description=f"{text.capitalize()}. Takes as long as reading the files takes.",
    )
    checking.add_argument("--stage", action="append", default=[], help="only this stage; may be repeated")

    text = "say in which values and inputs two artifacts or two runs differ"
    explaining = commands.add_parser("explain", parents=[common], help=text, description=f"{text.capitalize()}.")
    for name in ("first", "second"):
        explaining.add_argument(name, help="stage/address, its beginning, that of an address, or a run")

    text = "delete what no run uses, or what finished runs no longer need"
    pruning = commands.add_parser("prune", parents=[common], help=text, description=PRUNE, formatter_class=plain)
    pruning.add_argument("--dry-run", action="store_true", help="only say what would go")
    pruning.add_argument("--yes", action="store_true", help="do not ask")
    pruning.add_argument("--trainings", action="store_true", help="networks that only finished runs have used, too")
    pruning.add_argument("--stage", action="append", default=[], help="this stage's, as --trainings; may be repeated")
    pruning.add_argument("--intermediate", action="store_true", help="everything that finished runs do not show, too")
    pruning.add_argument("--all", action="store_true", help="what no run uses however young it is, too")
    pruning.add_argument("--days", type=read_days, default=1.0, help="for which what no run uses is kept; default: 1")

    text = "show what takes the space: by stage, by run, and what pruning would free"
    commands.add_parser("du", parents=[common], help=text, description=f"{text.capitalize()}.")
    return parser.parse_args(arguments)


def read_days(text: str) -> float:
    """A number of days. Raises ArgumentTypeError for another text."""
    try:
        days = float(text)
    except ValueError:
        days = -1.0
    if not 0 <= days < float("inf"):
        raise argparse.ArgumentTypeError(f"{printable(text)} is no number of days")
    return days


def run(options: argparse.Namespace) -> int:
    """Do what is asked. The status of the command. Raises UserError and OSError for what cannot be done."""
    inventory, runs = read_all(options)
    if options.command == "explain":
        explain(inventory, runs, options.first, options.second)
        return 0
    uses = find_uses(inventory, runs)
    if options.command == "list":
        chosen = None if options.run is None else find_run(inventory, runs, options.run)
        show_list(select(inventory, uses, options.stage, chosen, options.unused), uses, options.sort, options.form)
        return 0
    if options.command == "du":
        show_usage(inventory, runs, uses)
        return 0
    select(inventory, uses, options.stage, None, unused=False)  # a stage that is not there is a mistake
    if options.command == "verify":
        return verify(inventory, runs, uses, options.stage)
    choice = choose_from(options, inventory, runs)
    return prune(inventory.root, choice, lambda: choose_from(options, *read_all(options)), options.yes, options.dry_run)


def read_all(options: argparse.Namespace) -> tuple[Inventory, list[RunFolder]]:
    """What is stored, and the runs that are known. Raises UserError where there is no store."""
    inventory = read_inventory(options.artifacts or options.outputs / "artifacts")
    return inventory, find_runs([options.outputs / "runs", *options.runs])


def choose_from(options: argparse.Namespace, inventory: Inventory, runs: list[RunFolder]) -> Choice:
    """What may go. Raises UserError where it is not known what a run uses."""
    unclear = next((run for run in runs if run.fault is not None), None)
    if unclear is not None:
        raise UserError(
            f"What {unclear.name} uses is not known, as {unclear.fault}: mend it, or delete {unclear.folder}, before "
            "anything is pruned."
        )
    stages = {*options.stage, *(TRAININGS if options.trainings else ())}
    wanted = Wanted(stages, options.intermediate, options.all, options.days)
    return choose(inventory, runs, find_uses(inventory, runs), wanted)


def find_run(inventory: Inventory, runs: list[RunFolder], text: str) -> RunFolder:
    """A run by its name. Raises UserError for another thing."""
    found = find(inventory, runs, text)
    if not isinstance(found, RunFolder):
        raise UserError(f"{text} is an artifact: --run takes the name or folder of a run.")
    return found
