"""Numbers, pictures, tables and files in Weights & Biases."""

import json
import logging
import netrc
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from tdattr.errors import UserError, first_line
from tdattr.files import writing
from tdattr.loggers import Logger, Picture, Recorder, Results, RunInfo

log = logging.getLogger(__name__)
MODES = ("online", "offline", "disabled", "shared", "dryrun")  # of WANDB_MODE
TIMEOUT_SECONDS = 30.0  # for W&B to answer
DATA = "WANDB_DATA_DIR"  # the variable by which W&B knows where to keep files until they are uploaded
STEPS = {"train": "train/step", "teacher": "teacher/step", "query": "query/step"}  # the axes of sections
LOGGED = "wandb.jsonl"  # in a run's folder
CAPTIONS = {  # of pictures that belong to no step
    "queries": "what F1 generates for the queries",
    "regenerated": "the same without the items with the highest scores",
    "regenerated_random": "the same without random items",
    "attributions": "each row: a query, then what has the highest scores for it",
}
COMPARED = ("loss", "retain", "forget")  # ends of the names of numbers that charts compare items by
MOST_LINES = 64  # in a chart of several items


class History(Recorder):
    """An open run of W&B. Numbers of items, such as the queries that are unlearned, follow one another along W&B's own
    count of steps: a chart for every query would be too many to look at.

    What is logged is noted in the run's folder, a line for every step of W&B's. So an attempt that follows another one
    counts on, and at the end all items are laid over one another, whichever attempt or process had them.
    """

    def __init__(self, run: Any, info: RunInfo) -> None:
        self.run, self.info = run, info
        self.shown: set[str] = set()  # names of pictures

    @property
    def path(self) -> Path:
        """Where it is noted."""
        return self.info.folder / LOGGED

    def begin(self) -> None:
        """Mark an attempt that follows another one. An offline run begins with step 0, whatever was before it."""
        lines = self.read_lines()
        if lines:
            step = len(lines) if self.run.offline else None
            self.add({"attempt": 2 + sum("attempt" in line for line in lines)}, {"attempt": True}, step)

    def add(self, content: Mapping[str, Any], line: Mapping[str, Any], step: int | None = None) -> None:
        """Log a step of W&B's (None: the next one), and note it as ``line``."""
        self.run.log(dict(content), step=step, commit=True)
        with writing(self.info.folder), self.path.open("a", encoding="utf-8") as file:
            file.write(f"\n{json.dumps(line)}")  # on a line of its own, even after one that was never ended

    def log(self, section: str, item: str, step: int, values: Mapping[str, float]) -> None:
        """Numbers such as ``train/loss``, with ``train/step`` beside them."""
        beside: dict[str, Any] = {f"{section}/step": step} | ({f"{section}/item": item} if item else {})
        named = {f"{section}/{name}": value for name, value in values.items()}
        self.add(beside | named, {"item": item, "step": step, "values": named} if item else {})

    def show(self, name: str, draw: Callable[[], Picture], step: int) -> None:
        """A picture, with what it shows below it, or the step."""
        import wandb

        self.add({f"images/{name}": wandb.Image(draw(), caption=CAPTIONS.get(name, f"step {step}"))}, {})
        self.shown.add(name)

    def read_lines(self) -> list[dict[str, Any]]:
        """All lines; nothing for one that an attempt which was killed has half written."""
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
        return [read_line(line) for line in lines if line]

    def curves(self) -> dict[str, dict[str, dict[int, float]]]:
        """The numbers of items: name -> item -> step -> value. An item that was begun again counts as it then went."""
        found: dict[str, dict[str, dict[int, float]]] = {}
        for line in self.read_lines():
            for name, value in line.get("values", {}).items():
                curve = found.setdefault(name, {}).setdefault(line["item"], {})
                if curve and line["step"] <= max(curve):
                    curve.clear()
                curve[line["step"]] = value
        return found


def read_line(line: str) -> dict[str, Any]:
    """What a line of JSON holds; nothing where it is not whole."""
    try:
        content: dict[str, Any] = json.loads(line)
    except json.JSONDecodeError:
        return {}
    return content


@dataclass(frozen=True)
class WandB(Logger):
    """The ``logger=wandb`` node. ``group``: None: the experiment, as ``tdattr-report`` names it. ``offline``: None
    where it depends on WANDB_MODE or, without that, on whether there is a key to log in with."""

    project: str
    entity: str | None
    group: str | None
    name: str
    tags: list[str]
    save_dir: str
    offline: bool | None

    def start(self, run: RunInfo) -> History:
        """A run of W&B begins now, so that it is known early whether W&B can be reached."""
        Path(self.save_dir).mkdir(parents=True, exist_ok=True)
        opened = self.begin(self.mode(), run)
        for section, axis in STEPS.items():
            opened.define_metric(axis, hidden=True)
            opened.define_metric(f"{section}/*", step_metric=axis)
        for name in ("unlearn/step", "retrain/step"):
            opened.define_metric(name, hidden=True)
        history = History(opened, run)
        history.begin()
        return history

    def mode(self) -> str:
        """W&B's: by ``offline``, or the variable WANDB_MODE, which W&B itself reads once a process, or online where
        there is a key."""
        if self.offline is not None:
            return "offline" if self.offline else "online"
        if said := os.environ.get("WANDB_MODE"):
            if said not in MODES:
                raise UserError(f"WANDB_MODE={said} is unknown: choose {', '.join(MODES)}.")
            return said
        return "online" if has_wandb_key() else "offline"

    def begin(self, mode: str, run: RunInfo) -> Any:
        """A run of W&B's, or the one that has this id already, which goes on; offline, with a warning, where W&B cannot
        be reached."""
        import wandb

        try:
            return wandb.init(
                project=self.project,
                entity=self.entity,
                group=self.group or run.experiment,
                name=self.name,
                tags=self.tags,
                id=run.id,
                resume="allow",
                config={"config": run.config} | run.columns,
                allow_val_change=True,
                dir=self.save_dir,
                mode=cast(Any, mode),  # it refuses what is none
                reinit="finish_previous",
                settings=wandb.Settings(init_timeout=TIMEOUT_SECONDS),
            )
        except wandb.Error as error:
            if mode == "offline":
                raise
            log.warning(
                "W&B cannot be reached (%s): this run is kept in %s; `wandb sync` uploads it later.",
                first_line(error),
                self.save_dir,
            )
            return self.begin("offline", run)

    def finish(self, recorder: Any, results: Results) -> None:
        """The numbers are the run's summary; the attributions and the scores are tables of W&B's; the files of the
        report an artifact."""
        import wandb

        run = recorder.run
        with staging_in(Path(self.save_dir) / "wandb"):
            for name, draw in results.pictures.items():
                if name not in recorder.shown:
                    recorder.show(name, draw, 0)
            if columns := results.attributions():
                recorder.add({"attributions": make_table(columns)}, {})
            if rows := results.scores():
                recorder.add({"scores": make_table(rows)}, {})
            for name, curves in recorder.curves().items():
                if 1 < len(curves) <= MOST_LINES and name.endswith(COMPARED):
                    recorder.add({f"{name}_by_item": draw_curves(name, curves)}, {})
            run.summary.update(results.numbers)
            artifact = wandb.Artifact(f"report-{recorder.info.id}", type="report")
            for path in results.files():
                artifact.add_file(str(path), name_in_artifact(path, recorder.info.folder))
            run.log_artifact(artifact)
        run.finish()

    def abandon(self, recorder: Any) -> None:
        """The run is marked as failed."""
        recorder.run.finish(exit_code=1)


def make_table(columns: Mapping[str, list[Any]]) -> Any:
    """A table of W&B's, pictures as its images."""
    import wandb

    def cell(value: Any) -> Any:
        return wandb.Image(value) if isinstance(value, np.ndarray) else value

    rows = zip(*columns.values(), strict=True)
    return wandb.Table(columns=list(columns), data=[[cell(value) for value in row] for row in rows])


def draw_curves(name: str, curves: Mapping[str, Mapping[int, float]]) -> Any:
    """A chart of W&B's with a line for every item, over the item's own steps."""
    import wandb

    steps = [list(curve) for curve in curves.values()]
    values = [list(curve.values()) for curve in curves.values()]
    return wandb.plot.line_series(steps, values, keys=list(curves), title=name, xname="step")


def name_in_artifact(path: Path, folder: Path) -> str:
    """Its path below the run's folder, or its name where it lies elsewhere."""
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name


@contextmanager
def staging_in(folder: Path) -> Iterator[None]:
    """While this lasts, W&B keeps files that are still to be uploaded in ``folder``, and not in the user's home, where
    ``wandb sync`` on another machine would miss them; unless the user has said where."""
    if DATA in os.environ:
        yield
        return
    os.environ[DATA] = str(folder.absolute())
    try:
        yield
    finally:
        del os.environ[DATA]


def has_wandb_key() -> bool:
    """Whether a W&B key is in the environment or in ~/.netrc."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc().authenticators("api.wandb.ai") is not None
    except (OSError, netrc.NetrcParseError):
        return False
