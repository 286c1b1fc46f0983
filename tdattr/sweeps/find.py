"""Which sweep is meant: the one that is named, else the newest that has jobs running or waiting, else the newest."""

from collections.abc import Sequence
from pathlib import Path

from tdattr.errors import UserError
from tdattr.files import outputs_folder
from tdattr.sweeps.record import SWEEP, Sweep, read_sweep
from tdattr.sweeps.states import SweepState, read_all
from tdattr.wording import name_some

MOST_NAMED = 5  # sweeps, in one line
UNREADABLE = (UserError, ValueError, KeyError, TypeError)  # a record of another version, or a damaged one


def find_sweep(named: Sequence[Path], alone: bool = False) -> tuple[Path, str | None]:
    """The folder of the sweep that is meant, named by its path or by its name among the runs, and what there is to say
    of others. With ``alone`` it must be named unless it is the newest and no other has jobs that run or wait: for what
    cannot be undone. Raises UserError."""
    runs = outputs_folder() / "runs"
    if named:
        places = [named[0], runs / named[0]]
        found = [place for place in places if (place / SWEEP).is_file()]
        if not found:
            raise UserError(f"There is no sweep in {named[0]}: it has no {SWEEP}.")
        return found[0], None
    records = sorted(runs.glob(f"*/{SWEEP}"), key=lambda path: path.stat().st_mtime, reverse=True)
    if not records:
        raise UserError(f"There is no sweep below {runs}: name its folder, or set TDATTR_OUTPUTS.")
    newest = records[0].parent
    unended = list_unended([record.parent for record in records])
    chosen, *others = unended or [newest]
    said = []
    if others:
        said.append(f"jobs of {name_some([each.name for each in others], MOST_NAMED)} run or wait too")
    if chosen != newest:
        said.append(f"{newest.name} is newer and has ended")
    if not said:
        return chosen, None
    note = f"{'; '.join(said)}: name one to ask about it."
    if alone:
        raise UserError(f"Which sweep? Jobs of {chosen.name} run or wait; {note}")
    return chosen, f"This is {chosen.name}; {note}"


def list_unended(folders: Sequence[Path]) -> list[Path]:
    """Those whose sweeps have jobs that run or wait, as far as is known."""
    sweeps: dict[Path, Sweep] = {}
    for folder in folders:
        try:
            sweeps[folder] = read_sweep(folder)
        except UNREADABLE:
            continue
    return [folder for folder, state in zip(sweeps, read_all(list(sweeps.values())), strict=True) if goes_on(state)]


def goes_on(state: SweepState) -> bool:
    """Whether a job runs, or waits for all that is known: not where SLURM could not be asked."""
    return state.count("RUNNING") > 0 or (state.unknown is None and state.count("WAITING") > 0)
