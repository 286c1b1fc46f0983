"""How long each method takes here, and how much memory, before it is run."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from tdattr.costs import NUMBER_BYTES, Work
from tdattr.doctor.findings import Finding
from tdattr.errors import UserError
from tdattr.library import read_config
from tdattr.overrides import parse
from tdattr.pipeline.attribute import attribute
from tdattr.pipeline.check import check, loadables
from tdattr.pipeline.generate import generate
from tdattr.pipeline.run import use_threads
from tdattr.pipeline.train import train
from tdattr.planning.graph import Graph
from tdattr.planning.measure import Measured
from tdattr.planning.memory import peak_of_batch
from tdattr.planning.seconds import Estimates
from tdattr.planning.table import Row, show_bytes, show_seconds
from tdattr.planning.workspace import PlannedWorkspace, open_planned
from tdattr.progress import track
from tdattr.report.sheet import NOTHING, Cell, Sheet
from tdattr.scoring.gradients import items_together
from tdattr.search_path import load_group
from tdattr.wording import counted

MOST_NAMED = 4  # in a sentence
OF_METHODS = ("method", "ablation")  # what is given for one method and means nothing to others
CAPTION = (
    "The time for all queries on this device, beyond F1 and the queries themselves, as plan=true reckons it: by like "
    "artifacts in the store, or by steps that were timed now. What is stored already is not in it. The memory is that "
    "of the device for the networks and one step of the largest kind that the method takes (forward passes, training, "
    "gradients of single items, each in the batches that the settings say), without datasets, what torch itself takes, "
    "and what a way through the training of F1 holds, which a run says before it begins. What looks at images cannot "
    "be timed beforehand (?)."
)


@dataclass
class Priced:
    """A method: how it is chosen, what it scores, and what it takes or why it cannot run."""

    name: str
    scores: str = ""
    row: Row = field(default_factory=Row)
    memory: int | None = None
    refused: str | None = None

    @property
    def time(self) -> str:
        """For people."""
        if not self.row.missing:
            return "is there"
        text = self.row.bound + show_seconds(self.row.seconds)
        return text if self.row.timed else f"{text} + ?" if self.row.seconds else "?"


class Prices:
    """What methods take; every network is measured once."""

    def __init__(self) -> None:
        self.estimates = Estimates()
        self.steps: dict[str, Steps] = {}

    def price(self, name: str, ws: PlannedWorkspace, given: Sequence[str]) -> Priced:
        """What a workspace's method takes. Raises UserError where it cannot run."""
        check(ws, given, weights=False)
        here = replace(ws.setting(), weightless=False)
        for part in loadables([ws.method]):
            part.identity_with_versions(here)
        shared = Graph()
        for plan in (ws.prepared, *ws.data.train.plan_x(False), generate(ws, train(ws))):
            shared.visit(shared.find(plan, ws), 0, True)
        graph = Graph()
        graph.visit(graph.find(attribute(ws), ws), 0, True)
        row = Row([entry for name, entry in graph.entries.items() if name not in shared.entries])
        row.estimates = [self.estimates.estimate(entry) for entry in row.missing]
        scores = "groups" if ws.method.scores_groups else "items"
        return Priced(name, scores, row, self.memory(ws, row.work))

    def memory(self, ws: PlannedWorkspace, work: Work) -> int | None:
        """The bytes on the device."""
        if ws.absent or not work.passes:
            return None
        measured = self.estimates.measured.setdefault(ws.size, Measured(ws))
        steps = self.steps.setdefault(ws.size, Steps(measured))
        kinds = [(work.trained, steps.trained), (work.gradients, steps.gradient), (work.evaluations, steps.evaluated)]
        used = [size for count, size in kinds if count]
        if None in used:
            return None
        copies = 2 if work.trained else 1  # beside a network that is trained F1 stays
        return copies * ws.weight_bytes + max(size for size in used if size is not None)


@dataclass(eq=False)
class Steps:
    """The bytes of the three kinds of steps."""

    measured: Measured

    @cached_property
    def trained(self) -> int | None:
        """A step of the training."""
        ws = self.measured.ws
        return peak_of_batch(self.measured.training_step, ws.train.batch_size // ws.train.accumulate, ws.device)

    @cached_property
    def evaluated(self) -> int | None:
        """A batch of forward passes."""
        ws = self.measured.ws
        return peak_of_batch(self.measured.evaluation, ws.trainer.scoring_batch, ws.device)

    @cached_property
    def gradient(self) -> int | None:
        """A batch of gradients, and those that are held to be projected together."""
        ws, size = self.measured.ws, sum(value.numel() for value in self.measured.network.parameters())
        step = peak_of_batch(self.measured.gradients, self.measured.gradients_at_once, ws.device)
        held = min(len(ws.ids), items_together(size)) * size * NUMBER_BYTES
        return None if step is None else step + held


def price_methods(given: list[str], chosen: str) -> Iterator[Priced]:
    """Every packaged method, the chosen one first, with its settings. ``given``: the overrides of the command."""
    names = [chosen, *(name for name in load_group("method") if name != chosen)]
    prices = Prices()
    for name in track(names, "Planning methods", len(names)):
        own = given if name == chosen else [*leave_out_method(given), f"method={name}"]
        try:
            yield prices.price(name, *open_for_method(own))
        except UserError as error:
            yield Priced(name, refused=str(error))


def open_for_method(given: list[str]) -> tuple[PlannedWorkspace, list[str]]:
    """A workspace that can plan its method alone, and its overrides."""
    given = [*leave_out(given, "protocol"), "protocol=none"]
    ws = open_planned(read_config(given)[0])
    use_threads(ws)
    return ws, given


def leave_out_method(given: list[str]) -> list[str]:
    """The overrides without those for one method."""
    for name in OF_METHODS:
        given = leave_out(given, name)
    return given


def leave_out(given: list[str], node: str) -> list[str]:
    """The overrides that concern another node."""

    def concerns(text: str) -> bool:
        override = parse(text)
        place = override.package or override.key_or_group
        return place == node or place.startswith((f"{node}.", f"{node}/"))

    return [text for text in given if not concerns(text)]


def judge_methods(priced: list[Priced], queries: int) -> tuple[Finding, list[Sheet]]:
    """What there is to say of all, and the tables."""
    able = [each for each in priced if each.refused is None]
    first, sheets = priced[0], make_sheets(priced)
    numbers = {each.name: each.row.seconds if each.row.timed else None for each in able}
    if first.refused is not None:
        others = ", ".join(each.name for each in able[:MOST_NAMED])
        remedy = f"another one: method={others}" if able else None
        said = f"method={first.name} cannot run here: {first.refused}"
        return Finding("methods", "look" if able else "broken", said, remedy, numbers), sheets
    timed = [each for each in able if each.row.timed and each.scores == first.scores and each.name != "random"]
    timed.sort(key=lambda each: each.row.seconds)
    quick = ", ".join(each.name for each in timed[:MOST_NAMED])
    memory = "" if first.memory is None else f" and {show_bytes(first.memory)} of memory"
    said = (
        f"method={first.name} takes {first.time}{memory} for {counted(queries, 'query')}; {len(able)} of {len(priced)} "
        "methods can run here."
    )
    return Finding("methods", "fine", said, f"for a first answer the quickest: method={quick}", numbers), sheets


def make_sheets(priced: list[Priced]) -> list[Sheet]:
    """A row for each method that can run, and one for each reason why others cannot."""
    rows: list[dict[str, Cell]] = []
    reasons: dict[str, list[str]] = {}
    for each in priced:
        if each.refused is not None:
            reasons.setdefault(each.refused, []).append(each.name)
            continue
        memory = NOTHING if each.memory is None else show_bytes(each.memory)
        rows.append({"method": each.name, "scores": each.scores, "time": each.time, "memory": memory})
    refused: list[dict[str, Cell]] = [{"method": ", ".join(names), "why": why} for why, names in reasons.items()]
    sheets = [
        Sheet("methods", "How long each method takes", CAPTION, rows),
        Sheet("refused", "Methods that cannot run here", "As a run with that method would say.", refused),
    ]
    return [sheet for sheet in sheets if sheet.rows]
