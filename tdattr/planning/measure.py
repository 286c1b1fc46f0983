"""Measured steps of the actual network on this device, on noise; whatever they give is thrown away."""

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from tdattr.costs import Work
from tdattr.networks import Given, Network
from tdattr.pipeline.encode import BLOCK
from tdattr.pipeline.train import build_network
from tdattr.planning.workspace import PlannedWorkspace
from tdattr.scoring.gradients import GradientConfig, Gradients
from tdattr.scoring.pairs import NoiseSet
from tdattr.scoring.projection import ProjectionConfig, project
from tdattr.seeding import generator, torch_seed

LIMIT_SECONDS = 1.0  # that a measured step may take; larger batches are measured by a part
ROUNDS, LEAST_SECONDS = 3, 1.0  # that are measured at least, once warm
DRAWS = 8  # of a gradient that is measured
PROJECTED = (8, 4096, 1024)  # gradients, numbers of each, and dimensions
MATRIX = 512  # rows of the matrices that are multiplied
Prepare = Callable[[int], Callable[[], Any]]  # from a number of items to a step on them


@dataclass(eq=False)
class Measured:
    """Seconds of one unit of each kind of work; each is measured when it is first asked for."""

    ws: PlannedWorkspace

    def seconds(self, work: Work) -> float | None:
        """What work takes; None where some of it is nothing that can be measured beforehand."""
        if work.looks and not work.passes:
            return None
        rates: list[tuple[int, Callable[[], float]]] = [
            (work.trained, lambda: self.trained),
            (work.evaluations, lambda: self.evaluated),
            (work.gradients, lambda: self.gradient),
            (work.projected, lambda: self.projected),
            (work.products, lambda: self.product),
        ]
        return sum(count * rate() for count, rate in rates if count)

    @cached_property
    def network(self) -> Network:
        """At its initialisation, with fresh weights."""
        return build_network(self.ws).to(self.ws.device)

    def inputs(self, count: int) -> tuple[Tensor, Tensor, Tensor, Given]:
        """Noise for items, their levels and what the network is told."""
        ws = self.ws
        rng = torch.Generator().manual_seed(torch_seed(0, "plan"))
        x, noise = torch.randn(2, count, *ws.x_shape, generator=rng).to(ws.device)
        levels = ws.diffusion.training_levels(generator(0, "plan"), count).to(ws.device)
        told = ws.data.train.condition(torch.arange(count).remainder(len(ws.data.train)).numpy())
        return x, levels, noise, Given(None if told is None else told.to(ws.device))

    @cached_property
    def trained(self) -> float:
        """An item of a step of the training: forward, backward, and its part of the optimiser's step."""
        return self.time(self.training_step(), self.ws.train.batch_size)

    @cached_property
    def evaluated(self) -> float:
        """A forward pass of one item."""
        return self.time(self.evaluation(), self.ws.trainer.scoring_batch)

    @cached_property
    def gradient(self) -> float:
        """A gradient of one item at one draw."""
        return self.time(self.gradients(), self.gradients_at_once) / DRAWS

    @property
    def gradients_at_once(self) -> int:
        """Items whose gradients at ``DRAWS`` draws are computed together."""
        return max(1, self.ws.trainer.gradient_batch // DRAWS)

    def training_step(self) -> Prepare:
        """A step of the training on so many items, whose gradients and optimiser's state are new."""
        ws, network = self.ws, self.network.train().requires_grad_(True)
        network.zero_grad()
        optimizer = torch.optim.AdamW(network.parameters(), lr=0.0)
        mixed = ws.trainer.precision != "32-true"
        kind = torch.bfloat16 if ws.trainer.precision == "bf16-mixed" else torch.float16

        def step(count: int) -> Callable[[], Any]:
            inputs = self.inputs(count)

            def run() -> None:
                optimizer.zero_grad()
                with torch.autocast(ws.device.type, kind) if mixed else nullcontext():
                    loss = ws.diffusion.loss(network, *inputs).mean()
                loss.backward()
                optimizer.step()

            return run

        return step

    def evaluation(self) -> Prepare:
        """Forward passes of so many items."""
        ws, network = self.ws, self.network.eval().requires_grad_(False)

        def step(count: int) -> Callable[[], Any]:
            inputs = self.inputs(count)

            def run() -> None:
                with torch.inference_mode():
                    ws.diffusion.loss(network, *inputs)

            return run

        return step

    def gradients(self) -> Prepare:
        """The gradients of so many items, each at ``DRAWS`` draws."""
        ws, network = self.ws, self.network.eval().requires_grad_(False)
        config = GradientConfig("loss", DRAWS, "training", False, "all", ProjectionConfig("none", 8, 1))
        names = network.parameter_names("all")

        def step(count: int) -> Callable[[], Any]:
            x, _, _, given = self.inputs(count)
            _, levels, noise, _ = self.inputs(DRAWS)
            gradients = Gradients(
                network, ws.diffusion, config, names, NoiseSet(levels, noise), ws.trainer.gradient_batch
            )
            return lambda: gradients.of(x, given)

        return step

    @cached_property
    def encoded(self) -> float:
        """An image that the codec encodes."""
        data, device = self.ws.data, self.ws.device

        def step(count: int) -> Callable[[], Any]:
            images = torch.zeros(count, data.channels, data.resolution, data.resolution, device=device)
            return lambda: self.ws.codec.encode(images)

        return self.time(step, BLOCK)

    @cached_property
    def projected(self) -> float:
        """A random number of a projection."""
        items, parameters, dimension = PROJECTED
        config = ProjectionConfig("rademacher", dimension, 1)
        gradients = torch.ones(items, parameters, device=self.ws.device)
        return self.time(lambda _: lambda: project(gradients, config, 0), 1) / (parameters * dimension)

    @cached_property
    def product(self) -> float:
        """A multiplication of matrices in double precision, on the CPU as kernels are."""
        matrix = torch.ones(MATRIX, MATRIX, dtype=torch.float64)
        return self.time(lambda _: lambda: matrix @ matrix, 1) / MATRIX**3

    def time(self, prepare: Prepare, batch: int) -> float:
        """Seconds per item of a step on a batch, or on as much of it as the limit of time allows.

        The first call warms up and says nothing: on a GPU it takes seconds. Nor does one item say there what many
        take, so that the batch grows until a step takes half of the limit.
        """
        count, step = 1, prepare(1)
        self.clock(step)
        while (once := self.clock(step)) < LIMIT_SECONDS / 2 and count < batch:
            count = min(batch, max(2 * count, int(count * LIMIT_SECONDS / 2 / once)))
            step = prepare(count)
        rounds: list[float] = []
        while len(rounds) < ROUNDS or sum(rounds) < LEAST_SECONDS:
            rounds.append(self.clock(step))
        return sum(rounds) / len(rounds) / count

    def clock(self, step: Callable[[], Any]) -> float:
        """Seconds of one step, until the device is done; on a CPU with other work, those that it had the processor."""
        started, processor = time.perf_counter(), time.process_time()
        step()
        if self.ws.device.type == "cuda":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - started
        return min(seconds, time.process_time() - processor) if self.ws.device.type == "cpu" else seconds
