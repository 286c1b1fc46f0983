"""A logger of one's own: a line for every finished run in one text file."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tdattr.loggers import Logger, Picture, list_numbers


@dataclass(frozen=True)
class Diary(Logger):
    """Adds to the file at ``path``."""

    path: str

    def start(self) -> None:
        """The losses of the training are not wanted."""

    def finish(
        self, logger: Any, config: dict[str, Any], summary: dict[str, Any], pictures: Mapping[str, Picture]
    ) -> None:
        """The AUC by SSIM, which the summary has where the protocol is leave_k_out."""
        auc = list_numbers(summary)["metrics/ssim/auc"]
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(f"{config['dataset']['name']}, {summary['method']}: AUC {auc:.3f}\n")
