"""The stages as functions, for notebooks and scripts: ``import tdattr``. Results are stored and shared as those of
commands are; what is there already is not computed again."""

from collections.abc import Iterable
from typing import Any

from omegaconf import DictConfig
from torch import nn

from tdattr.composition import compose_command
from tdattr.ids import Ids
from tdattr.methods import Method
from tdattr.metrics.choice import complete_measures
from tdattr.pipeline import attribute as attribution
from tdattr.pipeline import evaluate as evaluation
from tdattr.pipeline import generate as generation
from tdattr.pipeline import train as training
from tdattr.pipeline.check import check
from tdattr.pipeline.open import open_workspace
from tdattr.pipeline.workspace import Workspace
from tdattr.queries import Queries
from tdattr.scores import Scores, load_scores


def compose(overrides: Iterable[str] = ()) -> Workspace:
    """The workspace of a command with those overrides, ``["method=pixel", "seed=2"]``, checked as a command is.

    Raises UserError for what cannot work; nothing is trained. ``trainer.threads`` is for commands:
    how many threads this process uses is its own affair (``torch.set_num_threads``).
    """
    cfg, given = read_config(overrides)
    ws = open_workspace(cfg)
    check(ws, given)
    return ws


def read_config(overrides: Iterable[str] = ()) -> tuple[DictConfig, list[str]]:
    """The config of a command with those overrides, and these as Hydra takes them. Raises UserError for what cannot be
    composed."""
    composed = compose_command(overrides)
    complete_measures(composed.cfg, composed.sources)
    return composed.cfg, composed.overrides


def train(ws: Workspace, without: Ids | None = None, seed: int | None = None) -> nn.Module:
    """F1, or the model of the same training without some ids or under another seed; in evaluation mode on the
    workspace's device."""
    return training.load_network(ws, training.train(ws, without, seed))


def generate(ws: Workspace) -> Queries:
    """The images that F1 generated to be explained."""
    return generation.load_queries(ws, generation.generate(ws, training.train(ws))).select(ws.queries.indices)


def attribute(ws: Workspace, method: Method | None = None) -> Scores:
    """The scores of a method (the workspace's) for those images."""
    return load_scores(attribution.attribute(ws, method).get())


def evaluate(ws: Workspace) -> dict[str, Any]:
    """The verdict of the workspace's protocol on them: what ``summary.json`` holds."""
    summary, _ = evaluation.summarise(ws, evaluation.evaluate(ws))
    return summary
