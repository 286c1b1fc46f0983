"""``tdattr-explain``: which training pictures made these pictures possible? For people who do not know Hydra: it says
which command of ``tdattr`` is the same, runs it, and writes the report."""

import argparse
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tdattr
from tdattr import cli
from tdattr.errors import UserError
from tdattr.files import expand, outputs_folder
from tdattr.overrides import quote, quote_value
from tdattr.own_model import overrides_for
from tdattr.report.arguments import SUMMARY

# the baseline that looks, and a method that asks the model, with D-TRAK's fewer draws: a first answer in minutes
DEFAULT = {"pixel": [], "das": ["method.gradients.draws=10"]}
SIGNALS = 128  # statuses from here on: a signal has ended the command, which is no time for a report
CHECK, SCORES = "removal_loss", "none"  # protocols
UNANNOUNCED = "++hydra.hydra_logging.root.level=WARNING"  # Hydra's line for each job repeats all of this
ALL_SEEN = "dataset.source.held_out=0"  # a model that was trained elsewhere may have seen every picture


@dataclass(frozen=True)
class Request:
    """What was asked: the overrides of each command of ``tdattr``, and where the report is written."""

    commands: list[list[str]]
    out: Path


def main() -> None:
    """The command: run, then report."""
    requests: list[Request] = []
    cli.sentences(lambda: requests.append(read_request(sys.argv[1:])), cli.Jobs())
    request = requests[0]
    for overrides in request.commands:
        print(f"The same as: tdattr -m {shlex.join(overrides)}", flush=True)
    place = outputs_folder().absolute() / "runs" / time.strftime("explained-%Y-%m-%d_%H-%M-%S")
    folders = [place.with_name(f"{place.name}-{number}") for number, _ in enumerate(request.commands)]
    code = 0
    for overrides, folder in zip(request.commands, folders, strict=True):
        sys.argv = ["tdattr", "-m", *overrides, quote("hydra.sweep.dir", str(folder)), UNANNOUNCED]
        code = run_to_the_end() or code
        if code >= SIGNALS:
            sys.exit(code)
    done = [str(folder) for folder in folders if any(folder.glob(f"**/{SUMMARY}"))]
    if done:  # none after plan=true and until=…
        sys.argv = ["tdattr-report", *done, "--out", str(request.out), "--quiet"]
        cli.report()
    if code:
        sys.exit(code)


def run_to_the_end() -> int:
    """Run the command; gives its status, which is that of the last job that has failed, rather than end with it: the
    other jobs have something to show."""
    try:
        cli.main()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0


def read_request(arguments: Sequence[str]) -> Request:
    """Parse a command line. Raises UserError where a picture, the data or the model is missing."""
    outputs = outputs_folder()
    parser = argparse.ArgumentParser(
        "tdattr-explain",
        description="Which training pictures made these pictures possible? Scores them by one or more methods and "
        "writes a page. Without --model one is trained on the data first.",
    )
    parser.add_argument("pictures", nargs="+", metavar="PICTURE", help="pictures, or folders of them; also OVERRIDES")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="the training pictures; or give dataset=…")
    parser.add_argument(
        "--model", type=Path, metavar="PATH", help="weights that tdattr trained, a folder of diffusers, or a LoRA"
    )
    parser.add_argument("--method", help=f"one or more, with commas between them (default: {','.join(DEFAULT)})")
    parser.add_argument(
        "--groups", metavar="FIELD", help="what artists or classes are: a field of the items, or a file"
    )
    parser.add_argument("--condition", help="what all pictures show, where the model is told a class")
    parser.add_argument("--prompt", help="what all pictures show, where the model is told a text")
    parser.add_argument(
        "--check", action="store_true", help="also retrain without what is named, and see whether the pictures suffer"
    )
    parser.add_argument(
        "--out", type=expand, default=outputs / "explained", help=f"folder of the page (default: {outputs}/explained)"
    )
    parser.add_argument("--version", action="version", version=f"tdattr {tdattr.__version__}")
    options = parser.parse_intermixed_args(arguments)
    pictures = [text for text in options.pictures if is_picture(text)]
    overrides = [text for text in options.pictures if not is_picture(text)]
    if not pictures:
        raise UserError("Name at least one picture, or a folder of pictures, to be explained.")
    missing = next((text for text in pictures if not expand(text).exists()), None)
    if missing is not None:
        raise UserError(f"{missing} does not exist: give a picture, a folder of pictures, or an override KEY=VALUE.")
    if options.data is None and not any(override.startswith("dataset=") for override in overrides):
        raise UserError("Say which pictures the model was trained on: --data FOLDER, or dataset=NAME.")
    own = overrides_for(options.data, options.model)
    if options.data is not None and any(override.startswith("model=") for override in own):
        own.append(ALL_SEEN)
    asked = DEFAULT if options.method is None else {options.method: []}
    common = describe(options, pictures)
    commands = [[*own, *common, f"method={method}", *settings, *overrides] for method, settings in asked.items()]
    return Request(commands, options.out)


def is_picture(text: str) -> bool:
    """Whether an argument names a picture, rather than an override."""
    return "=" not in text or expand(text).exists()


def describe(options: argparse.Namespace, pictures: Sequence[str]) -> list[str]:
    """The overrides that say what is explained, and whether that is checked."""
    paths = [quote_value(str(expand(text).absolute())) for text in pictures]
    overrides = [f"queries.images=[{','.join(paths)}]", f"protocol={CHECK if options.check else SCORES}"]
    given = {"dataset.groups": options.groups, "queries.condition": options.condition, "queries.prompt": options.prompt}
    return overrides + [quote(key, value) for key, value in given.items() if value is not None]
