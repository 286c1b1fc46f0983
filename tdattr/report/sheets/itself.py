"""Of scores of training items for themselves: the pairs that share most of that, where duplicates are found."""

from itertools import zip_longest

from tdattr.experiments import ITSELF
from tdattr.report.collect import Experiment
from tdattr.report.methods import sort_methods
from tdattr.report.sheet import NOTHING, Cell, Sheet

PROTOCOLS: tuple[str, ...] = ("none",)


def make_sheet(experiment: Experiment) -> Sheet | None:
    """A row per rank and seed; for every method an item, of those that depend on themselves most, and a pair. None
    where there are queries."""
    if not experiment.itself:
        return None
    methods = sort_methods(experiment, experiment.runs)
    rows: dict[tuple[int, int], dict[str, Cell]] = {}
    for method in methods:
        for seed, run in experiment.runs[method].items():
            shown = run.summary[ITSELF]
            for rank, (item, pair) in enumerate(zip_longest(shown["highest"], shown["pairs"]), start=1):
                row = rows.setdefault((seed, rank), {"seed": str(seed), "rank": str(rank)})
                row[method] = f"{item['named']} ({item['score']:.3g})"
                if pair is not None:  # few items may make fewer pairs
                    row[f"{method}: pairs"] = f"{pair['named']} ({pair['shared']:.3g})"
    columns = [column for method in methods for column in (method, f"{method}: pairs")]
    caption = (
        "The training items that depend on themselves most by each method, and the score, whose scale is the method's "
        "own: what is memorised, or labelled wrongly. Pairs: the two items that share most of their influence on "
        "themselves, which is 1 of exact duplicates."
    )
    filled = [{**row, **{name: row.get(name, NOTHING) for name in columns}} for _, row in sorted(rows.items())]
    return Sheet(ITSELF, "What depends on itself", caption, filled)
