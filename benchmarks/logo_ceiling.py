"""How far does leave-one-group-out retraining agree with itself, by number of seeds and by the terms it is judged by?

Trains the models of ``method=logo`` under ``method.repeats`` seeds where they are not there yet, and compares the means
over 1 … repeats / 2 of the seeds with those over as many others: top-1 and Spearman, means over queries and splits.

    python benchmarks/logo_ceiling.py experiment=guda_glyphs elbo.t_min=10 method.repeats=8
"""

import sys

import numpy as np

import tdattr
from tdattr.methods.group_elbo import differences
from tdattr.methods.logo import LOGO
from tdattr.metrics.agreement import agreement
from tdattr.pipeline.attribute import make_context
from tdattr.seeding import generator
from tdattr.training.quiet import quieten

STARTS = (10, 210, 290, 340, 370, 410, 450, 480)  # t_min
SAME = "protocol.gold.repeats=${method.repeats}"  # a run may not be judged by some of its own seeds
SPLITS = 30
MEASURES = ("top_1", "spearman")


def main() -> None:
    """Measure and print."""
    quieten()
    ws = tdattr.compose(["method=logo", SAME, *sys.argv[1:]])
    method = ws.method
    assert isinstance(method, LOGO)
    given = make_context(ws, ws.method, [])
    terms = method.terms(given)
    visited = method.elbo.terms(ws.diffusion)
    levels = ws.diffusion.discrete_levels(method.elbo.timesteps)[visited]
    halves = range(1, method.repeats // 2 + 1)
    print("t_min   level  " + "  ".join(f"{half} v {half}: {' '.join(MEASURES)}" for half in halves))
    for start in (start for start in STARTS if visited[0] <= start <= visited[-1]):
        scores = np.stack([differences(each[..., visited >= start]).numpy() for each in terms])
        cells = []
        for half in halves:
            orders = [generator(0, "benchmark.splits", half, n).permutation(len(scores)) for n in range(SPLITS)]
            found = [
                agreement(scores[order[:half]].mean(0), scores[order[half : 2 * half]].mean(0)) for order in orders
            ]
            means = [np.mean([each[measure].mean() for each in found]) for measure in MEASURES]
            cells.append(f"{means[0]:12.3f} {means[1]:8.3f}")
        print(f"{start:5}  {float(levels[visited >= start][0]):6.3f}  " + "  ".join(cells))


if __name__ == "__main__":
    main()
