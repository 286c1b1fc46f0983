"""The tables of everything that can be read: one damaged run costs its own row and no more."""

from dataclasses import replace
from pathlib import Path

from tdattr.report.collect import UNREADABLE, Collected, Experiment, collect, describe_error
from tdattr.report.page import Made
from tdattr.report.sheets import make_sheets
from tdattr.report.tables import make_rows


def make_readable(folders: list[Path]) -> tuple[Collected, list[Made]]:
    """The runs below some folders and their tables; a run that these cannot be made of is left out, with the reason.

    Raises UserError where no run can be shown.
    """
    broken: dict[Path, str] = {}
    while True:
        collected = collect(folders, broken)
        try:
            return collected, [make(experiment) for experiment in collected.experiments]
        except UNREADABLE:
            found = find_broken(collected.experiments)
            if not found:
                raise
            broken |= found


def make(experiment: Experiment) -> Made:
    """The tables of an experiment."""
    return experiment, make_rows(experiment), make_sheets(experiment)


def find_broken(experiments: list[Experiment]) -> dict[Path, str]:
    """The folders of the runs of which no tables can be made, even beside nothing but themselves, with the reason."""
    broken = {}
    for experiment in experiments:
        for method, by_seed in experiment.runs.items():
            for seed, run in by_seed.items():
                twice = {method: {seed: run}, f"{method} again": {seed: run}}  # some tables compare two methods
                try:
                    make(replace(experiment, runs=twice))
                except UNREADABLE as error:
                    broken[run.folder] = describe_error(error)
    return broken
