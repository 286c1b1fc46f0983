"""Gradients of single cells from one ordinary backward pass over many of them.

The forward pass records what goes into every layer, and the backward pass ends at what comes out of it. Of a layer that
multiplies by a matrix, a cell's gradient is the product of the two, summed over tokens. So its length (Goodfellow 2015,
arXiv 1510.01799; with tokens Li et al. 2022, arXiv 2110.05679) and sums over cells are found without the gradients of
single cells, each of which is as large as the network.
"""

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, vjp, vmap

from tdattr.networks import Network
from tdattr.scoring.projection import spans

HELD_VALUES = 1 << 26  # gradient values of single cells held at a time: 256 MB in float32

Sums = Mapping[str, Float[Tensor, "item *parameter"]]  # by the name of the parameter


class CellGradients(ABC):
    """The gradients of some parameters at each of many cells, those of an item one after the other."""

    @abstractmethod
    def squares(self) -> Float[Tensor, " cell"]:
        """Their squared lengths."""

    @abstractmethod
    def add_to(self, sums: Sums, weights: Float[Tensor, "item draw"]) -> None:
        """Add each item's gradients, times the weights of its cells."""

    @abstractmethod
    def along(self, directions: Mapping[str, Tensor]) -> Float[Tensor, "cell direction"]:
        """Their inner products with some directions."""


@dataclass(frozen=True)
class Held(CellGradients):
    """Gradients that are there, cell by cell."""

    values: Mapping[str, Float[Tensor, "cell *parameter"]]

    def squares(self) -> Float[Tensor, " cell"]:
        """Computed now."""
        return torch.stack([value.flatten(1).square().sum(1) for value in self.values.values()]).sum(0)

    def add_to(self, sums: Sums, weights: Float[Tensor, "item draw"]) -> None:
        """One parameter after the other."""
        for name, value in self.values.items():
            by_item = value.reshape(*weights.shape, -1)
            sums[name].add_((weights[:, None] @ by_item).view_as(sums[name]))

    def along(self, directions: Mapping[str, Tensor]) -> Float[Tensor, "cell direction"]:
        """One parameter after the other."""
        parts = [value.flatten(1) @ directions[name].flatten(1).T for name, value in self.values.items()]
        return torch.stack(parts).sum(0)


@dataclass(frozen=True)
class Call:
    """One call of a module: what went in, and what came out of it."""

    module: nn.Module
    inputs: tuple[Any, ...]
    named: Mapping[str, Any]
    output: Tensor


@dataclass(frozen=True)
class Products(CellGradients):
    """Those of a linear layer, or of a convolution, which is one over patches. ``names``: those of ``weight`` and
    ``bias`` in the network, where they are asked for."""

    module: nn.Linear | nn.Conv2d
    names: Mapping[str, str]
    calls: Sequence[Call]
    gradients: Sequence[Tensor]  # of the calls' outputs

    def inputs(self) -> Float[Tensor, "cell token input"]:
        """What each output token is made of; of several calls one after the other."""
        return join([tokens_in(self.module, call.inputs[0].detach()) for call in self.calls])

    def outputs(self) -> Float[Tensor, "cell token output"]:
        """The gradient at each output token."""
        return join([tokens_out(self.module, value) for value in self.gradients])

    def squares(self) -> Float[Tensor, " cell"]:
        """The weight's from products between tokens, or from the gradients themselves, whichever is less work."""
        outputs = self.outputs()
        total = outputs.sum(1).square().sum(1) if "bias" in self.names else outputs.new_zeros(len(outputs))
        if "weight" not in self.names:
            return total
        inputs = self.inputs()
        tokens, size = inputs.shape[1], inputs.shape[2] * outputs.shape[2]
        if tokens == 1:
            return total + inputs.square().sum((1, 2)) * outputs.square().sum((1, 2))
        if tokens * (inputs.shape[2] + outputs.shape[2]) <= size:
            # clamped: where tokens cancel, rounding may leave less than nothing, which has no root
            return total + ((inputs @ inputs.mT) * (outputs @ outputs.mT)).sum((1, 2)).clamp(min=0)
        return total + self.by_cell(lambda gradients: gradients.square().sum((1, 2)))

    def by_cell(self, function: Callable[[Tensor], Tensor]) -> Tensor:
        """What a function makes of the weight's gradients at some cells, for all of them: few are held at a time."""
        inputs, outputs = self.inputs(), self.outputs()
        parts = spans(len(inputs), max(1, HELD_VALUES // (inputs.shape[2] * outputs.shape[2])))
        return torch.cat([function(outputs[part].mT @ inputs[part]) for part in parts])

    def add_to(self, sums: Sums, weights: Float[Tensor, "item draw"]) -> None:
        """One product for each item, over all tokens of all its cells."""
        outputs = (self.outputs() * weights.reshape(-1, 1, 1)).flatten(0, 1).unflatten(0, (len(weights), -1))
        if "bias" in self.names:
            sums[self.names["bias"]].add_(outputs.sum(1))
        if "weight" in self.names:
            inputs = self.inputs().flatten(0, 1).unflatten(0, (len(weights), -1))
            weight = sums[self.names["weight"]]
            weight.view(len(weights), weight.shape[1], -1).baddbmm_(outputs.mT, inputs)

    def along(self, directions: Mapping[str, Tensor]) -> Float[Tensor, "cell direction"]:
        """From the gradients themselves: tokens are few, beside directions."""
        along = {own: directions[name].flatten(1).T for own, name in self.names.items()}
        found = [self.outputs().sum(1) @ along["bias"]] if "bias" in along else []
        if "weight" in along:
            found.append(self.by_cell(lambda gradients: gradients.flatten(1) @ along["weight"]))
        return torch.stack(found).sum(0)


def join(tokens: list[Tensor]) -> Float[Tensor, "cell token value"]:
    """Those of all calls, without a copy where there was one."""
    return tokens[0] if len(tokens) == 1 else torch.cat(tokens, dim=1)


def tokens_in(module: nn.Linear | nn.Conv2d, x: Tensor) -> Float[Tensor, "cell token input"]:
    """The rows that the layer's matrix is multiplied by."""
    if isinstance(module, nn.Linear):
        return x.reshape(len(x), -1, x.shape[-1])
    assert not isinstance(module.padding, str)
    return nn.functional.unfold(x, module.kernel_size, module.dilation, module.padding, module.stride).mT


def tokens_out(module: nn.Linear | nn.Conv2d, x: Tensor) -> Float[Tensor, "cell token output"]:
    """The rows that come out of that."""
    return x.reshape(len(x), -1, x.shape[-1]) if isinstance(module, nn.Linear) else x.flatten(2).mT


def is_product(module: nn.Module) -> bool:
    """Whether ``Products`` knows the layer."""
    if isinstance(module, nn.Conv2d):
        return module.groups == 1 and module.padding_mode == "zeros" and not isinstance(module.padding, str)
    return isinstance(module, nn.Linear)


@dataclass(frozen=True)
class Layers:
    """The modules of a network that hold the named parameters: of each, the names in it and in the network.
    ``batched``: parameters that the network takes with an axis for the batch."""

    network: Network
    modules: Mapping[nn.Module, Mapping[str, str]]
    batched: Sequence[str]

    @staticmethod
    def of(network: Network, names: Sequence[str]) -> "Layers":
        """Those of these parameters."""
        wanted = {name for name in names if network.get_parameter(name).numel()}
        batched = [name for name in names if name in wanted and name in network.batched]
        modules = {}
        for prefix, module in network.named_modules():
            own = {name: f"{prefix}.{name}".lstrip(".") for name, _ in module.named_parameters(recurse=False)}
            if chosen := {name: full for name, full in own.items() if full in wanted and full not in batched}:
                modules[module] = chosen
        return Layers(network, modules, batched)

    def differentiate(
        self, evaluate: Callable[[Callable[..., Tensor]], Float[Tensor, " cell"]], count: int
    ) -> list[CellGradients]:
        """The gradients of the values of so many cells, which ``evaluate`` makes by calling the network that it is
        given. Of a module that was not called for all cells at once there are none."""
        taken = {name: self.network.get_parameter(name).detach() for name in self.batched}
        taken = {name: value.expand(count, *value.shape).clone().requires_grad_() for name, value in taken.items()}
        with torch.enable_grad(), self.recording(count) as recorded:
            values = evaluate(lambda *inputs: functional_call(self.network, taken, inputs))
            calls = list(recorded)  # the backward pass makes some again where activations are not kept
            ends = [*taken.values(), *(call.output for call in calls)]
            if not (ends and values.requires_grad):
                return []
            found = torch.autograd.grad(values.sum(), ends, allow_unused=True)
        held = {name: value for name, value in zip(taken, found, strict=False) if value is not None}
        parts: list[CellGradients] = [Held(held)] if held else []
        by_module: dict[nn.Module, list[tuple[Call, Tensor]]] = defaultdict(list)
        for call, value in zip(calls, found[len(taken) :], strict=True):
            if value is not None:
                by_module[call.module].append((call, value))
        return parts + [gradients_of(module, self.modules[module], each) for module, each in by_module.items()]

    @contextmanager
    def recording(self, count: int) -> Iterator[Sequence[Call]]:
        """Record the calls of the modules that are made for so many cells at once."""
        calls = list[Call]()

        def record(module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], output: Any) -> Any:
            if not is_for_all((*inputs, *named.values()), output, count):
                return output
            if not output.requires_grad:  # no backward pass would reach it
                output = output.detach().requires_grad_().clone()
            calls.append(Call(module, inputs, named, output))
            return output

        with self.hooked(record):
            yield calls

    @contextmanager
    def hooked(self, hook: Callable[..., Any]) -> Iterator[None]:
        """Call ``hook`` after every call of the modules."""
        handles = [module.register_forward_hook(hook, with_kwargs=True) for module in self.modules]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def used_otherwise(
        self, evaluate: Callable[[Callable[..., Tensor]], Float[Tensor, " cell"]], count: int
    ) -> set[str]:
        """The parameters that reach the values of so many cells by another way than the calls that ``differentiate``
        records, or by one whose inputs or output were overwritten later, whatever their gradients are.

        Each recorded call is made with parameters of which autograd knows nothing; those that it then still finds in
        the graph are used otherwise. ``batched`` ones are never among them.
        """
        names = [full for own in self.modules.values() for full in own.values()]
        leaves = {name: self.network.get_parameter(name).detach().requires_grad_() for name in names}
        again: set[nn.Module] = set()  # being called a second time
        seen: list[tuple[nn.Module, Tensor, int]] = []  # of the second calls: a tensor, and how often it was written to

        def cut(module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], output: Any) -> Any:
            if module in again or not is_for_all((*inputs, *named.values()), output, count):
                return output
            again.add(module)
            own = {name: leaves[full].detach() for name, full in self.modules[module].items()}
            output = functional_call(module, own, inputs, named)
            again.remove(module)
            tensors = [value for value in (*inputs, *named.values(), output) if isinstance(value, Tensor)]
            seen.extend((module, value, value._version) for value in tensors)
            return output

        with torch.enable_grad(), self.hooked(cut):
            values = evaluate(lambda *inputs: functional_call(self.network, leaves, inputs))
            found: Sequence[Tensor | None] = [None] * len(leaves)
            if values.requires_grad:
                found = torch.autograd.grad(values.sum(), list(leaves.values()), allow_unused=True)
        overwritten = {module for module, value, version in seen if value._version != version}
        return {name for name, value in zip(leaves, found, strict=True) if value is not None} | {
            full for module in overwritten for full in self.modules[module].values()
        }


def is_for_all(arguments: Sequence[Any], output: Any, count: int) -> bool:
    """Whether a call of a module is one for so many cells, of which gradients can be found."""
    plain = all(isinstance(value, Tensor | int | float | None) for value in arguments)
    whole = plain and isinstance(output, Tensor) and output.ndim > 0 and len(output) == count
    return whole and torch.is_grad_enabled()


def gradients_of(module: nn.Module, names: Mapping[str, str], calls: Sequence[tuple[Call, Tensor]]) -> CellGradients:
    """Those of a module's own parameters, from its calls and the gradients of what came out of each."""
    if is_product(module) and all(not call.named for call, _ in calls):
        assert isinstance(module, nn.Linear | nn.Conv2d)
        return Products(module, names, [call for call, _ in calls], [gradient for _, gradient in calls])
    parts = [call_gradients(module, names, *each) for each in calls]
    return Held({full: torch.stack([part[own] for part in parts]).sum(0) for own, full in names.items()})


def call_gradients(
    module: nn.Module, names: Mapping[str, str], call: Call, gradient: Tensor
) -> dict[str, Float[Tensor, "cell *parameter"]]:
    """Those of any module at one of its calls, by calling it again for each cell by itself."""
    parameters = {name: module.get_parameter(name).detach() for name in names}
    given = (*call.inputs, *call.named.values())
    arguments = [value.detach() if isinstance(value, Tensor) else value for value in given]
    of_cells = [isinstance(value, Tensor) and value.ndim > 0 and len(value) == len(gradient) for value in arguments]

    def of_cell(gradient: Tensor, *values: Any) -> dict[str, Tensor]:
        one = [value[None] if split else value for value, split in zip(values, of_cells, strict=True)]
        inputs, named = tuple(one[: len(call.inputs)]), dict(zip(call.named, one[len(call.inputs) :], strict=True))
        back = vjp(lambda parameters: functional_call(module, parameters, inputs, named), parameters)[1]
        found: dict[str, Tensor] = back(gradient[None])[0]
        return found

    found: dict[str, Tensor] = vmap(of_cell, in_dims=(0, *(0 if split else None for split in of_cells)))(
        gradient, *arguments
    )
    return found
