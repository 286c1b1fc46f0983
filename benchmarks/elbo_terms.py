"""How few terms of the evidence lower bound rank groups as all of them do?

Takes the models of ``method=logo`` (trained where they are not there yet) and every term that the config's ``elbo``
node visits, and ranks the groups of each query by fewer of them: evenly spread ones, and ones drawn in proportion to
their size under F1 (``importance``; a mean over draws). Prints the agreement with the ranks by all terms.

    python benchmarks/elbo_terms.py experiment=guda_glyphs elbo.stride=1
"""

import sys

import numpy as np
from jaxtyping import Float
from torch import Tensor

import tdattr
from tdattr.methods.group_elbo import differences
from tdattr.methods.logo import LOGO
from tdattr.metrics.agreement import agreement
from tdattr.pipeline.attribute import make_context
from tdattr.scoring.elbo import draw_terms
from tdattr.seeding import generator
from tdattr.training.quiet import quieten

COUNTS = (10, 20, 50, 100, 200)
SAME = "protocol.gold.repeats=${method.repeats}"  # a run may not be judged by some of its own seeds
DRAWS = 20
MEASURES = ("spearman", "top_1")


def all_terms(overrides: list[str]) -> Float[Tensor, "model query term"]:
    """Every term of every query under F1 and the models without one group each."""
    ws = tdattr.compose([*overrides, "method=logo", SAME])
    assert isinstance(ws.method, LOGO)
    given = make_context(ws, ws.method, [])
    return ws.method.terms(given)[0]


def main() -> None:
    """Measure and print."""
    quieten()
    terms = all_terms(sys.argv[1:])
    every = differences(terms).numpy()
    sizes = terms[0].mean(0)
    headings = [f"{kind} {measure}" for kind in ("even", "drawn") for measure in MEASURES]
    print("terms  " + "  ".join(headings))
    for count in (count for count in COUNTS if count < len(sizes)):
        even = ((np.arange(count) + 0.5) * len(sizes) / count).astype(int)
        spread = agreement(every, differences(terms[..., even]).numpy())
        chosen = []
        for number in range(DRAWS):
            places, weights = draw_terms(sizes, count, generator(0, "benchmark.terms", number))
            chosen.append(agreement(every, differences(terms[..., places] * weights).numpy()))
        values = [spread[measure].mean() for measure in MEASURES]
        values += [np.mean([each[measure].mean() for each in chosen]) for measure in MEASURES]
        cells = (f"{value:{len(heading)}.3f}" for heading, value in zip(headings, values, strict=True))
        print(f"{count:5}  " + "  ".join(cells))


if __name__ == "__main__":
    main()
