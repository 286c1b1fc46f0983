"""What is in no address because it leaves nothing but rounding, and how much that is: docs/design.md says so."""

import shutil
from pathlib import Path

import pytest
import torch

import tdattr
from tdattr.pipeline.generate import generate, load_queries
from tdattr.pipeline.train import train
from tdattr.queries import Queries
from tdattr.store import provenance
from tests.e2e.console import TINY

pytestmark = pytest.mark.slow  # each composes a config
TOLERANCE = 1e-5  # of images in [-1, 1]; that of weights, on two devices, is in tests/training/test_pretrain.py
UNET = [argument for argument in TINY if not argument.startswith("model.")]
MODELS = {"dit": TINY, "unet": [*UNET, "model=unet_tiny"], "flow": [*TINY, "diffusion=flow"]}


def sample(folder: Path, size: int, *overrides: str) -> tuple[Queries, str]:
    """The queries as they are generated so many at a time, and their address."""
    ws = tdattr.compose([*overrides, "method=pixel", f"paths.outputs={folder}", f"queries.batch_size={size}"])
    plan = generate(ws, train(ws))
    queries = load_queries(ws, plan)
    assert provenance(plan.artifact)["facts"] == {"batch_size": size}
    assert provenance(train(ws).artifact)["facts"]["devices"] == 1
    return queries, plan.address


@pytest.mark.parametrize("model", MODELS)
def test_the_size_of_batches_leaves_nothing_but_rounding(model: str, tmp_path: Path) -> None:
    expected, address = sample(tmp_path / "all", 20, *MODELS[model])
    for size in (1, 3, 4):
        for stage in ("dataset", "pretrain"):
            shutil.copytree(tmp_path / "all" / "artifacts" / stage, tmp_path / f"{size}" / "artifacts" / stage)
        queries, same = sample(tmp_path / f"{size}", size, *MODELS[model])
        assert same == address
        torch.testing.assert_close(queries.x, expected.x, rtol=0, atol=TOLERANCE)
        torch.testing.assert_close(queries.images, expected.images, rtol=0, atol=TOLERANCE)
