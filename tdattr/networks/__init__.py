"""Networks and the one signature through which everything else calls them."""

from typing import Protocol

from jaxtyping import Bool, Float
from torch import Tensor, nn

from tdattr.errors import UserError


class Network(Protocol):
    """What a diffusion variant calls: any ``nn.Module`` with this ``forward``.

    ``code`` is the noise level as the network sees it (the variant's ``c_noise``). ``drop`` marks the items whose
    condition is replaced by the learned null condition.
    """

    def __call__(
        self,
        x: Float[Tensor, "batch channel height width"],
        code: Float[Tensor, " batch"],
        condition: Float[Tensor, "batch condition"] | None = None,
        drop: Bool[Tensor, " batch"] | None = None,
        augmentation: Float[Tensor, "batch label"] | None = None,
    ) -> Float[Tensor, "batch channel height width"]: ...


class NetworkConfig(Protocol):
    """A ``model`` config node: builds the network for the images and conditions of a dataset."""

    def build(self, channels: int, resolution: int, condition: int) -> nn.Module:
        """A network with PyTorch's current random state as its initialisation; ``condition`` 0 means unconditional."""
        ...


def part_names(network: nn.Module, part: str) -> list[str]:
    """The names of the parameters of a part of the network. Raises UserError where the network does not name them."""
    names = getattr(network, "parameter_names", None)
    if names is None:
        raise UserError(
            f"This method needs a network that names its parts, but {type(network).__name__} has no parameter_names."
        )
    return names(part)
