"""Radau's rule by the polynomials that it integrates exactly."""

import numpy as np
import pytest

from tdattr.metagradients.quadrature import radau


@pytest.mark.parametrize("points", [1, 2, 3, 4])
def test_polynomials_are_integrated_as_far_as_a_rule_can(points: int) -> None:
    nodes, weights = radau(points)
    assert nodes[0] == 1 and (np.diff(nodes) < 0).all() and nodes[-1] > 0 and (weights > 0).all()
    errors = [abs(weights @ nodes**degree - 1 / (degree + 1)) for degree in range(2 * points)]
    assert max(errors[:-1]) < 1e-10 and errors[-1] > 1e-5


def test_two_points_are_known() -> None:
    nodes, weights = radau(2)
    np.testing.assert_allclose(nodes, [1, 1 / 3], atol=1e-12)
    np.testing.assert_allclose(weights, [1 / 4, 3 / 4])
