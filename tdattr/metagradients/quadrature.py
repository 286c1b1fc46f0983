"""The integral of what is known at one end for nothing: Radau's rule."""

import numpy as np
from jaxtyping import Float
from numpy.polynomial import legendre

DECIMALS = 12  # of a node: addresses hold them, and the last bits of a root depend on the machine


def radau(points: int) -> tuple[Float[np.ndarray, " point"], Float[np.ndarray, " point"]]:
    """Nodes from 1 down, of which none is 0, and their weights, which add up to 1: of all rules from 0 to 1 with so
    many points, 1 among them, the one that is exact for polynomials of the highest degree, 2 (points - 1) (Abramowitz
    & Stegun 1964, 25.4.31, mirrored)."""
    below, at = np.eye(points + 1)[points - 1], np.eye(points + 1)[points]
    nodes = np.sort(legendre.legroots(below + at))  # of -1 to 1
    weights = (1 - nodes[1:]) / (points * legendre.legval(nodes[1:], below)) ** 2
    nodes, weights = np.concatenate([[-1.0], nodes[1:]]), np.concatenate([[2 / points**2], weights])
    return ((1 - nodes) / 2).round(DECIMALS), weights / 2
