"""Networks: the one signature through which everything else calls them, and what builds them."""

import fnmatch
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn

from tdattr.configs import Node
from tdattr.errors import UserError
from tdattr.networks.lora import name_adapted, name_in_file, name_in_network

if TYPE_CHECKING:
    from tdattr.diffusion import Diffusion


@dataclass(frozen=True)
class Given:
    """What a network is told of a batch of items besides their noised values and noise levels.

    ``condition``: of any shape and type that the network embeds, such as a class vector or token ids. ``drop`` marks
    the items whose condition the network replaces by its null condition. ``augmentation``: the class that
    ``tdattr.training.augmentation.augment`` gives each item, 0 or 1; None means 0, that nothing was augmented.
    """

    condition: Shaped[Tensor, "batch *condition"] | None = None
    drop: Bool[Tensor, " batch"] | None = None
    augmentation: Int[Tensor, " batch"] | None = None

    def __getitem__(self, which: slice | Tensor) -> "Given":
        """The same for some of the items."""
        return self.apply(lambda value: value[which])

    def apply(self, function: Callable[[Tensor], Tensor]) -> "Given":
        """The same with ``function`` applied to every tensor."""
        values = (self.condition, self.drop, self.augmentation)
        return Given(*(None if value is None else function(value) for value in values))

    def repeat_interleave(self, times: int) -> "Given":
        """Each item ``times`` times in a row."""
        return self.apply(lambda value: value.repeat_interleave(times, 0))

    def to(self, device: torch.device) -> "Given":
        """The same on another device."""
        return self.apply(lambda value: move(value, device))

    def pin_memory(self) -> "Given":
        """The same in memory from which a GPU copies in the background."""
        return self.apply(lambda value: value.pin_memory())

    def with_null(self, null: Shaped[Tensor, "*condition"]) -> Shaped[Tensor, "batch *condition"] | None:
        """The conditions, those to be dropped replaced by ``null``; None where there are none."""
        if self.condition is None or self.drop is None:
            return self.condition
        return torch.where(per_item(self.drop, self.condition), null, self.condition)


NOTHING = Given()

# A Network, or a function around one: (x [batch, …], c_noise [batch], given) -> a tensor of x's shape.
Forward = Callable[[Tensor, Tensor, Given], Tensor]


class Network(nn.Module, ABC):
    """The base class of all networks.

    ``conditional``: whether it sees conditions; ``has_null``: whether it then also works without one.
    ``knows_augmentation``: whether it takes ``Given.augmentation``. ``parts``: the parts that can be trained by
    themselves, as patterns of names of parameters. ``inner``: how the names of all parameters begin that diffusers
    would save by themselves, without it. ``adapted``: whether its parameters are not all of its weights, but those of a
    LoRA adapter (``tdattr.networks.lora``) or of a part (``tdattr.networks.frozen``). ``batched``: parameters of the
    network itself, not of a module in it, that ``forward`` also takes with an axis for the batch before their own, by
    which their gradients are found cell by cell.
    """

    parts: ClassVar[Mapping[str, tuple[str, ...]]]
    inner: ClassVar[str] = ""
    batched: ClassVar[tuple[str, ...]] = ()
    conditional: bool
    has_null: bool = True
    knows_augmentation: bool
    adapted: bool = False

    @abstractmethod
    def forward(
        self, x: Float[Tensor, "batch *shape"], c_noise: Float[Tensor, " batch"], given: Given = NOTHING
    ) -> Float[Tensor, "batch *shape"]:
        """The network's output for noised items ``x``; ``c_noise`` is the noise level as the network is told it."""

    def parameter_names(self, part: str) -> list[str]:
        """The names of the parameters of one of ``parts``, or of those that a pattern with an asterisk names, in their
        order; of an adapter those that change such weights. Raises UserError for an unknown part, a pattern that names
        nothing, and where a training leaves all of it as it is."""
        if part not in self.parts and "*" not in part:
            raise UserError(
                f"The network has no part {part!r}: choose one of {', '.join(self.parts)}, or give a pattern of names "
                "of parameters, with an asterisk."
            )
        names = {name: name_adapted(name) for name, _ in self.named_parameters()}
        patterns = self.parts.get(part, (part,))
        chosen = [name for name, weight in names.items() if any(fnmatch.fnmatch(weight, at) for at in patterns)]
        if self.adapted and not chosen:
            raise UserError(
                f"train.lora or train.trainable leaves all of the part {part!r} as it is, which is to be trained or "
                "differentiated: choose another one, such as all, or have it trained."
            )
        if "*" in part and not chosen:
            raise UserError(f"The network has no parameter {part}: its first one is {next(iter(names))}.")
        return chosen

    def weights(self) -> dict[str, Tensor]:
        """What a training changes, of an adapted network the adapter, under the names that files have; float32 on the
        CPU."""
        state = self.state_dict()
        return {name_in_file(name): value.detach().float().cpu().contiguous() for name, value in state.items()}

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Take what ``weights`` gave."""
        rename = name_in_network if self.adapted else str
        self.load_state_dict({rename(name): value for name, value in weights.items()})

    def name_saved(self, names: Iterable[str]) -> dict[str, str]:
        """The names in this network of the tensors in a file, by those in the file: the same, unless diffusers has
        saved the network inside."""
        listed = list(names)
        inside = self.inner and not any(name.startswith(self.inner) for name in listed)
        return {name: f"{self.inner}{name}" if inside else name for name in listed}

    def embed_conditions(self, given: Given, count: int) -> Given:
        """What to give in place of ``given``, of ``count`` items, where the network is run through ``torch.func``: the
        same, unless looking up a condition is nothing that can be transformed."""
        return given

    @property
    def has_dropout(self) -> bool:
        """Whether a training draws dropout masks."""
        return any(isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0 for module in self.modules())


class NetworkConfig(Node, ABC):
    """The base class of ``model`` config nodes, which are frozen dataclasses.

    ``c_noise``: what the network is to be told of a noise level, ``log_sigma`` or ``timestep``. The diffusion variant
    reads it; the network is built without it.
    """

    unaddressed: ClassVar[tuple[str, ...]] = ("name", "c_noise")  # the variant's description says c_noise
    start: ClassVar[str] = "afresh"  # how retrainings start, for messages
    remedy: ClassVar[str] = "choose another model"  # for own weights as F1 that draw no images like the data
    has_base: ClassVar[bool] = False  # whether ``initialise`` gives base weights, which trainings adapt

    c_noise: str

    @property
    def has_weights(self) -> bool:
        """Whether ``pretrained`` loads weights of its own, which are then F1."""
        return False

    @abstractmethod
    def build(self, channels: int, resolution: int, condition: int) -> Network:
        """A fresh network, initialised from PyTorch's current random state.

        For items of ``channels`` x ``resolution`` x ``resolution`` and condition vectors of the length ``condition``,
        0 where there are none. Raises UserError where these do not fit.
        """

    def count_parameters(self, channels: int, resolution: int, condition: int) -> int:
        """The number of parameters for such items, before it is known what a text encoder makes of their prompts."""
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            network = self.build(channels, resolution, condition)
        return sum(parameter.numel() for parameter in network.parameters())

    def outline(self) -> Network:
        """The network on the meta device, whatever the items, of which ``train.lora`` or ``train.trainable`` may train
        a part. Raises UserError where ``initialise`` gives no base weights."""
        raise UserError(
            "train.lora and train.trainable train a part of a model that has base weights: choose model=sd15 or "
            "model=sd_tiny."
        )

    def initialise(self, network: Network) -> None:
        """Give a network that was built the weights with which every training starts; those that it was built with,
        unless a model says otherwise. Raises UserError where a file does not hold them."""
        return

    @property
    def tokenizer(self) -> str | None:
        """The folder or hub id of the pipeline by whose tokenizer the token ids are made that the network is told as
        conditions; None: it is told none."""
        return None

    def check_weights(self) -> None:
        """Raise UserError where files with which something is to be computed are damaged; before the first training
        step."""
        return

    def check_diffusion(self, diffusion: "Diffusion") -> None:
        """Raise UserError where the network cannot be run under this variant; before anything is computed."""
        return

    def own_diffusion(self, sampler: str | None) -> Mapping[str, Any]:
        """The settings of ``diffusion=ddpm`` by which the model's own weights were trained and are sampled, or are
        sampled by that ``sampler``. Raises UserError where they are not known."""
        raise UserError(
            "diffusion=diffusers adopts a checkpoint's scheduler: set model=diffusers, or another diffusion."
        )

    def identity(self) -> Mapping[str, str]:
        """What the network depends on besides the node's own values, such as the digests of files."""
        return {}

    def pretrained(self, channels: int, resolution: int, condition: int) -> Network | None:
        """The network with its own weights, which are then F1; None where it has none and is to be trained."""
        return None


def per_item(values: Shaped[Tensor, " batch"], like: Shaped[Tensor, "batch *shape"]) -> Shaped[Tensor, "batch *ones"]:
    """One value an item, shaped so that it broadcasts over the items of ``like``."""
    return values.reshape(-1, *(1,) * (like.ndim - 1))


def move(value: Tensor, device: torch.device) -> Tensor:
    """A tensor on another device; a copy to a GPU does not block where the memory is pinned."""
    return value.to(device, non_blocking=device.type == "cuda")


def send(value: Tensor, device: torch.device) -> Tensor:
    """A tensor on another device, to which it is copied in the background; what is there already stays where it is."""
    pinned = device.type == "cuda" and value.device.type == "cpu"
    return move(value.pin_memory() if pinned else value, device)
