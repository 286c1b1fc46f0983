"""``tdattr-bank``: retrain what a bank holds, write it, and gather what methods reach by it."""

import logging
import os
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import torch
from omegaconf import DictConfig

from tdattr.bank.config import BankConfig
from tdattr.bank.gather import gather
from tdattr.configs import build
from tdattr.errors import UserError
from tdattr.ids import NO_IDS, digest_ids
from tdattr.methods.group_elbo import differences
from tdattr.methods.logo import LOGO
from tdattr.metrics.choice import complete_measures
from tdattr.pipeline.attribute import make_context
from tdattr.pipeline.check import check
from tdattr.pipeline.counterfactuals import WorkspaceCounterfactuals
from tdattr.pipeline.generate import generate, load_queries, query_items
from tdattr.pipeline.open import open_workspace
from tdattr.pipeline.run import own_settings, use_threads
from tdattr.pipeline.train import describe_training, train
from tdattr.pipeline.workspace import Workspace
from tdattr.protocols.bank import Bank
from tdattr.protocols.bank_file import BankData, Subsets

log = logging.getLogger(__name__)
NEEDS = frozenset({"groups", "retraining"})
PACKAGES = ("tdattr", "torch", "numpy")  # whose versions are noted


@own_settings()
def build_bank(cfg: DictConfig) -> None:
    """Retrain what is missing, write the bank into its folder, and beside it what finished runs have reached by it."""
    config: BankConfig = build(cfg.bank, "bank", BankConfig)
    ws = open_workspace(cfg)
    protocol = ws.protocol
    if not isinstance(protocol, Bank):
        raise UserError("protocol must be bank: leave it out.")
    check_writable(protocol.path)
    complete_measures(cfg)
    use_threads(ws)
    check(replace(ws, protocol=config.halves), [])
    make(ws, config).save(protocol.path)
    log.info("Results: %s", protocol.path)
    gather(Path(cfg.paths.runs), protocol)


def check_writable(folder: Path) -> None:
    """Raise UserError where a bank cannot be written there, before hours are spent on it."""
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise UserError(f"{folder} cannot be written to: choose another folder with protocol.folder.")


def make(ws: Workspace, config: BankConfig) -> BankData:
    """Everything that a bank holds; what is trained for it is stored as that of any run."""
    ws = replace(ws, protocol=config.halves)  # whose queries F1 generates
    models = WorkspaceCounterfactuals(ws, NEEDS)
    queries = load_queries(ws, generate(ws, train(ws)))
    draws = config.halves.draws
    losses = models.query_losses(models.train([NO_IDS])[0], draws)
    assert isinstance(config.logo, LOGO)
    context = replace(make_context(ws, config.logo, []), queries=queries)
    return BankData(
        dataset=ws.dataset.name,
        training=describe_training(ws),
        draws=draws,
        items=len(ws.ids),
        asked=[int(ws.query_split.items["id"].iloc[item]) for item in query_items(ws)],
        x=queries.x,
        images=queries.images,
        f1_losses=torch.from_numpy(losses[0]).float(),
        subsets=dict(train_subsets(ws, config, models)),
        groups={name: digest_ids(ids) for name, ids in ws.attributed.items()},
        logo=torch.stack([differences(terms) for terms in config.logo.terms(context)]).float(),
        made_with={name: version(name) for name in PACKAGES},
    )


def train_subsets(ws: Workspace, config: BankConfig, models: WorkspaceCounterfactuals) -> Iterator[tuple[str, Subsets]]:
    """The losses of the queries under the models of every kind of subsets."""
    for subsets in (config.halves, config.few_removed):
        trained = subsets.trained(ws.ids, models)
        losses = models.query_losses(trained, subsets.draws).reshape(subsets.subsets, subsets.repeats, -1)
        members = subsets.members(len(ws.ids), ws.seed)
        yield f"{subsets.share:g}", Subsets(torch.from_numpy(members), torch.from_numpy(losses).float())
