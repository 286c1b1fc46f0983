"""What methods share that repeat the training of F1: where it cannot be repeated, and whether it was."""

from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor

from tdattr.errors import UserError
from tdattr.metagradients.state import Layout, find_weights
from tdattr.methods import Method, MethodSetup
from tdattr.networks import Network

REPLAY = "replay_difference"  # the name of a fact
SAME = 1e-3  # of the length of the weights: what rounding makes of a training that is repeated on another machine


class Repeating(Method):
    """A method that differentiates along the training of F1, which it repeats."""

    name: str

    def check_network(self, network: Network) -> None:
        """What a training changes must be its parameters alone. Raises UserError."""
        super().check_network(network)
        check_parameters(network, self.name)

    def check(self, setup: MethodSetup) -> None:
        """F1 must be the last weights of a training in float32 that can be repeated. Raises UserError."""
        check_repeated(setup, self.name)

    def warn(self, facts: Mapping[str, float]) -> list[str]:
        """Where the training could not be repeated."""
        return warn_of_difference(facts.get(REPLAY, 0.0), "the scores are those")


def check_parameters(network: Network, name: str) -> None:
    """Raise UserError, in the name of what asks, where a training changes more of a network than its parameters."""
    state = network.state_dict()
    if moving := [key for key, value in network.named_buffers() if key in state and value.is_floating_point()]:
        raise UserError(f"{name} differentiates parameters alone, but a training may change {moving[0]}.")


def check_repeated(setup: MethodSetup, name: str) -> None:
    """Raise UserError, in the name of what asks, unless F1 is the last weights of a training in float32 that can be
    repeated."""
    if not setup.trained:
        raise UserError(f"{name} repeats the training of F1, but F1 was not trained here: leave out checkpoint.")
    if setup.train.selection != "last":
        raise UserError(f"{name} needs the last weights of a training: set train.selection=last.")
    if setup.precision != "32-true":
        raise UserError(f"{name} repeats the training of F1 in float32: set trainer.precision=32-true.")
    if setup.train.accumulate * setup.devices > 1 and setup.network.has_dropout:
        raise UserError(f"{name} draws the dropout of whole batches: set train.accumulate=1 and trainer.devices=1.")


def warn_of_difference(difference: float, what: str) -> list[str]:
    """That a repeated training ends elsewhere than F1, where it does. ``what`` is of the repeated one: the scores."""
    if difference <= SAME:
        return []
    return [
        f"The training of F1, repeated here, ends at weights that differ from F1's by {difference:.2%} of their "
        f"length: {what} of the repeated training."
    ]


def compare(layout: Layout, last: Float[Tensor, " state"], f1: Network, kept: str) -> float:
    """How far the weights of a repeated training lie from F1's, relative to their length."""
    return differ(find_weights(last, kept), layout.join(dict(f1.named_parameters())))


def differ(weights: Float[Tensor, " parameter"], theirs: Float[Tensor, " parameter"]) -> float:
    """How far weights lie from those of F1, relative to the length of these."""
    return float((weights - theirs).norm() / theirs.norm())
