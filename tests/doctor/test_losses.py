"""What is said of losses: of networks that know the items, know them otherwise, or know nothing."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from tdattr.doctor.findings import Finding
from tdattr.doctor.losses import compare_losses, judge_conditions, scramble, shuffle_conditions
from tdattr.doctor.sample import Sample
from tdattr.networks import Network
from tdattr.pipeline.train import build_random
from tdattr.report.sheet import Sheet
from tests.doctor.memorising import Memorising

pytestmark = pytest.mark.slow
Memorise = Callable[..., Memorising]


def look(sample: Sample, network: Network) -> tuple[dict[str, Finding], Sheet]:
    own, held_out = (sample.errors(network, items, "") for items in (sample.items, sample.held_out))
    findings, sheet = compare_losses(sample, network, own, held_out)
    return {finding.check: finding for finding in findings}, sheet


def test_a_network_that_knows_the_items_is_fine(sample: Sample, memorise: Memorise) -> None:
    found, sheet = look(sample, memorise())
    assert {name: each.verdict for name, each in found.items()} == dict.fromkeys(
        ("losses", "structure", "conditions", "preparation"), "fine"
    )
    numbers = found["losses"].numbers
    assert numbers["training"] < 0.5 * min(numbers["guess"], numbers["untrained"])
    assert [len(sheet.rows), sheet.columns[2:]] == [
        5,
        ["training", "held out", "shuffled", "scrambled", "untrained", "guess"],
    ]
    means = [sum(float(str(row["training"])) for row in sheet.rows[:-1]) / 4, float(str(sheet.rows[-1]["training"]))]
    np.testing.assert_allclose(*means, atol=2e-3)


def test_an_untrained_network_is_broken(sample: Sample) -> None:
    found, _ = look(sample, build_random(sample.ws, 5).eval())
    assert found["losses"].verdict == "broken"
    assert "the weights look untrained" in found["losses"].said
    assert (
        found["losses"].remedy == "train.steps=24, or weights=raw where so short a training has no use for an average"
    )
    assert found["conditions"].verdict == "look"


def test_losses_that_are_not_finite_are_broken(sample: Sample, memorise: Memorise) -> None:
    network = memorise()
    network.known.data[0] = torch.nan
    found, _ = look(sample, network)
    assert found["losses"].verdict == "broken" and found["losses"].said == "F1's losses are not finite."
    assert found["conditions"].verdict == "open"


@pytest.mark.parametrize(
    ("seen", "name"), [(lambda x: -x, "inverted"), (lambda x: (x + 1) / 2, r"in [0, 1]")], ids=["inverted", "range"]
)
def test_pictures_that_were_prepared_otherwise_are_named(
    sample: Sample, memorise: Memorise, seen: Callable[[torch.Tensor], torch.Tensor], name: str
) -> None:
    found, _ = look(sample, memorise(seen=seen))
    assert found["losses"].verdict == "broken" == found["preparation"].verdict
    assert f"where the pictures are {name}" in found["preparation"].said


def test_conditions_that_do_nothing_are_worth_a_look_and_wrong_ones_are_broken(
    sample: Sample, memorise: Memorise
) -> None:
    assert look(sample, memorise(told=lambda condition: condition.roll(1, 1)))[0]["conditions"].verdict != "fine"
    rng = np.random.default_rng(0)
    own = rng.uniform(0.5, 1, (30, 4))
    wrong = judge_conditions(own, own - 0.1 * rng.uniform(0, 1, (30, 4)))
    assert wrong.verdict == "broken" and "its own condition is the wrong one" in wrong.said

    assert look(sample, memorise(listens=False))[0]["conditions"].verdict == "look"
    unconditional, sheet = look(sample, memorise(conditional=False))
    assert "conditions" not in unconditional and "shuffled" not in sheet.columns


def test_shuffled_conditions_differ(sample: Sample) -> None:
    found = shuffle_conditions(sample.items)
    assert found is not None
    order, other = found
    conditions = sample.items.take(np.arange(40))[1].condition
    assert conditions is not None
    assert sorted(order) == list(range(40)) and len(other) == 40
    assert (conditions[torch.from_numpy(order)] != conditions).any(1).all()


def test_scrambled_items_keep_their_values_whatever_the_batch() -> None:
    x = torch.arange(48.0).view(3, 1, 4, 4)
    scrambled = scramble(x, np.array([0, 1, 2]), 1)
    assert torch.equal(scrambled.flatten(1).sort().values, x.flatten(1)) and not torch.equal(scrambled, x)
    assert torch.equal(scramble(x[1:2], np.array([1]), 1), scrambled[1:2])
