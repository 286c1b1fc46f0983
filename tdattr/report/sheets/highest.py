"""Of scores that nothing judged: what every method names first."""

from tdattr.report.collect import Experiment
from tdattr.report.methods import sort_methods
from tdattr.report.sheet import NOTHING, Cell, Sheet

PROTOCOLS: tuple[str, ...] = ("none",)


def make_sheet(experiment: Experiment) -> Sheet | None:
    """A row per query and seed, a column per method: the item or group with the highest score. None where there are no
    queries."""
    if experiment.itself:
        return None
    methods = sort_methods(experiment, experiment.runs)
    named: dict[tuple[int, int], dict[str, str]] = {}
    labels: dict[tuple[int, int], str] = {}
    for method in methods:
        for seed, run in experiment.runs[method].items():
            for row in run.per_query.to_dict("records"):
                cell = f"{row['named']} ({row['score']:.3g})"
                named.setdefault((seed, row["query"]), {})[method] = cell
                labels[seed, row["query"]] = row["label"]
    rows: list[dict[str, Cell]] = []
    for (seed, query), cells in sorted(named.items()):
        rows.append(
            {"seed": str(seed), "query": labels[seed, query], **{name: cells.get(name, NOTHING) for name in methods}}
        )
    caption = (
        "The training item or group with the highest score by each method, and the score, whose scale is the method's "
        "own. Nothing was retrained: whether these are right is not known."
    )
    return Sheet("highest", "What is named first", caption, rows)
