"""Base weights that a training leaves as they are: buffers of the network, which are not stored.

What trains, averages, stores, unlearns or differentiates the parameters of a network does so with the rest alone.
"""

from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from tdattr.networks import Network


def train_part(network: "Network", part: str) -> None:
    """Leave of a network that holds its base weights, or is an outline, the parameters of a part, in place: those that
    ``Network.parameter_names`` gives. Raises UserError where there is no such part."""
    trained = set(network.parameter_names(part))
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name in trained)
    freeze(network)


def freeze(network: "Network") -> None:
    """Make buffers of the parameters that need no gradient, in place."""
    for module in network.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            if not parameter.requires_grad:
                delattr(module, name)
                module.register_buffer(name, parameter.detach(), persistent=False)
    network.adapted = True


def share_base(network: nn.Module, copy: nn.Module) -> None:
    """Let a copy of such a network use the same base, which then is in memory once."""
    for module, other in zip(network.modules(), copy.modules(), strict=True):
        other._buffers.update(module._buffers)
