"""The tables of a comparison: each is a ``table`` in a file of its own, which says the protocol that it is for."""

from tdattr.report.collect import Comparison
from tdattr.report.sheet import Sheet
from tdattr.report.sheets import (
    ablations,
    agreement,
    aucs,
    changes,
    dampings,
    ensembles,
    group_agreement,
    lds,
    overlaps,
    times,
)

MODULES = (aucs, ablations, ensembles, changes, times, overlaps, agreement, lds, dampings, group_agreement)


def sheets(comparison: Comparison) -> list[Sheet]:
    """Every table that the runs of the comparison have something for."""
    made = [
        module.table(comparison)
        for module in MODULES
        if comparison.protocol in (module.PROTOCOL if isinstance(module.PROTOCOL, tuple) else (module.PROTOCOL,))
    ]
    return [sheet for sheet in made if sheet is not None]
