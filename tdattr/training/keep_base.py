"""What a training leaves of base weights as they are."""

from tdattr.networks import Network
from tdattr.networks.frozen import train_part
from tdattr.networks.lora import adapt
from tdattr.training.config import TrainConfig


def keep_base(network: Network, config: TrainConfig, seed: int = 0) -> None:
    """Leave a network that holds its base weights no parameters but those of an adapter, initialised for ``seed``, or
    of the part that is trained, in place; all of them by default. Raises UserError where there is no such layer or
    part."""
    if config.lora.rank is not None:
        adapt(network, config.lora, seed)
    elif config.keeps_base:
        train_part(network, config.trainable)
