"""Does MUCS's skew lose by flattening large changes? Unlearns each query as MUCS does by default and, from the losses
of every item before and after, scores the items by

    the skew      (L2 - L1) / (L2 + L1)
    the ratio     (L2 - L1) / L1
    the difference L2 - L1

and by the skew as it would be had every loss moved a tenth as far. Prints the LDS of each (the trainings are those of
``protocol=lds``), and how many times its loss before unlearning the loss of the items that the skew puts first is.

    python benchmarks/skew_saturation.py experiment=glyph_digits protocol.subsets=32 protocol.repeats=1 \
        protocol.draws=1000
"""

import sys

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

import tdattr
from tdattr.methods import Context, Scored
from tdattr.methods.f1_losses import loss_model
from tdattr.methods.mucs import MUCS
from tdattr.methods.shift_config import skew
from tdattr.methods.shift_noise import noise_set
from tdattr.metrics.rank_correlation import spearman
from tdattr.pipeline.attribute import make_context
from tdattr.pipeline.counterfactuals import WorkspaceCounterfactuals
from tdattr.protocols.lds import LDS, prediction
from tdattr.scores import Scores
from tdattr.scoring.cells import TrainingItems
from tdattr.training.quiet import quieten

FIRST = 4  # items of a query
SMALLER = 0.1


def losses(method: MUCS, given: Context) -> tuple[Float[Tensor, "item pair"], Float[Tensor, "query item pair"]]:
    """Before and after unlearning each query."""
    noise, items = noise_set(given, method.score), TrainingItems(given.data.train, given.ids)
    after = []

    def keep(network: nn.Module, query: int) -> Scored:
        after.append(loss_model(given, network).table(items, noise, description=f"Losses after query {query}"))
        return Scored(torch.zeros(len(given.ids)))

    null_loss = method.estimate_null_loss(given)
    for query in range(len(given.queries)):
        method.score_query(given, null_loss, None, keep, query)
    return loss_model(given, given.f1.load()).table(items, noise, description="Losses of F1").double(), torch.stack(
        after
    ).double()


def main() -> None:
    """Measure and print."""
    quieten()
    ws = tdattr.compose(["protocol=lds", *sys.argv[1:], "method=mucs"])
    method, protocol = ws.method, ws.protocol
    assert isinstance(method, MUCS) and isinstance(protocol, LDS)
    assert ws.cfg.ablation is None, "this is about MUCS as it is published"
    given = make_context(ws, method, [])
    before, after = losses(method, given)
    change, epsilon = after - before, method.score.epsilon
    assert epsilon is not None, "this is about the skew"
    found = {
        "skew": skew(before, after, epsilon),
        "ratio": change / (before + epsilon),
        "difference": change,
        f"skew, {SMALLER} of each change": skew(before, before + SMALLER * change, epsilon),
    }
    members = protocol.members(len(given.ids), ws.seed)
    measured = protocol.losses(
        Scores(torch.zeros(len(after), len(given.ids)), given.ids), WorkspaceCounterfactuals(ws, protocol.needs)
    )
    for name, shifts in found.items():
        print(f"{name:26} LDS {spearman(prediction(shifts.mean(2).numpy(), members), measured).mean():.3f}")
    first = found["skew"].mean(2).topk(FIRST, dim=1).indices.numpy()
    times = (after.mean(2) / before.mean(1)).numpy()
    print(f"loss after / before: {np.median(np.take_along_axis(times, first, 1)):.2f} (median over the first {FIRST})")
    print(f"                     {np.median(times):.2f} (median over all items)")


if __name__ == "__main__":
    main()
