"""What ``tdattr-report`` is asked, and what can be answered before anything heavy is imported."""

import argparse
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import tdattr
from tdattr.errors import UserError
from tdattr.files import expand, outputs_folder

SUMMARY = "summary.json"
ACCURACY = "accuracy.json"  # of a run that ended before a verdict


def parse(arguments: list[str]) -> argparse.Namespace:
    """``runs``, folders, ``out`` and ``quiet``. Raises UserError where no folder holds a finished run."""
    outputs = outputs_folder()
    parser = argparse.ArgumentParser("tdattr-report", description="Collect finished runs into tables and a page.")
    parser.add_argument(
        "runs", nargs="*", type=expand, default=[outputs / "runs"], help=f"folders (default: {outputs}/runs)"
    )
    parser.add_argument("--out", type=expand, default=outputs / "report", help=f"default: {outputs}/report")
    parser.add_argument("--quiet", action="store_true", help="print no tables, only where the files are")
    parser.add_argument("--version", action="version", version=f"tdattr {tdattr.__version__}")
    options = parser.parse_args(arguments)
    if not any(any(find_named(options.runs, name)) for name in (SUMMARY, ACCURACY)):
        raise no_run(options.runs)
    return options


def find_named(folders: Iterable[Path], name: str) -> Iterator[Path]:
    """The files of that name below some folders, but for what is hidden: Hydra's notes, and a sweep's copy of the code
    and the configs that it runs."""
    for folder in folders:
        for place, inner, files in os.walk(folder):
            inner[:] = sorted(each for each in inner if not each.startswith("."))
            if name in files:
                yield Path(place, name)


def no_run(folders: Iterable[Path]) -> UserError:
    """The error where no folder holds a finished run."""
    names = ", ".join(map(str, folders))
    return UserError(
        f"There is no finished run (no {SUMMARY}) below {names}: name a folder of runs, or run tdattr first."
    )
