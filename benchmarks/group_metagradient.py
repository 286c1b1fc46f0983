"""How well do metagradients predict what leaving a group out does to the queries, to first order and beyond?

F1 is trained once more without each group. Of every group: how the scores of all queries correlate with how their
outputs really change, and how far they are from it, relative to its length; over the groups of a query: Spearman's
correlation, and how often the group of the greatest change is named first.

    python benchmarks/group_metagradient.py [--points 1 2] [-- train.removal=replaced]
"""

import argparse

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import spearmanr

import tdattr
from tdattr.ids import NO_IDS
from tdattr.methods.group_metagradient import GroupMetagradient
from tdattr.pipeline.attribute import make_context
from tdattr.pipeline.counterfactuals import WorkspaceCounterfactuals
from tdattr.pipeline.workspace import Workspace

EXPERIMENT = ["experiment=metagradient", "method=group_metagradient", "protocol=logo", "train.removal=empty"]
Changes = Float[np.ndarray, "query group"]


def retrain(ws: Workspace) -> Changes:
    """How much higher the outputs of the queries are without each group; of a loss, its rise."""
    assert isinstance(ws.method, GroupMetagradient)
    context = make_context(ws, ws.method, [])
    models = WorkspaceCounterfactuals(ws, frozenset({"groups", "retraining"}))
    trained = models.train([NO_IDS, *models.groups().values()])
    outputs = torch.cat([ws.method.output.evaluate(context, model.load()) for (model,) in trained], dim=1).numpy()
    return np.array(outputs[:, 1:] - outputs[:, :1])


def tell(points: int, scores: Changes, real: Changes, groups: dict[str, int]) -> None:
    """Print a line for every group, and one for all."""
    for (name, items), found, change in zip(groups.items(), scores.T, real.T, strict=True):
        error = np.linalg.norm(found - change) / np.linalg.norm(change)
        correlation = np.corrcoef(found, change)[0, 1]
        print(f"points={points} {name} ({items}): correlation {correlation:.3f}, error {error:.3f}")
    ranks = np.mean([spearmanr(one, other).statistic for one, other in zip(scores, real, strict=True)])
    first = np.mean(scores.argmax(1) == real.argmax(1))
    print(f"points={points} all: Spearman {ranks:.3f}, top-1 {first:.3f}")


def main() -> None:
    """Parse the arguments; score, retrain and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, nargs="+", default=[1, 2])
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_args()
    for points in options.points:
        ws = tdattr.compose([*EXPERIMENT, *options.overrides, f"method.points={points}"])
        scores = tdattr.attribute(ws).values
        groups = {name: len(ws.attributed[name]) for name in ws.attributed}
        tell(points, np.asarray(scores, dtype=float), retrain(ws), groups)


if __name__ == "__main__":
    main()
