"""A logger of one's own: a line for every finished run in one text file."""

from dataclasses import dataclass
from typing import Any

from tdattr.loggers import Logger, Recorder, Results, RunInfo


@dataclass(frozen=True)
class Diary(Logger):
    """Adds to the file at ``path``."""

    path: str

    def start(self, run: RunInfo) -> Recorder:
        """What is measured on the way is not wanted."""
        return Recorder()

    def finish(self, recorder: Any, results: Results) -> None:
        """The AUC by SSIM, which there is where the protocol is leave_k_out."""
        summary, auc = results.summary, results.headline["auc_ssim"]
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(f"{summary['dataset']}, {summary['method']}: AUC {auc:.3f}\n")
