"""The tables of an experiment: every module of this package is a `SheetMaker`, and the report finds it here."""

from dataclasses import replace
from importlib import import_module
from pkgutil import iter_modules
from typing import Protocol, cast

from tdattr.report.collect import Experiment
from tdattr.report.per_query import make_generic_sheet
from tdattr.report.sheet import Sheet


class SheetMaker(Protocol):
    """What a module of this package offers."""

    PROTOCOLS: tuple[str, ...]  # whose runs it has a table of

    def make_sheet(self, experiment: Experiment) -> Sheet | None:
        """The table; None where the runs have nothing for it."""
        ...


MAKERS = tuple(cast(SheetMaker, import_module(f"{__name__}.{module.name}")) for module in iter_modules(__path__))


def make_sheets(experiment: Experiment) -> list[Sheet]:
    """Every table that the runs have something for, by name; of a protocol without tables of its own a generic one.

    Where the first model is no good, every caption says so.
    """
    makers = [maker for maker in MAKERS if experiment.protocol in maker.PROTOCOLS]
    made = [maker.make_sheet(experiment) for maker in makers] if makers else [make_generic_sheet(experiment)]
    far = experiment.far_from_data
    sheets = [replace(sheet, caption=f"{sheet.caption} {far}") if far else sheet for sheet in made if sheet is not None]
    return sorted(sheets, key=lambda sheet: sheet.name)
