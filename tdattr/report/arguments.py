"""What ``tdattr-report`` is asked, and what can be answered before anything heavy is imported."""

import argparse
import os
from collections.abc import Iterable
from pathlib import Path

import tdattr
from tdattr.errors import UserError
from tdattr.files import expand

SUMMARY = "summary.json"
ACCURACY = "accuracy.json"  # of a run that ended before a verdict


def parse(arguments: list[str]) -> argparse.Namespace:
    """``runs``, folders, and ``out``. Raises UserError where no folder holds a finished run."""
    outputs = expand(os.environ.get("TDATTR_OUTPUTS") or "outputs")
    parser = argparse.ArgumentParser("tdattr-report", description="Collect finished runs into tables and a page.")
    parser.add_argument(
        "runs", nargs="*", type=expand, default=[outputs / "runs"], help=f"folders (default: {outputs}/runs)"
    )
    parser.add_argument("--out", type=expand, default=outputs / "report", help=f"default: {outputs}/report")
    parser.add_argument("--version", action="version", version=f"tdattr {tdattr.__version__}")
    options = parser.parse_args(arguments)
    if not any(any(folder.rglob(name)) for folder in options.runs for name in (SUMMARY, ACCURACY)):
        raise no_run(options.runs)
    return options


def no_run(folders: Iterable[Path]) -> UserError:
    """The error where no folder holds a finished run."""
    names = ", ".join(map(str, folders))
    return UserError(
        f"There is no finished run (no {SUMMARY}) below {names}: name a folder of runs, or run tdattr first."
    )
