"""What marks a group is found, by every method that scores groups, and not by a model that is made random: quanda's
sanity checks (arXiv 2410.07158).

``random``, a group's score being the mean of its items', is asked too and must fail. A new method in ``conf/method`` is
asked by itself.
"""

import numpy as np
import pytest

from tests.sanity.corners import CORNERS, EACH, GROUPS, make_cornered
from tests.sanity.world import World, methods_of_groups, scores_groups

CHANCE = 1 / len(CORNERS)
NAMED = 0.75  # the least share of queries whose group must be named first
OTHERS = {
    "group_metagradient": "it trains again, whatever the model, and this training is not smooth in its data",
    "guda_c": "what it forgets are prompts, and these items have none",
    "logo_again": "it is logo under another seed",
}
ASKED = set(methods_of_groups()) - OTHERS.keys()
UNASKED = {"group_similarity"}  # asks no model
LEARNS = {"guda_u", "shapley"}  # unlearning trains on what is kept, which a random model learns from, too
GAP = 0.1  # by which these must name a smaller share right under a random model


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Digits with a corner for each group."""
    return make_cornered(tmp_path_factory.mktemp("corners"))


def top_1(world: World, name: str, model: str) -> float:
    """The share of queries of which the group whose corner they show has the highest score."""
    scores = world.scores(name, model)
    if not scores_groups(name):
        scores = np.stack([scores[:, ids].mean(1) for ids in GROUPS.values()], axis=1)
    return float((scores.argmax(1) == np.repeat(np.arange(len(CORNERS)), EACH)).mean())


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(ASKED))
def test_the_group_whose_mark_a_query_shows_is_named_first(name: str, world: World) -> None:
    assert top_1(world, name, "trained") >= NAMED


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(ASKED - UNASKED - LEARNS))
def test_a_random_model_names_groups_by_chance(name: str, world: World) -> None:
    assert top_1(world, name, "random") <= 1.5 * CHANCE <= NAMED <= top_1(world, name, "trained")


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(LEARNS))
def test_a_random_model_knows_less_than_a_trained_one(name: str, world: World) -> None:
    assert top_1(world, name, "random") <= top_1(world, name, "trained") - GAP


@pytest.mark.slow
def test_random_scores_fail_by_either_model(world: World) -> None:
    random, trained = top_1(world, "random", "random"), top_1(world, "random", "trained")
    assert trained < NAMED and random > trained - GAP


def test_exceptions_are_methods_that_there_are() -> None:
    assert OTHERS.keys() | UNASKED | LEARNS <= set(methods_of_groups())
