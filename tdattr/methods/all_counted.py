"""The training of F1 with every item counted less: another place at which metagradients can be taken."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor

from tdattr.costs import NUMBER_BYTES, Cost, Work
from tdattr.counterfactuals import Trained
from tdattr.methods import Context
from tdattr.networks import Network
from tdattr.store import Build, Plan

FILE = "weights.safetensors"


def count_all(context: Context, weight: float) -> Context:
    """The same with such a training in place of F1's: every item counts ``weight`` in it. What is planned by it has
    addresses of its own. 1: as it is."""
    if weight == 1:
        return context

    def plan(stage: str, version: int, config: Mapping[str, Any], build: Build) -> Plan:
        return context.plan(stage, version, dict(config) | {"all_counted": weight}, build)

    def build(folder: Path) -> None:
        from tdattr.methods.weighted_training import train_weighted  # Lightning takes seconds to import

        save_file(train_weighted(context, fill(context, weight), folder).weights(), folder / FILE)

    def load() -> Network:
        network = context.initial()
        network.load_weights(load_file(trained.get().folder / FILE))
        return network.eval().requires_grad_(False)

    def cost() -> Cost:
        steps, weights = context.count_steps(), sum(value.numel() for value in context.skeleton().state_dict().values())
        return Cost(Work(1, steps, steps * context.train.batch_size, bytes=weights * NUMBER_BYTES))

    counted = replace(context, plan=plan)
    trained = counted.plan("counted", 1, {}, build).costing(cost)
    return replace(counted, f1=Trained(trained.address, load, [*context.f1.plans, trained]))


def fill(context: Context, weight: float) -> Float[Tensor, " item"]:
    """What every item of the split counts."""
    return torch.full((len(context.data.train),), weight)
