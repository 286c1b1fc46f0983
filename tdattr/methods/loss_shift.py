"""How far the loss of every training item moved between F1 and an unlearned copy: the score of unlearning methods."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tdattr.diffusion import Diffusion
from tdattr.errors import UserError
from tdattr.methods import Context
from tdattr.methods.item_losses import f1_losses, item_losses
from tdattr.scoring.losses import NoiseSet, OwnNoise, View, pair_losses
from tdattr.seeding import generator, normal

Shift = Callable[[nn.Module, int], Float[Tensor, " target"]]  # unlearned network, number of the query -> scores
CHOICES = {
    "levels": ("generation", "training"),
    "form": ("skew", "difference"),
    "kept": ("all", "moved"),
    "captions": ("first", "all"),
}


@dataclass(frozen=True)
class ShiftConfig:
    """The ``score`` node of an unlearning method.

    ``levels``: the first ``schedule_share`` of the ``generation`` schedule, or the ``training`` distribution.
    ``form``: ``skew`` (MUCS eq. 3) or plain ``difference``. ``consistent``: the same pairs for all items and both
    models; otherwise every item and model has its own and losses are averaged before they are compared. ``kept``: all
    pairs, or those at which the query's own loss ``moved`` at least as far as on average. ``mirror``: the larger
    score of an image and its mirror image. ``captions``: the ``first`` one of an item, or the mean over ``all``.
    """

    pairs: int
    levels: str
    schedule_share: float
    form: str
    consistent: bool
    kept: str
    epsilon: float
    mirror: bool
    captions: str

    def __post_init__(self) -> None:
        if not 0 < self.schedule_share <= 1:
            raise UserError(f"method.score.schedule_share={self.schedule_share} must lie in (0, 1].")
        if self.pairs < 1:
            raise UserError(f"method.score.pairs={self.pairs} must be at least 1.")
        for key, choices in CHOICES.items():
            if getattr(self, key) not in choices:
                raise UserError(
                    f"method.score.{key}={getattr(self, key)} is unknown: choose one of {', '.join(choices)}."
                )
        if self.kept != "all" and not self.consistent:
            raise UserError(f"method.score.kept={self.kept} needs method.score.consistent=true.")

    def compared(self, before: Float[Tensor, "item pair"], after: Float[Tensor, "item pair"]) -> Tensor:
        """How far each loss moved, [item, pair]."""
        return skew(before, after, self.epsilon) if self.form == "skew" else after - before


def shift_scorer(context: Context, config: ShiftConfig) -> Shift:
    """Compute what all queries share, F1's losses, and return the function that scores an unlearned network."""
    captions = 1
    if config.captions == "all" and context.data.train.conditions is not None:
        captions = context.data.train.conditions.shape[1]
    split = context.data.train
    views = [
        [View(split, mirrored, caption) for caption in range(captions)]
        for mirrored in ([False, True] if config.mirror else [False])
    ]
    noise: NoiseSet | OwnNoise = noise_set(context, config) if config.consistent else own_noise(context, config, 0)
    described = {"pairs": config.pairs, "levels": config.levels, "consistent": config.consistent}
    if config.levels == "generation":
        described["schedule_share"] = config.schedule_share
    before = [[f1_losses(context, noise, described, view) for view in side] for side in views]
    f1 = context.f1() if config.kept == "moved" else None

    def score(network: nn.Module, query: int) -> Float[Tensor, " target"]:
        used = noise if config.consistent else own_noise(context, config, 1 + query)
        kept = torch.ones(len(used), dtype=torch.bool)
        if f1 is not None:
            assert isinstance(noise, NoiseSet)
            kept = moved(context, config, f1, network, noise, query)
        description = f"Losses after query {query}"
        sides = []
        for side, known in zip(views, before, strict=True):
            shifts = []
            for view, old in zip(side, known, strict=True):
                new = item_losses(context, network, used, view, description, nested=True)
                if not config.consistent:
                    old, new = old.mean(1, keepdim=True), new.mean(1, keepdim=True)
                    shifts.append(config.compared(old, new)[:, 0])
                else:
                    shifts.append(config.compared(old, new)[:, kept].mean(1))
            sides.append(torch.stack(shifts).mean(0))
        return torch.stack(sides).amax(0)

    return score


def noise_set(context: Context, config: ShiftConfig) -> NoiseSet:
    """The pairs that all items, queries and both models share (MUCS §2.4, C2 and C3)."""
    rng = generator(context.seed, "mucs.score")
    levels = (
        generation_part(context.diffusion, config.pairs, config.schedule_share)
        if config.levels == "generation"
        else context.diffusion.training_levels(rng, config.pairs)
    )
    return NoiseSet(levels, normal(rng, config.pairs, *context.images.shape[1:]))


def own_noise(context: Context, config: ShiftConfig, model: int) -> OwnNoise:
    """Pairs of every item's own under one model, their levels drawn from those that ``noise_set`` takes."""
    part = None
    if config.levels == "generation":
        part = generation_part(context.diffusion, config.pairs, config.schedule_share)

    def draw(item: int) -> NoiseSet:
        rng = generator(context.seed, "score.own", model, item)
        levels = (
            context.diffusion.training_levels(rng, config.pairs)
            if part is None
            else part[torch.from_numpy(rng.integers(len(part), size=config.pairs))]
        )
        return NoiseSet(levels, normal(rng, config.pairs, *context.images.shape[1:]))

    return OwnNoise(draw, config.pairs)


def moved(
    context: Context, config: ShiftConfig, f1: nn.Module, network: nn.Module, noise: NoiseSet, query: int
) -> Tensor:
    """Which pairs moved the query's own loss at least as far as the mean over them, [pair]."""
    image = context.images[query : query + 1].to(context.device)
    given = None if context.conditions is None else context.conditions[query : query + 1].to(context.device)
    before, after = (
        pair_losses(context.diffusion, model, image, given, noise.to(context.device), context.trainer.scoring_batch)
        for model in (f1, network)
    )
    own = config.compared(before, after)[0]
    return own >= own.mean()


def generation_part(diffusion: Diffusion, pairs: int, share: float) -> Float[Tensor, " pair"]:
    """The first ``pairs`` of floor(pairs / share) levels of the generation schedule, most noise first (§2.4, C3)."""
    return diffusion.generation_levels(math.floor(pairs / share))[:pairs]


def skew(
    before: Float[Tensor, "item pair"], after: Float[Tensor, "item pair"], epsilon: float
) -> Float[Tensor, "item pair"]:
    """(L2 - L1) / (|L2| + |L1| + epsilon), whose mean over the pairs is MUCS eq. 3."""
    return (after - before) / (after.abs() + before.abs() + epsilon)
