"""Loggers: where the losses of a training go while it runs, and the numbers and pictures of a run when it is done."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import UInt8

from tdattr.configs import Node

Picture = UInt8[np.ndarray, "height width 3"]


class Logger(Node, ABC):
    """The ``logger`` config node: a frozen dataclass whose fields are its settings.

    What is heavy is imported inside the methods, so that a command that stops early stays fast.
    """

    @abstractmethod
    def start(self) -> Any:
        """A logger of Lightning's, which gets the losses of F1's training; None where they are not wanted."""

    @abstractmethod
    def finish(
        self, logger: Any, config: dict[str, Any], summary: dict[str, Any], pictures: Mapping[str, Picture]
    ) -> None:
        """Take what the run leaves, and close ``logger``, which ``start`` made.

        ``config``: the composed config. ``summary``: what ``summary.json`` holds; see `list_numbers`. ``pictures``: the
        generated images, a grid for each set of them.
        """

    def abandon(self, logger: Any) -> None:
        """Close ``logger`` after a run that has failed: the next one of a sweep starts its own in the same process."""
        if logger is not None:
            logger.finalize("failed")


def list_numbers(summary: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """The numbers of a summary, those of nested entries under names such as ``metrics/ssim/auc``."""
    numbers: dict[str, float] = {}
    for key, value in summary.items():
        if isinstance(value, Mapping):
            numbers |= list_numbers(value, f"{prefix}{key}/")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            numbers[f"{prefix}{key}"] = value
    return numbers
