"""GUDA's own settings; its objectives, unlearning and bound have tests of their own."""

import pytest

from tdattr.methods.guda import by_size
from tdattr.unlearning.objectives.finetune import Finetune
from tdattr.unlearning.objectives.gradient_ascent import GradientAscent


@pytest.mark.parametrize(("size", "weight"), [(20, 0.06), (40, 0.12), (5, 0.015)])
def test_the_weight_is_that_of_an_average_group(size: int, weight: float) -> None:
    found = by_size(GradientAscent("gradient_ascent", 0.06), size, 20.0)
    assert found.weight == pytest.approx(weight)


def test_an_objective_without_a_weight_stays_as_it_is() -> None:
    assert by_size(Finetune("finetune"), 40, 20.0) == Finetune("finetune")
