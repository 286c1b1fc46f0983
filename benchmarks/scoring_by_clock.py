"""How much faster is a query scored than by the plain loop, by the clock, and with which recall?

The plain loop takes the items one after the other, all pairs of an item in a pass, in float32. Ours is what
`method=mucs` does: a race, by a network in ``--precision``. Both score the same copies of F1, each of which has
unlearned a query; the seconds of that are told apart, as are those of F1's own losses, which all queries share.

    python benchmarks/scoring_by_clock.py [--queries 3] [--precision bfloat16] [--share 0.02] [OVERRIDES]
"""

import argparse
import statistics
import time
from dataclasses import replace

import numpy as np
import torch
from adaptive_scoring import find_top
from jaxtyping import Float
from torch import nn

import tdattr
from tdattr.methods import Context, Scored
from tdattr.methods.loss_shift import shift_scorer
from tdattr.methods.mucs import MUCS
from tdattr.methods.shift_noise import noise_set
from tdattr.pipeline.attribute import make_context
from tdattr.scoring.cells import Items, TrainingItems
from tdattr.scoring.pairs import NoiseSet
from tdattr.scoring.precision import network_precision
from tdattr.training.quiet import quieten


def loop(context: Context, network: nn.Module, items: Items, noise: NoiseSet) -> Float[np.ndarray, "item pair"]:
    """The losses of every item at every pair, one item at a time."""
    levels, images = noise.levels.to(context.device), noise.noise.to(context.device)
    rows = []
    for index in range(len(items)):
        x, given = items.take(np.array([index]))
        same = torch.zeros(len(levels), dtype=torch.long, device=context.device)
        x, given = x.to(context.device)[same], given.to(context.device)[same]
        with torch.inference_mode(), network_precision("float32", context.device):
            rows.append(context.diffusion.loss(network, x, levels, images, given).cpu())
    return torch.stack(rows).numpy()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=3)
    parser.add_argument("--precision", default="bfloat16", choices=["float32", "tf32", "bfloat16"])
    parser.add_argument("--share", type=float, default=0.02, help="of the items that are the top")
    options, overrides = parser.parse_known_args()
    quieten()
    ws = tdattr.compose([*overrides, "method=mucs"])
    method = ws.method
    assert isinstance(method, MUCS)
    if ws.trainer.threads is not None:
        torch.set_num_threads(ws.trainer.threads)
    k = round(options.share * len(ws.ids))
    context = replace(make_context(ws, method, []), precision_of_losses=options.precision, top=k)
    noise, items = noise_set(context, method.score), TrainingItems(context.data.train, context.ids)
    null_loss = method.estimate_null_loss(context)
    copies: list[nn.Module] = []

    def keep(network: nn.Module, query: int) -> Scored:
        copies.append(network)
        return Scored(torch.zeros(len(context.ids)))

    started = time.perf_counter()
    for query in range(options.queries):
        method.score_query(context, null_loss, None, keep, query)
    unlearning = (time.perf_counter() - started) / options.queries
    before = loop(context, context.f1.load(), items, noise)
    raced = shift_scorer(context, replace(method.score, allocation="racing"))
    started = time.perf_counter()
    raced(copies[0], 0)
    first = time.perf_counter() - started

    seconds: dict[str, list[float]] = {"plain": [], "ours": []}
    recalls, shares = [], []
    for query, network in enumerate(copies):
        started = time.perf_counter()
        after = loop(context, network, items, noise)
        shifts = method.score.compare(torch.from_numpy(before), torch.from_numpy(after)).mean(1)
        seconds["plain"].append(time.perf_counter() - started)
        started = time.perf_counter()
        scored = raced(network, query)
        seconds["ours"].append(time.perf_counter() - started)
        found, true = (find_top(scores.numpy(), k) for scores in (scored.scores, shifts))
        recalls.append(len(found & true) / k)
        shares.append(scored.facts["share_evaluated"])
    ratios = [plain / ours for plain, ours in zip(*seconds.values(), strict=True)]
    print(f"{len(items)} items, {len(noise)} pairs, {len(copies)} queries, top {k}, {context.device}")
    for name, spent in seconds.items():
        print(f"{name:6} {statistics.median(spent):8.2f} s a query (median of {len(spent)})")
    print(f"ratio  {statistics.median(ratios):8.1f} (min {min(ratios):.1f}, max {max(ratios):.1f})")
    print(f"ours: {np.mean(shares):.1%} of the losses, recall {np.mean(recalls):.4f}, lowest {min(recalls):.3f}")
    print(
        f"beside that: {unlearning:.2f} s a query to unlearn it; once {first - seconds['ours'][0]:.1f} s, F1's losses"
    )


if __name__ == "__main__":
    main()
