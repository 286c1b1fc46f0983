"""Scores of groups from those of items, as GUDA's CIFAR-10 half makes them."""

import numpy as np
import pytest
import torch

from tdattr.metrics.aggregation import AggregateConfig, aggregate
from tests.parity.golden import golden


@pytest.mark.parametrize("output", golden("guda.aggregation").outputs)
def test_aggregation(output: str) -> None:
    entry = golden("guda.aggregation")
    groups = entry.inputs["group"].copy()
    groups[:4] = np.arange(4)
    members = {str(number): np.flatnonzero(groups == number) for number in range(4)}
    kind = output.removesuffix(", positive only")
    config = AggregateConfig(kind, entry.constants["top"], positive_only=kind != output)  # type: ignore[arg-type]
    entry.check(output, aggregate(torch.from_numpy(entry.inputs["scores"]), np.arange(24), members, config))
