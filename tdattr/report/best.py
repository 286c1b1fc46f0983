"""Which method is best, whether that is significant, and what each costs, in a sentence each."""

from collections.abc import Sequence

from tdattr.report.collect import Experiment
from tdattr.report.methods import sort_methods
from tdattr.report.pooling import mean_or_none
from tdattr.report.sheet import Number, Sheet
from tdattr.report.sheets import paired
from tdattr.report.statements import list_tested
from tdattr.report.tables import PROTOCOL as REMOVAL
from tdattr.wording import counted

SIGNIFICANT = 0.01  # as in the tables


def find_paired(sheets: Sequence[Sheet]) -> Sheet | None:
    """The table of paired tests, where there is one."""
    return next((sheet for sheet in sheets if sheet.name == paired.NAME), None)


def rank_methods(experiment: Experiment, sheets: Sequence[Sheet]) -> dict[str, float]:
    """The means of the methods that something is claimed for, by what the table of paired tests compares, the best
    first; none where there is no such table."""
    sheet, tested = find_paired(sheets), list_tested(experiment)
    if sheet is None:
        return {}
    cells = {str(row["method"]): row[sheet.columns[1]] for row in sheet.rows if row["method"] in tested}
    means = {name: cell.value for name, cell in cells.items() if isinstance(cell, Number) and cell.value is not None}
    return dict(sorted(means.items(), key=lambda entry: entry[1], reverse=experiment.protocol != REMOVAL))


def tell_best(experiment: Experiment, sheets: Sequence[Sheet]) -> str | None:
    """The best method by what the table of paired tests compares, and the next best; None where there are no two
    methods that something is claimed for, or no such table."""
    sheet, means = find_paired(sheets), rank_methods(experiment, sheets)
    if sheet is None or len(means) < 2:
        return None
    best, following, *_ = means
    mean, rows = sheet.columns[1], [row for row in sheet.rows if row["method"] in list_tested(experiment)]
    better = "lower" if experiment.protocol == REMOVAL else "higher"
    told = (
        f"By {mean}, where {better} is better, {best} is the best of {counted(len(rows), 'method')} "
        f"({means[best]:.3f}); the next is {following} ({means[following]:.3f})."
    )
    test = next(row[following] for row in rows if row["method"] == best)
    if not isinstance(test, Number) or test.value is None:
        return f"{told} They have no queries in common, so nothing says whether that is chance."
    verdict = "is significant" if test.value < SIGNIFICANT else "is not significant"
    few = " Few queries stand behind it." if test.footnote else ""
    return (
        f"{told} On the same queries that {verdict} (p = {test.value:.2g} by paired sign flips; significant is p < "
        f"{SIGNIFICANT}).{few}"
    )


def tell_cost(experiment: Experiment) -> str:
    """Seconds per query of every method, and on what."""
    names = sort_methods(experiment, experiment.unablated or experiment.runs)
    runs = [run for name in names for run in experiment.runs[name].values()]
    seconds = {
        name: mean_or_none(run.summary["seconds_per_query"] for run in experiment.runs[name].values()) for name in names
    }
    devices = sorted({run.summary.get("device") or "an unknown device" for run in runs})
    listed = ", ".join(f"{name} {Number(value, '.2f', below=0.01)}" for name, value in seconds.items())
    return f"Seconds per query: {listed}; on {', '.join(devices)}."
