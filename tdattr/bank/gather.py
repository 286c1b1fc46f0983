"""The leaderboard of a bank, from finished runs: the newest of every method."""

import logging
from pathlib import Path

import pandas as pd

from tdattr.errors import UserError
from tdattr.protocols.bank import Bank
from tdattr.protocols.bank_file import LEADERBOARD
from tdattr.protocols.leaderboard import SECONDS, list_means, show
from tdattr.report.arguments import SUMMARY
from tdattr.report.collect import Run, collect
from tdattr.tables import write_table

log = logging.getLogger(__name__)


def gather(runs: Path, bank: Bank) -> None:
    """Write the leaderboard of the finished runs that this bank has judged by what it holds now, and show it."""
    judged = find_judged(runs, bank)
    if not judged:
        log.info("No method has been judged by it yet: run tdattr protocol=bank dataset=%s method=…", bank.dataset)
        return
    table = pd.concat([make_table(method, run) for method, run in judged.items()], ignore_index=True)
    write_table(bank.path / LEADERBOARD, table)
    measured = [run.summary["bank"] for run in judged.values()]
    ceilings = {name: values["ceiling"] for measures in measured for name, values in measures.items()}
    log.info("%s", show(list_means(table, ceilings), "github"))


def find_judged(runs: Path, bank: Bank) -> dict[str, Run]:
    """The newest run of every method that the bank has judged on all of its queries, by the name of the method."""
    try:
        experiments = collect([runs]).experiments
    except UserError:  # there is no run
        return {}
    judged = [
        (method, run)
        for experiment in experiments
        if experiment.protocol == "bank"
        for method, by_seed in experiment.runs.items()
        for run in by_seed.values()
        if is_judged_by(run, bank)
    ]
    most = max((run.summary["num_queries"] for _, run in judged), default=0)
    whole = [(method, run) for method, run in judged if run.summary["num_queries"] == most]
    whole.sort(key=lambda entry: (entry[1].folder / SUMMARY).stat().st_mtime)  # of a name the newest stays
    return dict(whole)


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
