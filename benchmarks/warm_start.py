"""May unlearning start from the copy that has unlearned the nearest other query, in place of F1?

With a race, unlearning is nearly all of the time of a query. Each of the first queries is unlearned from F1, as
published, and again from the copy that has unlearned the query whose image is nearest to its own. Prints the steps of
both, how alike the scores are and how much of the top 2 % is the same; and the same for copies of F1 that unlearned the
query twice, under other draws, which says how much of it is chance.

    python benchmarks/warm_start.py [--queries 16] [--share 0.02] [OVERRIDES]
"""

import argparse
from copy import deepcopy
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from adaptive_scoring import find_top
from jaxtyping import Float
from torch import nn

import tdattr
from tdattr.methods import Context, Scored
from tdattr.methods.f1_losses import loss_model
from tdattr.methods.mucs import MUCS
from tdattr.methods.shift_noise import noise_set
from tdattr.metrics.rank_correlation import spearman
from tdattr.networks import Network
from tdattr.pipeline.attribute import make_context
from tdattr.scoring.cells import TrainingItems
from tdattr.training.quiet import quieten

OTHER_SEED = 1000  # added to the run's, for another draw of the same


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=16)
    parser.add_argument("--share", type=float, default=0.02, help="of the items that are the top")
    options, overrides = parser.parse_known_args()
    quieten()
    ws = tdattr.compose([*overrides, "method=mucs", "method.score.allocation=all"])
    method = ws.method
    assert isinstance(method, MUCS)
    if ws.trainer.threads is not None:
        torch.set_num_threads(ws.trainer.threads)
    context = make_context(ws, method, [])
    noise, items = noise_set(context, method.score), TrainingItems(context.data.train, context.ids)
    before = loss_model(context, context.f1.load()).table(items, noise)
    null_loss = method.estimate_null_loss(context)
    x = context.queries.x[: options.queries].flatten(1)
    distances = torch.cdist(x, x) + torch.diag(torch.full((len(x),), torch.inf))
    nearest = distances.argmin(1).tolist()

    def unlearn(given: Context, query: int) -> tuple[Float[np.ndarray, " item"], float, Network]:
        copies: list[nn.Module] = []

        def score(network: nn.Module, query: int) -> Scored:
            copies.append(network)
            after = loss_model(given, network).table(items, noise)
            return Scored(method.score.compare(before, after).mean(1))

        scored = method.score_query(given, null_loss, None, score, query)
        assert isinstance(copies[0], Network)
        return scored.scores.numpy(), scored.facts["unlearning_steps"], copies[0]

    cold = [unlearn(context, query) for query in range(len(x))]
    again = [unlearn(replace(context, seed=context.seed + OTHER_SEED), query) for query in range(len(x))]
    warm = []
    for query in range(len(x)):
        copy = cold[nearest[query]][2]
        started = replace(context.f1, load=partial(deepcopy, copy))
        warm.append(unlearn(replace(context, f1=started), query))
    k = round(options.share * len(context.ids))
    print(f"{len(context.ids)} items, {len(x)} queries, top {k}")
    print(f"from F1: {np.mean([steps for _, steps, _ in cold]):.0f} steps")
    for name, others in (("from F1, under another seed", again), ("from the nearest query's copy", warm)):
        pairs = [(one[0], two[0]) for one, two in zip(cold, others, strict=True)]
        same = [len(find_top(one, k) & find_top(two, k)) / k for one, two in pairs]
        alike = spearman(np.stack([two for _, two in pairs]).T, np.stack([one for one, _ in pairs]).T)
        print(
            f"{name}: {np.mean([steps for _, steps, _ in others]):.0f} steps, {np.mean(same):.1%} of the top are "
            f"the same (lowest {min(same):.1%}), Spearman {alike.mean():.3f} (lowest {alike.min():.3f})"
        )


if __name__ == "__main__":
    main()
