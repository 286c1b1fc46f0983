"""Methods of every family, tiny, and a process that does its share of their work: ``python -m tests.e2e.families
OUTPUTS``."""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported

import sys
from pathlib import Path

import pytest
import torch

import tdattr
from tdattr.pipeline.evaluate import evaluate
from tdattr.scoring import loss_table
from tests.e2e.console import MUCS, TINY

GRADIENTS = ["gradients.draws=2", "gradients.projection.dimension=8"]
SETTINGS = {  # of methods that an ensemble takes together
    "mucs": [part.removeprefix("method.") for part in MUCS],
    "das": GRADIENTS,
    "trak": GRADIENTS,
    "abu": ["draws=4", "batch_size=2", "score.pairs=2", "fisher.epochs=2", "fisher.damping=1"],
    "pixel": [],
}
ADDED = [
    part
    for name in ("das", "trak", "abu", "pixel")
    for part in (f"+method@method.members.{name}={name}", f"+method.weights.{name}=1")
]
REMOVED = ["~method.members.clip", "~method.members.dino", "~method.weights.clip", "~method.weights.dino"]
MEMBERS = [f"method.members.{name}.{part}" for name, parts in SETTINGS.items() for part in parts]
RUNS = [
    ["method=ensemble_b", *REMOVED, *ADDED, *MEMBERS],  # judged by retrained models and their images
    ["method=guda_u", "method.unlearn.steps=2", "method.unlearn.batch_size=8", "elbo.stride=300", "protocol=logo"],
]
LEARNED = ["train.warmup_steps=1", "train.ema=0.5"]  # so much that no gradient is zero


def work(outputs: Path) -> list[str]:
    """Do what is missing below ``outputs``, or the share of it that nobody else does: the artifacts that were built."""
    places = [f"dataset.groups={outputs}/groups.csv", f"paths.outputs={outputs}"]
    built = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loss_table, "BLOCK_ITEMS", 500)  # four blocks
        for overrides in RUNS:
            ws = tdattr.compose([*TINY, *LEARNED, "queries.batch_size=2", *places, *overrides])
            evaluate(ws).get()
            built += ws.store.built
    return built


if __name__ == "__main__":
    torch.set_num_threads(1)
    print("ready", flush=True)
    input()
    print("\n".join(work(Path(sys.argv[1]))))
