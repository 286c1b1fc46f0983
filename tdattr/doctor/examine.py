"""All that is looked at, one after another."""

import argparse

from omegaconf import DictConfig

from tdattr.doctor.findings import Examination
from tdattr.doctor.held_out import compare_held_out
from tdattr.doctor.loads import collected, load_f1, open_run
from tdattr.doctor.losses import compare_losses
from tdattr.doctor.methods import judge_methods, price_methods
from tdattr.doctor.numerics import compare_batches, compare_gradients, compare_precisions
from tdattr.doctor.sample import draw_sample
from tdattr.networks import Network
from tdattr.pipeline.workspace import Workspace


def examine(cfg: DictConfig, given: list[str], options: argparse.Namespace) -> Examination:
    """Look at a composed config; ``given``: its overrides, ``options``: see `tdattr.doctor.arguments`."""
    found = Examination(given)
    with collected(found.findings):
        ws = open_run(cfg, given, found.findings)
        network = None if ws is None else load_f1(ws, options.train, found.findings)
        if ws is not None and network is not None:
            look_at_f1(ws, network, options, found)
        if ws is not None and options.methods:
            finding, sheets = judge_methods(list(price_methods(given, ws.cfg.method.name)), ws.queries.count)
            found.findings.append(finding)
            found.sheets += sheets
    return found


def look_at_f1(ws: Workspace, network: Network, options: argparse.Namespace, found: Examination) -> None:
    """What the first model computes."""
    sample = draw_sample(ws, options.items, options.levels, options.draws)
    own = sample.errors(network, sample.items, "Training items")
    held_out = sample.errors(network, sample.held_out, "Held-out items")
    findings, sheet = compare_losses(sample, network, own, held_out)
    found.findings += findings
    found.sheets.append(sheet)
    found.findings.append(compare_held_out(sample, own, held_out))
    found.findings.append(compare_batches(sample, network))
    found.findings += compare_precisions(sample, network)
    found.findings.append(compare_gradients(sample, network, options.gradients))
