"""``tdattr-doctor``: look at everything, write the page, print the findings."""

import argparse
import os
import sys

from tdattr.composition import compose_command
from tdattr.declared import check_values
from tdattr.files import expand
from tdattr.own_model import overrides_for

FOLDER = "doctor"  # in paths.outputs
QUIET = ("KINETO_LOG_LEVEL", "99")  # of torch's profiler, by which memory is measured: it tells what it does


def run(options: argparse.Namespace) -> None:
    """Do what the options say (`tdattr.doctor.arguments`); ends with status 1 where something is broken. Raises
    UserError for what cannot be composed, and where there is no such data or model."""
    os.environ.setdefault(*QUIET)  # before torch is imported
    composed = compose_command([*overrides_for(options.data, options.model), *options.overrides])
    cfg, given = composed.cfg, composed.overrides
    check_values(cfg, given)
    from tdattr.doctor.examine import examine
    from tdattr.doctor.page import show, write
    from tdattr.metrics.choice import complete_measures
    from tdattr.pipeline.run import own_settings

    complete_measures(cfg, composed.sources)
    folder = options.out or expand(cfg.paths.outputs) / FOLDER
    with own_settings():
        found = examine(cfg, given, options)
    write(found, folder)
    show(found, folder)
    if found.verdict == "broken":
        sys.exit(1)
