"""Which other style a forgotten item is steered to: GUDA-C's weighted style selection (AWSS, arXiv 2601.22651)."""

import torch
from jaxtyping import Float
from torch import Tensor


def mean_direction(embeddings: Float[Tensor, "text width"]) -> Float[Tensor, " width"]:
    """The mean of embeddings of length 1, brought to length 1: a style's prototype from its descriptors, or what stands
    for the descriptors of a prompt. Zero where there is none, or where they cancel."""
    if not len(embeddings):
        return embeddings.new_zeros(embeddings.shape[1])
    return unit(unit(embeddings).mean(0))


def anchor_distribution(
    prototypes: Float[Tensor, "style width"],
    described: Float[Tensor, " width"],
    forgotten: int,
    beta: float,
    eta: float,
) -> Float[Tensor, " style"]:
    """The probabilities of the styles, float64: (1 - eta) · softmax(beta · cosine) + eta · uniform over all but the
    ``forgotten`` one.

    The cosine is that of each style's prototype and ``described``, the descriptors of the forgotten item's prompt.
    Their lengths do not matter; where ``described`` is zero all cosines are. eta = 1: uniform, GUDA-C's ablation.
    Raises ValueError for an unknown style, one that has no other, and an eta outside of [0, 1].
    """
    styles = len(prototypes)
    if styles < 2 or not 0 <= forgotten < styles:
        raise ValueError(f"style {forgotten} of {styles} cannot be forgotten: there must be another")
    if not 0 <= eta <= 1:
        raise ValueError(f"eta = {eta} is not between 0 and 1")
    others = torch.arange(styles, device=prototypes.device) != forgotten
    cosines = unit(prototypes.double()) @ unit(described.double())
    weighted = (beta * cosines).masked_fill(~others, -torch.inf).softmax(0)
    return (1 - eta) * weighted + eta * others / (styles - 1)


def unit(vectors: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
    """Of length 1; zero stays zero."""
    lengths = vectors.norm(dim=-1, keepdim=True)
    return vectors / torch.where(lengths == 0, 1, lengths)
