"""An ordinary training, step by step: the same numbers as Lightning gives, with the states between the steps."""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from tdattr.metagradients.state import Layout, parts
from tdattr.networks import Network
from tdattr.seeding import torch_seed
from tdattr.training.batches import Batches
from tdattr.training.module import Pretraining

MOMENTS = ("exp_avg", "exp_avg_sq")


class Training:
    """A training of ``network``, from its present weights or from a state of it; in place.

    On one device, each step a whole batch: what ``train.accumulate`` and several devices give up to rounding.
    """

    def __init__(self, network: Network, batches: Batches, device: torch.device) -> None:
        self.module = Pretraining(network, batches.diffusion, batches.config, batches.seed, mixed=False).to(device)
        self.module.on_fit_start()
        self.network, self.batches, self.device = network, batches, device

    def states(
        self, layout: Layout, begin: int, end: int, state: Tensor | None, every: int = 1
    ) -> Iterator[Float[Tensor, " state"]]:
        """The states before the step ``begin`` and before every so many steps after it, and the one after the step
        before ``end``. ``state``: the first of them; None: that of an untrained network."""
        optimizer = self.start(layout, begin, state)
        for number in range(begin, end):
            if (number - begin) % every == 0:
                yield self.read(layout, optimizer)
            self.step(optimizer, number)
        yield self.read(layout, optimizer)

    def step(self, optimizer: torch.optim.Optimizer, number: int) -> None:
        """The step of that number, as Lightning takes it."""
        config = self.batches.config
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * config.rate(number)
        optimizer.zero_grad()
        torch.manual_seed(torch_seed(self.batches.seed, "train.dropout", number, 0))
        self.module.losses(self.network, self.batches[number].to(self.device)).mean().backward()
        if config.clip is not None:
            clip_grad_norm_(self.network.parameters(), config.clip)
        optimizer.step()
        self.module.average.update_parameters(self.network)

    def start(self, layout: Layout, begin: int, state: Tensor | None) -> torch.optim.Optimizer:
        """An optimiser that stands before the step ``begin``."""
        optimizer: torch.optim.Optimizer = self.module.configure_optimizers()["optimizer"]
        self.module.average.n_averaged.fill_(begin)
        if state is None:
            return optimizer
        weights, first, second, average = (layout.split(part) for part in parts(state))
        averaged = dict(self.module.averaged.named_parameters())
        with torch.no_grad():
            for name, value in self.network.named_parameters():
                if name in weights:
                    value.copy_(weights[name])
                    averaged[name].copy_(average[name])
                    moments = dict(zip(MOMENTS, (first[name].clone(), second[name].clone()), strict=True))
                    optimizer.state[value] = {"step": torch.tensor(float(begin), device=value.device)} | moments
        return optimizer

    def read(self, layout: Layout, optimizer: torch.optim.Optimizer) -> Float[Tensor, " state"]:
        """The present state as a row of its own."""
        own, averaged = dict(self.network.named_parameters()), dict(self.module.averaged.named_parameters())
        zero = {name: torch.zeros_like(own[name]) for name in layout.names}
        first, second = (
            {name: optimizer.state.get(own[name], {}).get(moment, zero[name]) for name in layout.names}
            for moment in MOMENTS
        )
        return torch.cat([layout.join(part) for part in (own, first, second, averaged)])
