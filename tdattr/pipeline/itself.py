"""What stands for the queries where every training item is asked how much it depends on itself."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from omegaconf import DictConfig, open_dict

from tdattr.costs import NO_WORK, Cost
from tdattr.data.names import FIELD
from tdattr.experiments import ITSELF
from tdattr.methods import Method
from tdattr.queries import TABLE, save_sampled
from tdattr.store import Plan
from tdattr.tables import write_table

if TYPE_CHECKING:
    from tdattr.pipeline.workspace import Workspace


def adopt_itself(cfg: DictConfig, method: Method) -> None:
    """Have ``cfg.queries`` say that a single row of scores is asked for, where the method scores items for themselves;
    nothing elsewhere."""
    if method.scores_itself:
        with open_dict(cfg.queries):
            cfg.queries.attributed, cfg.queries.controls, cfg.queries.explained = 1, 0, ITSELF


def plan_itself(ws: "Workspace") -> Plan:
    """What ``generate`` holds then: one blank image."""

    def make(folder: Path) -> None:
        import pandas as pd

        image = torch.zeros(1, ws.data.channels, ws.data.resolution, ws.data.resolution)
        save_sampled(folder, torch.zeros(1, *ws.x_shape), image)
        write_table(folder / TABLE, pd.DataFrame([{"query": 0, "role": "attributed", FIELD: ITSELF}]))

    config, inputs = {"x": list(ws.x_shape)}, {"dataset": ws.data.content}
    return ws.store.plan(ITSELF, 1, config, inputs, make, cost=lambda: Cost(NO_WORK))
