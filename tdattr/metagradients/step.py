"""A step of training as a differentiable function of the state before it and of how much each item counts."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import functional_call, grad, jvp, vjp, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from tdattr.diffusion import Diffusion
from tdattr.diffusion.batch import Batch
from tdattr.metagradients.state import Layout, parts
from tdattr.networks import Given, Network
from tdattr.seeding import torch_seed
from tdattr.training.config import TrainConfig
from tdattr.training.module import ramp_up
from tdattr.training.stack import LENGTH_FLOOR


@dataclass(frozen=True)
class Step:
    """What ``Pretraining`` and AdamW do in a step (Loshchilov & Hutter 2019, alg. 2, as torch has it), and the way
    back. ``config``: in steps."""

    network: Network
    layout: Layout
    diffusion: Diffusion
    config: TrainConfig
    seed: int

    def losses(self, weights: Float[Tensor, " parameter"], batch: Batch) -> Float[Tensor, " batch"]:
        """The losses of a batch's items under a row of weights."""

        def forward(x: Tensor, c_noise: Tensor, given: Given) -> Tensor:
            return functional_call(self.network, self.layout.split(weights), (x, c_noise, given))

        with sdpa_kernel(SDPBackend.MATH):  # the other kernels have no second derivative
            return self.diffusion.loss(forward, *batch.inputs)

    def embed(self, batch: Batch) -> Batch:
        """A batch with its conditions as the network takes them inside of ``torch.func``."""
        return replace(batch, given=self.network.embed_conditions(batch.given, len(batch)))

    def gradient(
        self,
        weights: Float[Tensor, " parameter"],
        counts: Float[Tensor, " batch"],
        batch: Batch,
        number: int,
        size: int | None = None,
    ) -> Float[Tensor, " parameter"]:
        """That of the batch's loss, before it is clipped. ``counts``: what each item's loss is multiplied by, 1 in an
        ordinary training; the denominator of the mean stays the size of the batch, or of the one of so many items that
        this is a part of."""

        def loss(values: Tensor) -> Tensor:
            torch.manual_seed(torch_seed(self.seed, "train.dropout", number, 0))
            return (counts * self.losses(values, batch)).sum() / (size or len(batch))

        return grad(loss)(weights)

    def __call__(
        self,
        state: Float[Tensor, " state"],
        counts: Float[Tensor, " batch"],
        batch: Batch,
        number: int,
    ) -> Float[Tensor, " state"]:
        """The state after the step of that number, from 0."""
        return self.take(state, counts, self.embed(batch), number)

    def take(
        self, state: Float[Tensor, " state"], counts: Float[Tensor, " batch"], batch: Batch, number: int
    ) -> Float[Tensor, " state"]:
        """The same, of a batch that is embedded."""
        weights, first, second, average = parts(state)
        gradient = self.gradient(weights, counts, batch, number)
        gradient = gradient * self.clipped(gradient)
        moved = self.move(number)
        first, second = moved.moments(first, second, gradient)
        weights = moved.decay * weights - moved.rate * first / moved.deviation(second)
        return torch.cat([weights, first, second, torch.lerp(average, weights, moved.follow)])

    def push(
        self,
        state: Float[Tensor, " state"],
        tangent: Float[Tensor, " state"],
        counts: Float[Tensor, " batch"],
        direction: Float[Tensor, " batch"],
        batch: Batch,
        number: int,
    ) -> tuple[Float[Tensor, " state"], Float[Tensor, " state"]]:
        """The state after the step, and its derivative; ``tangent`` and ``direction``: those of the state before it and
        of the counts."""
        batch = self.embed(batch)
        after = jvp(lambda at, count: self.take(at, count, batch, number), (state, counts), (tangent, direction))
        return after[0], after[1]

    def pull(
        self,
        state: Float[Tensor, " state"],
        batch: Batch,
        number: int,
        after: Float[Tensor, "part query parameter"],
        pairs: int | None = None,
    ) -> Float[Tensor, "query batch"]:
        """The derivatives of outputs by how much each item counts; ``after``, those by the state after the step, become
        those by the state before it, in place: all work besides the network's is to read and write them.
        ``pairs``: of output and item at once, None: all; items of a batch whose dropout masks are drawn for all of them
        are never apart. AdamW is differentiated by hand, the gradient by torch."""
        weights, first, second, _ = parts(state)
        batch = self.embed(batch)
        counts = read_counts(batch, state)
        each = self.split(len(batch), pairs)
        pieces = [slice(begin, begin + each) for begin in range(0, len(batch), each)]

        def differentiate(piece: slice) -> tuple[Tensor, Callable[..., tuple[Tensor, Tensor]]]:
            def compute(at: Tensor, count: Tensor) -> Tensor:
                return self.gradient(at, count, batch[piece], number, len(batch))

            found = vjp(compute, weights, counts[piece])
            return found[0], found[1]

        whole = None
        if len(pieces) == 1:
            gradient, whole = differentiate(pieces[0])
        else:  # that of all, and below piece by piece once more
            gradient = torch.zeros_like(weights)
            for piece in pieces:
                gradient += self.gradient(weights, counts[piece], batch[piece], number, len(batch))
        moved, share = self.move(number), self.clipped(gradient)
        clipped = share * gradient
        first, second = moved.moments(first, second, clipped)
        deviation = moved.deviation(second)
        by_weights, by_first, by_second, by_average = after
        by_weights.add_(by_average, alpha=moved.follow)
        by_average.mul_(1 - moved.follow)
        by_first.addcmul_(by_weights, 1 / deviation, value=-moved.rate)
        by_second.addcmul_(by_weights, moved.slope(first, second, deviation))
        by_weights.mul_(moved.decay)
        queries = len(by_weights)
        together = queries if pairs is None else max(1, pairs // each)
        by_counts = gradient.new_zeros(queries, len(batch))
        for piece in pieces:
            pulled = vmap(whole or differentiate(piece)[1])
            for begin in range(0, queries, together):
                part = slice(begin, begin + together)
                by_gradient = torch.mul(by_second[part], 2 * (1 - moved.gamma) * clipped)
                by_gradient.add_(by_first[part], alpha=1 - moved.beta)
                through, by_count = pulled(self.pull_clipped(by_gradient, gradient, share))
                by_weights[part].add_(through.detach())
                by_counts[part, piece] = by_count.detach()
            del pulled  # and with it the activations, before those of the next piece
        by_first.mul_(moved.beta)
        by_second.mul_(moved.gamma)
        return by_counts

    def split(self, items: int, pairs: int | None) -> int:
        """How many items of a batch are differentiated at a time; see ``pull``."""
        return items if pairs is None or self.network.has_dropout else min(pairs, items)

    def clipped(self, gradient: Float[Tensor, " parameter"]) -> Float[Tensor, ""]:
        """What a gradient is multiplied by, so that it is no longer than ``train.clip``."""
        if self.config.clip is None:
            return gradient.new_ones(())
        return (self.config.clip / (root(gradient.square().sum()) + LENGTH_FLOOR)).clamp(max=1.0)

    def pull_clipped(
        self, after: Float[Tensor, "query parameter"], gradient: Float[Tensor, " parameter"], share: Float[Tensor, ""]
    ) -> Float[Tensor, "query parameter"]:
        """Derivatives by a gradient, of those by the clipped one, which is its ``share``."""
        if self.config.clip is None or not (share.is_meta or share < 1):  # on the meta device it counts as clipped
            return after
        length = gradient.norm()
        along = (after @ gradient) * share / ((length + LENGTH_FLOOR) * length)
        return share * after - along[:, None] * gradient

    def move(self, number: int) -> "Move":
        """The numbers of AdamW and of the moving average in the step of that number."""
        config = self.config
        beta, gamma = config.betas
        rate = config.learning_rate * config.rate(number)
        decay = config.ema
        if config.ema_ramp:
            decay = ramp_up(decay, number)
        return Move(
            beta,
            gamma,
            decay=1 - rate * config.weight_decay,
            rate=rate / (1 - beta ** (number + 1)),
            scale=math.sqrt(1 - gamma ** (number + 1)),
            epsilon=config.epsilon,
            follow=1 - decay if number else 1.0,
        )


@dataclass(frozen=True)
class Move:
    """A step of AdamW, and of the moving average of the weights: ``first`` and ``second`` moment are new ones."""

    beta: float  # of the first moment
    gamma: float  # of the second
    decay: float  # what is left of the weights
    rate: float  # by which they move along the first moment over the deviation, without its bias
    scale: float  # of the root of the second moment: its bias
    epsilon: float
    follow: float  # the share of the new weights in the average; the first step copies (`training.module.approach`)

    def moments(self, first: Tensor, second: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """The new moments, of those before and the clipped gradient."""
        return torch.lerp(first, gradient, 1 - self.beta), self.gamma * second + (1 - self.gamma) * gradient.square()

    def deviation(self, second: Float[Tensor, " parameter"]) -> Float[Tensor, " parameter"]:
        """What the first moment is divided by."""
        return root(second) / self.scale + self.epsilon

    def slope(
        self,
        first: Float[Tensor, " parameter"],
        second: Float[Tensor, " parameter"],
        deviation: Float[Tensor, " parameter"],
    ) -> Float[Tensor, " parameter"]:
        """The derivative of the moved weights by the second moment; 0 where that is."""
        spread = root(second)
        slope = self.rate * first / deviation.square() / (2 * self.scale * spread)
        return torch.where(spread > 0, slope, 0.0)


def read_counts(batch: Batch, like: Tensor) -> Float[Tensor, " batch"]:
    """How much each item of a batch counts, of the type and on the device of ``like``, where the batch is."""
    return like.new_ones(len(batch)) if batch.counts is None else batch.counts.to(like.dtype)


def root(values: Tensor) -> Tensor:
    """The square root, whose derivative is 0 where the value is: a weight without a gradient does not move."""
    positive = values > 0
    return torch.where(positive, torch.where(positive, values, 1.0).sqrt(), 0.0)
