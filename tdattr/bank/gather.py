"""The leaderboard of a bank, from finished runs: the newest of every method."""

import logging
from pathlib import Path

import pandas as pd

from tdattr.errors import UserError
from tdattr.protocols.bank import Bank
from tdattr.protocols.bank_file import LEADERBOARD
from tdattr.protocols.leaderboard import SECONDS, list_means, load_leaderboard, show
from tdattr.report.arguments import SUMMARY
from tdattr.report.collect import Run, collect
from tdattr.tables import write_table

log = logging.getLogger(__name__)


def gather(runs: Path, bank: Bank) -> None:
    """Write the leaderboard of the finished runs that this bank has judged by what it holds now, and show it.

    It is of the most queries that any of them, or the leaderboard before, was judged on: runs of fewer are named and
    left out.
    """
    judged = find_judged(runs, bank)
    if not judged:
        log.info("No method has been judged by it yet: run tdattr protocol=bank dataset=%s method=…", bank.dataset)
    before = load_leaderboard(bank.path)
    known = 0 if before is None else int(before["query"].nunique())
    most = max([known, *(run.summary["num_queries"] for _, run in judged)])
    whole = {method: run for method, run in judged if run.summary["num_queries"] == most}
    for method, run in judged:
        if run.summary["num_queries"] < most:
            log.warning(
                "%s: left out, as it was judged on %d of the %d queries of the leaderboard: run it without "
                "queries.attributed.",
                method,
                run.summary["num_queries"],
                most,
            )
    if not whole:
        return
    table = pd.concat([make_table(method, run) for method, run in whole.items()], ignore_index=True)
    write_table(bank.path / LEADERBOARD, table)
    ceilings = {name: values["ceiling"] for run in whole.values() for name, values in run.summary["bank"].items()}
    log.info("Leaderboard on %d of the bank's %d queries:", most, len(bank.data.x))
    log.info("%s", show(list_means(table, ceilings)))


def find_judged(runs: Path, bank: Bank) -> list[tuple[str, Run]]:
    """The runs that the bank has judged, with the names of their methods, the newest last."""
    try:
        experiments = collect([runs]).experiments
    except UserError:  # there is no run
        return []
    judged = [
        (method, run)
        for experiment in experiments
        if experiment.protocol == "bank"
        for method, by_seed in experiment.runs.items()
        for run in by_seed.values()
        if is_judged_by(run, bank)
    ]
    return sorted(judged, key=lambda entry: (entry[1].folder / SUMMARY).stat().st_mtime)


def is_judged_by(run: Run, bank: Bank) -> bool:
    """Whether a run was of the attributed queries, of the bank as it is, and of a damping that they did not choose."""
    asked = run.config["queries"]["explained"] == "attributed" and "grid" not in run.summary
    return asked and run.summary["bank_digest"] == bank.digest


def make_table(method: str, run: Run) -> pd.DataFrame:
    """A method's rows of the leaderboard."""
    table = run.per_query.copy()
    table.insert(0, "method", method)
    table[SECONDS] = run.summary["seconds_per_query"]
    return table
