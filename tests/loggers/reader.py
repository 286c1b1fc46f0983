"""What a folder of W&B's holds, as W&B's own reader gives it."""

import json
import subprocess
import time
from functools import cached_property
from pathlib import Path
from typing import Any

from wandb.util import get_core_path

DEADLINE_SECONDS = 10.0  # a run that was killed has no end


class Kept:
    """One offline run: what ``wandb sync`` would upload."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        [self.file] = folder.glob("*.wandb")

    def inspect(self, *options: str) -> str:
        """The output of ``wandb leet inspect``."""
        command = [get_core_path(), "leet", "inspect", "--no-observability", "--json", *options]
        place = ["--run-file", str(self.file), str(self.folder.parent)]
        return subprocess.run([*command, *place], capture_output=True, text=True, check=True).stdout

    @cached_property
    def records(self) -> list[dict[str, Any]]:
        """Everything, in its order."""
        return [json.loads(line) for line in self.inspect().splitlines()]

    @cached_property
    def state(self) -> dict[str, Any]:
        """What it comes to: ``config``, ``summary``, ``run_id``, ``exit_code``."""
        state: dict[str, Any] = json.loads(self.inspect("--summary"))
        return state

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The records of one kind."""
        return [record[kind] for record in self.records if record["type"] == kind]

    def series(self, name: str) -> list[dict[str, Any]]:
        """The steps at which a metric was logged, with what was logged beside it."""
        items = [record["item"] for record in self.of("history")]
        return [item for item in items if name in item or f"{name}._type" in item]

    def table(self, name: str) -> dict[str, Any]:
        """The last table of that name: ``columns`` and ``data``."""
        path = self.series(name)[-1][f"{name}.path"]
        content: dict[str, Any] = json.loads((self.folder / "files" / path).read_text())
        return content

    @property
    def artifacts(self) -> dict[str, dict[str, Path]]:
        """Of each artifact, where its files lie until they are uploaded."""
        return {
            artifact["name"]: {entry["path"]: Path(entry["local_path"]) for entry in artifact["manifest"]["contents"]}
            for artifact in self.of("artifact")
        }


def read_wandb(folder: Path) -> list[Kept]:
    """The offline runs in the folder of a run, oldest first. W&B writes on for a moment after a run is finished."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while True:
        runs = [Kept(path) for path in sorted(folder.glob("wandb/offline-run*"))]
        if all(run.of("exit") for run in runs) or time.monotonic() > deadline:
            return runs
        time.sleep(0.1)
