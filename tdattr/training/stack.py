"""Networks of one architecture as one module: each learns as it would alone, up to rounding.

A step of a small network is so short that a GPU mostly waits to be told what to do next. What is told once for all
networks, by torch.func's ``vmap``, is told as fast for many as for one.
"""

import copy
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from tdattr.diffusion import Diffusion
from tdattr.diffusion.batch import Batch
from tdattr.networks import Forward, Given, Network, per_item
from tdattr.training.config import TrainConfig
from tdattr.training.module import Pretraining, weigh

LONGEST_REASON = 120  # characters of torch's words
LENGTH_FLOOR = 1e-6  # that torch adds to a gradient's length before it divides by it


def can_stack(network: Network) -> bool:
    """Whether networks like this one can be trained as one: they draw no random numbers, and a training changes nothing
    of them but all of their parameters."""
    buffers = any(name in network.state_dict() for name, _ in network.named_buffers())
    trained = all(value.requires_grad for value in network.parameters())
    looks_up = type(network).embed_conditions is not Network.embed_conditions
    return trained and not (network.has_dropout or network.adapted or buffers or looks_up)


def try_stack(build: Callable[[], Network], batch: Batch, diffusion: Diffusion) -> str | None:
    """The first words of what torch says where two networks that ``build`` gives cannot be trained as one, on halves of
    a batch; None where they can. A forward and a backward pass on the CPU: modules may draw random numbers, or look at
    values, in ways of their own."""
    with torch.random.fork_rng(devices=[]):
        networks = [build().train() for _ in range(2)]
        stack = stack_parameters(networks)
        try:
            losses = diffusion.loss(call_together(networks[0], stack, 2), *batch.inputs)
            torch.autograd.grad(losses.sum(), list(stack.parameters()), allow_unused=True)
        except Exception as error:  # whatever the code of a network or torch.func raises
            words = (str(error) or type(error).__name__).splitlines()[0]
            return textwrap.shorten(words, LONGEST_REASON, placeholder=" …")
    return None


class Stack(Pretraining):
    """Trains networks at once. A batch is those of all of them after each other.

    ``network`` and ``averaged`` hold the parameters of all, with one more axis in front, and are never called.
    """

    def __init__(self, networks: Sequence[Network], diffusion: Diffusion, config: TrainConfig) -> None:
        super().__init__(stack_parameters(networks), diffusion, config, seed=0, mixed=False)  # a seed is for dropout
        self.count = len(networks)
        self.outline = (networks[0],)  # not a part of this module
        self.step_loss = torch.zeros(self.count)
        self.summed, self.seen = torch.zeros(self.count), 0  # the losses of a validation, and of how many items

    def losses(self, network: Network, batch: Batch) -> Tensor:
        """The variant's losses, one per item, those of a model after each other, as much as each counts."""
        return weigh(self.diffusion.loss(self.call(network), *batch.inputs), batch)

    def call(self, network: Network) -> Forward:
        """What runs every model on its own part of a batch."""
        return call_together(self.outline[0], network, self.count)

    def part(self, values: Tensor) -> Tensor:
        """Values of a batch by the model."""
        return part(values, self.count)

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """The sum of the mean losses of all, whose gradients are those of each alone."""
        losses = self.part(self.losses(self.network, batch)).mean(1)
        self.step_loss = losses.detach()
        return losses.sum()

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Of each model, as ``torch.nn.utils.clip_grad_norm_`` does of one."""
        if gradient_clip_val is None:
            return
        gradients = [value.grad for value in self.network.parameters() if value.grad is not None]
        lengths = torch.stack([torch.linalg.vector_norm(value.reshape(self.count, -1), dim=1) for value in gradients])
        factors = (gradient_clip_val / (lengths.norm(dim=0) + LENGTH_FLOOR)).clamp(max=1.0)
        torch._foreach_mul_(gradients, [per_item(factors, value) for value in gradients])

    def on_validation_epoch_start(self) -> None:
        """Nothing is seen yet."""
        self.summed, self.seen = torch.zeros(self.count, device=self.device), 0

    def validation_step(self, batch: Batch, index: int) -> None:
        """The losses of the averaged weights on the test split."""
        losses = self.part(self.losses(self.averaged, batch))
        self.summed, self.seen = self.summed + losses.sum(1), self.seen + losses.shape[1]

    def validated(self, measured: Mapping[str, Tensor]) -> list[float]:
        """Their means, of each model."""
        return (self.summed / self.seen).tolist() if self.seen else []


def call_together(outline: Network, stack: Network, count: int) -> Forward:
    """What runs each of so many models, whose parameters ``stack`` holds, on its own part of a batch as ``outline``
    would run."""
    parameters: dict[str, Tensor] = dict(stack.named_parameters())
    buffers = dict(stack.named_buffers())

    def one(parameters: dict[str, Tensor], x: Tensor, c_noise: Tensor, given: dict[str, Tensor]) -> Tensor:
        return functional_call(outline, (parameters, buffers), (x, c_noise, Given(**given)))

    def forward(x: Tensor, c_noise: Tensor, given: Given) -> Tensor:
        told = {"condition": given.condition, "drop": given.drop, "augmentation": given.augmentation}
        there = {name: part(value, count) for name, value in told.items() if value is not None}
        with sdpa_kernel(SDPBackend.MATH):  # the other kernels cannot be batched by vmap
            return vmap(one)(parameters, part(x, count), part(c_noise, count), there).flatten(0, 1)

    return forward


def part(values: Tensor, count: int) -> Tensor:
    """Values of a batch by the model."""
    return values.unflatten(0, (count, -1))


def stack_parameters(networks: Sequence[Network]) -> Network:
    """A network whose parameters are those of several, with one more axis in front."""
    stack = copy.deepcopy(networks[0])
    for name, _ in networks[0].named_parameters():
        owner, _, leaf = name.rpartition(".")
        values = torch.stack([network.get_parameter(name).detach() for network in networks])
        setattr(stack.get_submodule(owner), leaf, nn.Parameter(values))
    return stack
