"""LoRA (Hu et al. 2021, arXiv 2106.09685): layers of a base model become W + alpha / rank · B A, of which A and B, the
adapter, are trained. peft puts it in.

The adapter's are the only parameters of an adapted network (``tdattr.networks.frozen``).
"""

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from tdattr.configs import Settings
from tdattr.errors import UserError
from tdattr.networks.frozen import freeze
from tdattr.ranges import Count, Positive
from tdattr.seeding import torch_seed

if TYPE_CHECKING:
    from tdattr.networks import Network

ADAPTER = "default"  # peft's name of the adapter, which is in the names of its parameters
IN_NETWORK = re.compile(rf"\.lora_([AB])\.{ADAPTER}\.weight$")
IN_FILE = re.compile(r"\.lora_([AB])\.weight$")
INITIALISATION = "gaussian"  # A is normal with a deviation of 1 / rank, B zero: diffusers' train_text_to_image_lora.py
METADATA = "lora_adapter_metadata"  # of a file, under which diffusers writes and reads the settings of an adapter
PREFIX = "unet."  # of the names there: the part of a pipeline


@dataclass(frozen=True)
class LoraConfig(Settings):
    """The ``train.lora`` node. ``rank``: None: all weights are trained. ``alpha``: None: as much as ``rank``.
    ``targets``: which layers are adapted, by the ends of their names."""

    rank: Count | None
    alpha: Positive | None
    targets: list[str]

    def unread(self) -> dict[str, str]:
        """The rest, where nothing is adapted."""
        return dict.fromkeys(("alpha", "targets"), "rank=null") if self.rank is None else {}

    @property
    def scaled(self) -> float:
        """Alpha as a number."""
        assert self.rank is not None
        return float(self.rank if self.alpha is None else self.alpha)


def adapt(network: "Network", config: LoraConfig, seed: int = 0) -> None:
    """Give a network that holds its base weights an adapter, initialised for ``seed``, in place. Before it is trained
    the network computes what the base does. Raises UserError where a target names no layer that can be adapted."""
    from peft import LoraConfig as Adapter  # takes seconds to import
    from peft import inject_adapter_in_model

    find_layers(network, config.targets)
    settings: dict[str, Any] = {"r": config.rank, "lora_alpha": config.scaled, "init_lora_weights": INITIALISATION}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch_seed(seed, "lora"))
        inject_adapter_in_model(Adapter(target_modules=config.targets, **settings), network, ADAPTER)
    freeze(network)  # the base, whose parameters peft has marked as those that need no gradient


def find_layers(network: nn.Module, targets: list[str]) -> set[str]:
    """The names of the layers that ``targets`` names. Raises UserError where one of them names none, or something that
    cannot be adapted."""
    layers: set[str] = set()
    for target in targets:
        named = {name: module for name, module in network.named_modules() if f".{name}".endswith(f".{target}")}
        wrong = [type(module).__name__ for module in named.values() if not isinstance(module, nn.Linear | nn.Conv2d)]
        if wrong or not named:
            what = f"is also a {wrong[0]}" if wrong else "is in the name of no layer of the model"
            raise UserError(
                f"train.lora.targets has {target!r}, which {what}: give the ends of names of linear or convolutional "
                "layers, such as [to_k,to_q,to_v,to_out.0]."
            )
        layers |= named.keys()
    if not layers:
        raise UserError("train.lora.targets is empty: give the ends of names of layers, such as [to_k,to_q].")
    return layers


def describe_adapter(model: nn.Module, config: LoraConfig) -> dict[str, Any]:
    """What the results of an adapter of a model, an outline, depend on, however ``config`` says it."""
    return {"rank": config.rank, "alpha": config.scaled, "layers": sorted(find_layers(model, config.targets))}


def name_in_file(name: str) -> str:
    """What a parameter of an adapter is called in a file, as peft and diffusers write it; other names are kept."""
    return IN_NETWORK.sub(r".lora_\1.weight", name)


def name_in_network(name: str) -> str:
    """The other way round."""
    return IN_FILE.sub(rf".lora_\1.{ADAPTER}.weight", name)


def name_adapted(name: str) -> str:
    """The weight of the base that a parameter of an adapter changes; other names are kept."""
    return IN_NETWORK.sub(".weight", name)


def adapter_metadata(config: LoraConfig) -> dict[str, str]:
    """What ``load_lora_weights`` of diffusers must know of a file besides its tensors; nothing without an adapter."""
    if config.rank is None:
        return {}
    targets = [target.removeprefix(PREFIX) for target in config.targets]
    values = {"r": config.rank, "lora_alpha": config.scaled, "target_modules": targets}
    return {METADATA: json.dumps({f"{PREFIX}{name}": value for name, value in values.items()})}
