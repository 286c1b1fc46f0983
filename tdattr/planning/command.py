"""``plan=true`` as the command line calls it: job after job, and one table at the end."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from tdattr.metrics.choice import GROUP, fill_measures
from tdattr.pipeline.check import check
from tdattr.pipeline.run import own_settings, use_threads
from tdattr.planning.graph import Graph
from tdattr.planning.seconds import Estimates
from tdattr.planning.table import show
from tdattr.planning.workspace import open_planned
from tdattr.search_path import in_sweep, load_group

log = logging.getLogger(__name__)


class Planner:
    """What the jobs of a command would build."""

    def __init__(self) -> None:
        self.graph, self.said = Graph(), set[str]()
        self.measures: dict[str, Any] | None = None  # the configs of the group, which all jobs have in common

    @own_settings()
    def add(self, cfg: DictConfig) -> None:
        """Check a job as a run does, and count what it asks for. Raises UserError."""
        hydra = HydraConfig.get()
        with self.quiet():
            if self.measures is None:
                self.measures = load_group(GROUP)
            fill_measures(cfg, self.measures)
            ws = open_planned(cfg)
            use_threads(ws)
            check(ws, hydra.overrides.task, swept=in_sweep(hydra), weights=False)
            self.graph.add(ws)

    @own_settings()
    def show(self) -> None:
        """Print the table, for which a step may have to be measured; nothing where no job could be planned."""
        if self.graph.jobs:
            print("\n".join(show(self.graph, Estimates())))

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """While this lasts, nothing is said but warnings, and each of them once for all jobs."""
        root = logging.getLogger()

        def new(record: logging.LogRecord) -> bool:
            text = record.getMessage()
            wanted = record.levelno >= logging.WARNING and text not in self.said
            self.said.add(text)
            return wanted

        for handler in root.handlers:
            handler.addFilter(new)
        try:
            yield
        finally:
            for handler in root.handlers:
                handler.removeFilter(new)
