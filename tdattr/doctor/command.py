"""``tdattr-doctor``: look at everything, write the page, print the findings."""

import argparse
import os
import sys

from tdattr.files import expand
from tdattr.own_model import overrides_for

QUIET = (
    "KINETO_LOG_LEVEL",
    "99",
)  # torch's profiler, by which memory is measured, says what it does unless told not to


def run(options: argparse.Namespace) -> None:
    """Do what the options say (`tdattr.doctor.arguments`); ends with status 1 where something is broken. Raises
    UserError for what cannot be composed, and where there is no such data or model."""
    given = [*overrides_for(options.data, options.model), *options.overrides]
    os.environ.setdefault(*QUIET)  # before torch is imported
    from tdattr.doctor.examine import examine
    from tdattr.doctor.page import show, write
    from tdattr.library import read_config
    from tdattr.pipeline.run import own_settings

    cfg, given = read_config(given)
    folder = options.out or expand(cfg.paths.outputs) / "doctor"
    with own_settings():
        found = examine(cfg, given, options)
    write(found, folder)
    show(found, folder)
    if found.verdict == "broken":
        sys.exit(1)
