"""The leaderboard of a bank, from finished runs: the newest of every method."""

import logging
from pathlib import Path

import pandas as pd

from tdattr.errors import UserError
from tdattr.protocols.bank import Bank
from tdattr.protocols.leaderboard import LEADERBOARD, SECONDS, list_means, show
from tdattr.report.collect import Run, collect
from tdattr.tables import write_table

log = logging.getLogger(__name__)


def gather(runs: Path, bank: Bank) -> None:
    """Write the leaderboard of the finished runs that this bank has judged by what it holds now, and show it."""
    tables = dict(find_tables(runs, bank))
    if not tables:
        log.info("No method has been judged by it yet: run tdattr protocol=bank dataset=%s method=…", bank.dataset)
        return
    table = pd.concat(tables.values(), ignore_index=True)
    write_table(bank.path / LEADERBOARD, table)
    log.info("%s", show(list_means(table), "github"))


def find_tables(runs: Path, bank: Bank) -> dict[str, pd.DataFrame]:
    """The rows of the leaderboard by the name of the method."""
    try:
        experiments = collect([runs]).experiments
    except UserError:  # there is no run
        return {}
    return {
        method: make_table(method, by_seed[seed])
        for experiment in experiments
        if experiment.protocol == "bank"
        for method, by_seed in experiment.runs.items()
        for seed in by_seed
        if is_judged_by(by_seed[seed], bank)
    }


def is_judged_by(run: Run, bank: Bank) -> bool:
    """Whether a run was of the attributed queries, and of the bank as it is."""
    return run.summary["bank_digest"] == bank.digest and run.config["queries"]["explained"] == "attributed"


def make_table(method: str, run: Run) -> pd.DataFrame:
    """A method's rows of the leaderboard."""
    table = run.per_query.copy()
    table.insert(0, "method", method)
    table[SECONDS] = run.summary["seconds_per_query"]
    return table
