"""Is one method better than another on the same queries? Paired tests, every method against every other."""

import numpy as np
from jaxtyping import Float

from tdattr.metrics.agreement import sign_flip_p_value
from tdattr.metrics.comparison import mark_few
from tdattr.protocols.leaderboard import HEADINGS, order
from tdattr.report.collect import Experiment
from tdattr.report.methods import explain_footnotes, sort_methods
from tdattr.report.pooling import pool
from tdattr.report.sheet import NOTHING, Cell, Number, Sheet
from tdattr.report.tables import PROTOCOL as REMOVAL

NAME = "paired"
BANK = "bank"
PROTOCOLS: tuple[str, ...] = (REMOVAL, "logo", "truth", "lds", "removal_loss", BANK)
EXCESS = "rise above random"  # of losses, in points: methods are compared with as many random items as each removed
COLUMNS = {"logo": "spearman", "truth": "spearman", "lds": "lds", "removal_loss": EXCESS}  # what is compared
RESAMPLES = 2000  # sign flips: no p is below one in so many


def make_sheet(experiment: Experiment) -> Sheet | None:
    """A row and a column per method: the p value of their difference; None where there are fewer than two methods."""
    known = sort_methods(experiment, experiment.unablated)
    measure = find_measure(experiment, known)
    methods = [name for name in known if experiment.protocol != BANK or measure in experiment.pool_queries(name)]
    if len(methods) < 2 or measure is None:
        return None
    tests: dict[tuple[str, str], Cell] = {}
    for index, first in enumerate(methods):
        for second in methods[index + 1 :]:
            tests[first, second] = tests[second, first] = compare(experiment, first, second, measure)
    means = {name: float(read_values(experiment, name, measure, set(experiment.runs[name])).mean()) for name in methods}
    rows: list[dict[str, Cell]] = []
    for first in methods:
        row: dict[str, Cell] = {"method": first, f"mean {measure}": Number(means[first])}
        rows.append(row | {second: tests.get((first, second), NOTHING) for second in methods})
    better = "lower is better, as the pictures changed more" if experiment.protocol == REMOVAL else "higher is better"
    caption = (
        f"Two-sided p of the mean difference in {measure} ({better}) of two methods on the same queries, of the seeds "
        "that both were run with: paired sign flips, a permutation test after Fisher (Design of Experiments, 1935), "
        f"{RESAMPLES} of them or all there are. Not corrected for the number of pairs; queries of a seed share their "
        f"retrainings, which no p of queries covers.{explain_footnotes(rows)}"
    )
    if without := [name for name in known if name not in methods]:
        caption += f" Without {measure}, which they do not have: {', '.join(without)}."
    return Sheet(NAME, f"Paired tests between methods, p by {measure}", caption, rows, printed=False)


def find_measure(experiment: Experiment, methods: list[str]) -> str | None:
    """What is compared: of removals the first measure that all methods have, of a bank the first that most
    have, rather one that tells methods apart: methods of groups have no LDS."""
    if experiment.protocol == BANK:
        measured = [experiment.first(method).summary["bank"] for method in methods]
        ceilings = {name: values["ceiling"] for measures in measured for name, values in measures.items()}
        names = order(HEADINGS, ceilings)
        return next((name for name in names if 2 * sum(name in each for each in measured) > len(measured)), None)
    if experiment.protocol != REMOVAL:
        return COLUMNS[experiment.protocol]
    having = (name for name in experiment.measures if all(experiment.has_measure(each, name) for each in methods))
    return next(having, None)


def read_values(experiment: Experiment, method: str, measure: str, seeds: set[int]) -> Float[np.ndarray, " query"]:
    """A value per query of those seeds, in their order."""
    if experiment.protocol == REMOVAL:
        return pool(experiment, method, measure, "attributed", seeds)[0]
    tables = [experiment.runs[method][seed].per_query for seed in sorted(seeds)]
    if measure == EXCESS:
        values = [table["rise_percent"] - table["random_rise_percent"] for table in tables]
    else:
        values = [table[measure] for table in tables]
    return np.concatenate([each.to_numpy(np.float64) for each in values])


def compare(experiment: Experiment, first: str, second: str, measure: str) -> Cell:
    """The p value of two methods; nothing where they have no queries in common."""
    seeds = experiment.runs[first].keys() & experiment.runs[second].keys()
    if not seeds:
        return NOTHING
    values, others = (read_values(experiment, name, measure, seeds) for name in (first, second))
    if len(values) != len(others):
        return NOTHING
    p_value = sign_flip_p_value(values, others, RESAMPLES)
    return Number(p_value, ".2g", footnote=mark_few(len(values)))
