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
from hydra import compose, initialize_config_dir
from jaxtyping import Float
from torch import Tensor, nn

from tdattr.attribution import context
from tdattr.counterfactuals import Models
from tdattr.methods import Context
from tdattr.methods.item_losses import item_losses
from tdattr.methods.loss_shift import noise_set, skew
from tdattr.methods.mucs import MUCS
from tdattr.metrics.rank_correlation import spearman
from tdattr.protocols import Scores
from tdattr.protocols.lds import LDS, prediction
from tdattr.run import quieten
from tdattr.scoring.losses import View
from tdattr.search_path import CONF
from tdattr.stages import Chain

FIRST = 4  # items of a query
SMALLER = 0.1


def losses(method: MUCS, given: Context) -> tuple[Float[Tensor, "item pair"], Float[Tensor, "query item pair"]]:
    """Before and after unlearning each query."""
    noise, view = noise_set(given, method.score), View(given.data.train)
    after = []

    def kept(network: nn.Module, query: int) -> Tensor:
        after.append(item_losses(given, network, noise, view, f"Losses after query {query}", nested=True))
        return torch.zeros(len(given.ids))

    null_loss = method.estimate_null_loss(given)
    for query in range(len(given.images)):
        method.score_query(given, null_loss, None, kept, query)
    return item_losses(given, given.f1(), noise, view, "Losses of F1").double(), torch.stack(after).double()


def main() -> None:
    """Measure and print."""
    quieten()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        chain = Chain(compose("config", ["protocol=lds", *sys.argv[1:], "method=mucs"]))
    method, protocol = chain.method, chain.protocol
    assert isinstance(method, MUCS) and isinstance(protocol, LDS)
    assert chain.cfg.ablation is None, "this is about MUCS as it is published"
    f1 = chain.pretrained()
    given = context(chain, chain.cfg.method, method, f1, chain.generated(f1), [])
    before, after = losses(method, given)
    change, epsilon = after - before, method.score.epsilon
    found = {
        "skew": skew(before, after, epsilon),
        "ratio": change / (before + epsilon),
        "difference": change,
        f"skew, {SMALLER} of each change": skew(before, before + SMALLER * change, epsilon),
    }
    members = protocol.members(len(given.ids), chain.cfg.seed)
    measured = protocol.losses(Scores(torch.zeros(len(after), len(given.ids)), given.ids), Models(chain))
    for name, shifts in found.items():
        print(f"{name:26} LDS {spearman(prediction(shifts.mean(2).numpy(), members), measured).mean():.3f}")
    first = found["skew"].mean(2).topk(FIRST, dim=1).indices.numpy()
    times = (after.mean(2) / before.mean(1)).numpy()
    print(f"loss after / before: {np.median(np.take_along_axis(times, first, 1)):.2f} (median over the first {FIRST})")
    print(f"                     {np.median(times):.2f} (median over all items)")


if __name__ == "__main__":
    main()
