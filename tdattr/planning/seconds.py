"""How long an artifact will take: as like ones that are stored took, or a measured step, or as a paper says."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tdattr.costs import Cost, Work
from tdattr.errors import UserError
from tdattr.integrity import read_provenance
from tdattr.pipeline.encode import LATENTS
from tdattr.planning.graph import Entry
from tdattr.planning.measure import Measured
from tdattr.planning.published import SCALED, SOURCES, look_up, scale
from tdattr.planning.workspace import READING, PlannedWorkspace
from tdattr.store import Plan

CPU = "cpu"  # the device that artifacts of a run without an accelerator name
RECORDED, MEASURED, TRIAL, FILES, UNKNOWN = "recorded", "measured", "trial", "files", "unknown"
MOST_EXTRAPOLATED = 20.0  # times the work of what is stored: of less, starting takes too large a part; ours
EXPLAINED = {
    RECORDED: "the seconds of like artifacts in the store on such a device, in proportion to their work",
    TRIAL: f"the seconds of like artifacts of less than 1/{MOST_EXTRAPOLATED:.0f} of the work: a trial's, rather many",
    MEASURED: "a step of the actual network on this device (of a dataset: its first images), timed now and thrown away",
    **SOURCES,
    FILES: "no network is run: files are read and written",
    UNKNOWN: "nothing like it is stored, and no step of it can be measured: not in the total",
}


@dataclass(frozen=True)
class Estimate:
    """Seconds, None where they are unknown, and where they come from, one of ``EXPLAINED``."""

    seconds: float | None
    source: str


@dataclass(frozen=True)
class Known:
    """The seconds of a unit of work, and of how many units they are the mean."""

    per_unit: float
    units: int


class Estimates:
    """Estimates for the artifacts of any number of jobs; every network is measured once."""

    def __init__(self) -> None:
        self.measured: dict[str, Measured] = {}
        self.recorded: dict[Path, Recorded] = {}

    def estimate(self, entry: Entry) -> Estimate:
        """How long it takes to build an artifact that is missing."""
        plan, ws, cost = entry.plan, entry.ws, entry.cost
        work = None if cost is None else cost.expected
        if cost is None or work is None:
            return Estimate(None, UNKNOWN)
        known = self.look_up(plan, ws)
        if known is not None and work.units <= MOST_EXTRAPOLATED * known.units:
            return Estimate(known.per_unit * work.units, RECORDED)
        other = self.estimate_anew(entry, cost, work)
        return Estimate(known.per_unit * work.units, TRIAL) if known is not None and other.seconds is None else other

    def estimate_anew(self, entry: Entry, cost: Cost, work: Work) -> Estimate:
        """The same where too little of the kind is stored: as a paper says, as it is measured, or unknown."""
        plan, ws = entry.plan, entry.ws
        published = look_up(plan, work, cost.what, ws) if ws.absent else None
        if published is not None:
            return Estimate(*published)
        if work.idle:
            return Estimate(0.0, FILES)
        if plan.stage == ws.prepared.stage and READING in ws.data.facts:
            return Estimate(ws.data.facts[READING], MEASURED)
        if not ws.absent:
            measured = self.measured.setdefault(ws.size, Measured(ws))
            seconds = measured.encoded * work.looks if plan.stage == LATENTS else measured.seconds(work)
            return Estimate(seconds, UNKNOWN if seconds is None else MEASURED)
        return Estimate(scale(work, ws), SCALED) if work.passes else Estimate(None, UNKNOWN)

    def look_up(self, plan: Plan, ws: PlannedWorkspace) -> Known | None:
        """What is stored of like work on this device, or, where the run's is not here, on those that were not a CPU;
        None where there is nothing like it."""
        folder = plan.store.root / plan.stage
        recorded = self.recorded.setdefault(folder, Recorded(folder))
        devices = {device for like, device in recorded.sums if like == plan.like}
        known = devices - {CPU} if ws.absent else devices & {plan.store.device}
        sums = [recorded.sums[plan.like, device] for device in known]
        units = sum(units for _, units in sums)
        return Known(sum(seconds for seconds, _ in sums) / units, units) if plan.like and units else None


@dataclass(frozen=True)
class Recorded:
    """What the artifacts of a stage have taken."""

    folder: Path

    @cached_property
    def sums(self) -> dict[tuple[str, str], tuple[float, int]]:
        """Seconds and units of work, by what they are like and by device."""
        found: dict[tuple[str, str], tuple[float, int]] = {}
        for path in self.folder.glob("[!.]*"):
            try:
                content = read_provenance(path)
            except UserError:  # damaged: whoever needs it says so
                continue
            if "work" in content:
                key = content["work"]["like"], content["device"]
                seconds, units = found.get(key, (0.0, 0))
                found[key] = seconds + content["seconds"], units + content["work"]["units"]
        return found
