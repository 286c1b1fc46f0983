"""Unlearning of a group from F1: batches of what is kept beside batches of what is to go (GUDA-U)."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.utils.data import Dataset

from tdattr.configs import Settings
from tdattr.data.prepared import Split
from tdattr.diffusion import Diffusion
from tdattr.diffusion.batch import Batch
from tdattr.errors import UserError
from tdattr.ranges import Count, CountOrZero, PartOrZero, Positive, PositiveOrZero, Probability
from tdattr.recorder import Curve, keep_nothing
from tdattr.schedules import RateSchedule, rate
from tdattr.seeding import generator, normal
from tdattr.training.config import TrainConfig, TrainerConfig
from tdattr.training.coupling import replace_removed
from tdattr.training.items import choose_mirrored, unlearning_items
from tdattr.unlearning.draws import UnlearnBatch, restricted_draw
from tdattr.unlearning.objectives import Objective, Stateful, Step, UnlearnContext
from tdattr.unlearning.saliency import Masks, Saliency

LOGGED_STEPS = 100  # about so many steps of an unlearning are logged


@dataclass(frozen=True)
class GroupUnlearnConfig(Settings):
    """The ``unlearn`` node: for how long, in what steps, and with which optimiser.

    ``epochs`` of as many steps as the smaller of the two sets gives batches, or ``steps``: one of the two. ``kept``:
    after how many of them weights are kept on the way; those at the end always are. ``schedule``: ``constant`` or
    ``cosine``, planned for ``schedule_steps`` (None: those that are run), after ``warmup_steps``.
    ``mask``: which weights are updated; None: all. ``coupled``: the retained batches of all groups hold the same items
    wherever these are retained, so that scores of groups differ by what was removed, not by the order of what was not.

    ``batch_size``: the retained items of a step, and also the forgotten ones unless there are ``forgotten`` of them.
    ``composition``: ``fixed``, or ``published_code`` (GUDA-C): each place of the whole is taken by either kind in
    proportion to these numbers, and both kinds have at least one. ``mirror`` and ``condition_dropout``: None: as in
    training. ``head_start``: how far F1's weights move, to first order, towards a training without the forgotten
    items before the first step; 1: all the way.
    """

    added: ClassVar[Mapping[str, Any]] = {"head_start": 0.0}

    epochs: Count | None
    steps: Count | None
    kept: list[Count]
    batch_size: Count
    forgotten: Count | None
    composition: Literal["fixed", "published_code"]
    mirror: bool | None
    condition_dropout: PartOrZero | None
    learning_rate: Positive
    optimizer: Literal["adam", "adamw"]
    weight_decay: PositiveOrZero
    clip: Positive | None
    schedule: RateSchedule
    schedule_steps: Count | None
    warmup_steps: CountOrZero
    retain: Literal["loss", "distill"]
    dropout: bool
    mask: Saliency | None
    coupled: bool
    head_start: Probability = 0.0

    def __post_init__(self) -> None:
        if self.epochs is None and self.steps is None:
            raise UserError("method.unlearn.epochs and method.unlearn.steps are both null: give one of them.")
        if self.epochs is not None and self.steps is not None:
            raise UserError(
                f"method.unlearn.epochs={self.epochs} and method.unlearn.steps={self.steps}: give one of them, and set "
                "the other to null."
            )
        if not all(point <= self.length for point in self.kept):
            raise UserError(
                f"method.unlearn.kept={self.kept} must be some of the {self.length} {self.unit}s of method.unlearn."
            )

    def unread(self) -> dict[str, str]:
        """What a cosine alone is planned for."""
        return {"schedule_steps": f"schedule={self.schedule}"} if self.schedule == "constant" else {}

    @property
    def unit(self) -> Literal["epoch", "step"]:
        """What ``length``, ``kept`` and ``method.scored`` count."""
        return "epoch" if self.steps is None else "step"

    @property
    def length(self) -> int:
        """How many epochs, or steps, are run."""
        length = self.epochs if self.steps is None else self.steps
        assert length is not None
        return length

    @property
    def points(self) -> list[int]:
        """After how many epochs, or steps, weights are kept, ascending; the last is the end."""
        return sorted({*self.kept, self.length})

    def choose(self, scored: int | None) -> int:
        """The point that is scored; None: the end. Raises UserError for one whose weights are not kept."""
        if scored is not None and scored not in self.points:
            raise UserError(
                f"method.scored={scored} is not among the {self.unit}s whose weights are kept, {self.points}: add it "
                "to method.unlearn.kept, or set it to null: the end."
            )
        return self.points[-1] if scored is None else scored

    def count_steps(self, point: int, retained: int, forgotten: int) -> int:
        """The steps of so many epochs, or steps, for sets of these sizes."""
        epoch = max(1, min(retained // self.batch_size, forgotten // self.forgotten_size))
        return point * (epoch if self.unit == "epoch" else 1)

    @property
    def forgotten_size(self) -> int:
        """How many forgotten items a step has."""
        return self.batch_size if self.forgotten is None else self.forgotten

    def adapt(self, train: TrainConfig) -> TrainConfig:
        """How items are seen: as in that training, but for what is set here."""
        mirror = train.mirror if self.mirror is None else self.mirror
        dropout = train.condition_dropout if self.condition_dropout is None else self.condition_dropout
        return replace(train, mirror=mirror, condition_dropout=dropout)

    def factor(self, retained: int, forgotten: int) -> Callable[[int], float]:
        """The learning rate's factor at every step, for sets of these sizes."""
        planned = self.schedule_steps or self.count_steps(self.length, retained, forgotten)
        return lambda step: rate(step, self.warmup_steps, self.schedule, planned)


@dataclass(frozen=True)
class GroupBatches(Dataset[UnlearnBatch]):
    """Step by step: a retained and a forgotten batch, each item at its own level and noise, mirrored as in training.

    ``window``: the levels of both are drawn between these two; None: from the whole training distribution.
    ``forgotten_size``: of the forgotten batch; None: ``batch_size``. ``mixed``: how many of both together are of either
    kind is drawn, in proportion.
    """

    split: Split
    retained: Int[np.ndarray, " retained"]
    forgotten: Int[np.ndarray, " forgotten"]
    diffusion: Diffusion
    batch_size: int
    train: TrainConfig
    seed: int
    coupled: bool
    window: tuple[float, float] | None = None
    forgotten_size: int | None = None
    mixed: bool = False

    def __getitem__(self, step: int) -> UnlearnBatch:
        retained = self.choose_coupled(step) if self.coupled else self.choose_items(self.retained, "retain", step)
        forgotten = self.choose_items(self.forgotten, "forget", step)
        if self.mixed:
            count = self.count_forgotten(step)
            retained, forgotten = retained[: self.total - count], forgotten[:count]
        return UnlearnBatch(self.draw_batch("retain", retained, step), self.draw_batch("forget", forgotten, step))

    @property
    def total(self) -> int:
        """The items of both batches of a step together."""
        return self.batch_size + (self.batch_size if self.forgotten_size is None else self.forgotten_size)

    def size(self, role: str) -> int:
        """How many items are chosen for a batch: where sizes are drawn, as many as it can have."""
        if self.mixed:
            return self.total - 1
        return self.batch_size if role == "retain" else self.total - self.batch_size

    def count_forgotten(self, step: int) -> int:
        """How many of a step's items are forgotten ones, where that is drawn: at least one, and not all."""
        rng, share = generator(self.seed, "unlearn.composition", step), 1 - self.batch_size / self.total
        while not 0 < (count := int(rng.binomial(self.total, share))) < self.total:
            pass
        return count

    def choose_items(self, ids: Int[np.ndarray, " item"], role: str, step: int) -> Int[np.ndarray, " batch"]:
        """The ids of a batch. Batches go through the set epoch by epoch; a small set gives batches of its own size."""
        count = min(self.size(role), len(ids))
        epoch, batch = divmod(step, len(ids) // count)
        return ids[order(self.seed, role, epoch, len(ids))[batch * count : (batch + 1) * count]]

    def choose_coupled(self, step: int) -> Int[np.ndarray, " batch"]:
        """A batch of both sets together, each forgotten item in it replaced by a retained one that is drawn."""
        rng = generator(self.seed, "unlearn.replacement", step)
        return replace_removed(self.choose_items(self.union, "retain", step), self.retained, rng)

    def saliency_batches(self, count: int | None) -> Iterator[Batch]:
        """So many batches of forgotten items, drawn for themselves; None: as many as one pass over them has."""
        size = min(self.size("saliency"), len(self.forgotten))
        for step in range(len(self.forgotten) // size if count is None else count):
            yield self.draw_batch("saliency", self.choose_items(self.forgotten, "saliency", step), step)

    @cached_property
    def union(self) -> Int[np.ndarray, " item"]:
        """The ids of both sets."""
        return np.union1d(self.retained, self.forgotten)

    def draw_batch(self, role: str, ids: Int[np.ndarray, " batch"], step: int) -> Batch:
        """The retained or the forgotten batch (``role``) of a step."""
        rng = generator(self.seed, f"unlearn.{role}", step)
        mirrored, dropped = rng.random((2, len(ids)))
        x, given = unlearning_items(self.split, ids, self.train, mirrored, dropped, rng)
        levels = self.diffusion.training_levels
        level = (levels if self.window is None else restricted_draw(self.diffusion, self.window))(rng, len(ids))
        flipped = torch.from_numpy(choose_mirrored(self.train, mirrored))
        return Batch(x, level, normal(rng, *x.shape), given, torch.from_numpy(ids), flipped)


@lru_cache(maxsize=4)
def order(seed: int, role: str, epoch: int, count: int) -> Int[np.ndarray, " count"]:
    """The order of a set in an epoch."""
    return generator(seed, f"unlearn.{role}.order", epoch).permutation(count)


class Logged(Stateful):
    """The loss of every step, and about ``LOGGED_STEPS`` of the steps and the last one as the log has them."""

    goal = math.inf

    def __init__(self, loss: Step, steps: int) -> None:
        self.loss, self.steps = loss, steps
        self.log: list[dict[str, float]] = []
        self.step = 0

    def __call__(self, network: nn.Module, batch: UnlearnBatch) -> tuple[Tensor, Tensor, Mapping[str, Tensor]]:
        """The loss, which is all that there is to see of how far the forgetting has come, and its parts."""
        losses = self.loss(network, batch)
        if self.step % max(1, self.steps // LOGGED_STEPS) == 0 or self.step == self.steps - 1:
            self.log.append({"step": float(self.step)} | losses.log())
        self.step += 1
        return losses.total, losses.total.detach(), losses.parts

    def state(self) -> dict[str, Any]:
        """What has been seen so far."""
        return {
            "step": self.step,
            "log": self.log,
            "loss": self.loss.state() if isinstance(self.loss, Stateful) else None,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on after these steps."""
        self.step, self.log = state["step"], state["log"]
        if isinstance(self.loss, Stateful):
            self.loss.restore(state["loss"])


def unlearn_group(
    network: nn.Module,
    objective: Objective,
    context: UnlearnContext,
    config: GroupUnlearnConfig,
    train: TrainConfig,
    trainer: TrainerConfig,
    keep: Callable[[int], None],
    folder: Path,
    label: str = "Unlearning",
    curve: Curve = keep_nothing,
) -> list[dict[str, float]]:
    """Unlearn ``context.forgotten`` from ``network`` in place; returns the parts of the loss along the way.

    Resumes from the checkpoint that an interrupted call left in ``folder``, and ends at the same weights. ``keep`` is
    called with each of ``config.points`` once the network has come there. ``label`` stands at the progress bar.
    ``curve`` takes the parts of the loss too.
    """
    from tdattr.unlearning.module import Unlearning, unlearn  # Lightning takes seconds to import
    from tdattr.unlearning.resume import Checkpoints

    batches = GroupBatches(
        context.split,
        context.retained,
        context.forgotten,
        context.diffusion,
        config.batch_size,
        config.adapt(train),
        context.seed,
        config.coupled,
        objective.level_window(),
        config.forgotten,
        config.composition == "published_code",
    )
    masks: Masks | None = None
    if config.mask is not None:
        drawn = batches.saliency_batches(config.mask.batches)
        masks = config.mask.choose(network.eval(), context.diffusion, drawn, context.device)
    sizes = len(context.retained), len(context.forgotten)
    points = {config.count_steps(point, *sizes): point for point in config.points}
    steps = max(points)
    logged = Logged(objective.begin(context), steps)
    checkpoints = Checkpoints(folder, logged)
    checkpoints.restore_weights(network)
    optimizer: Any = torch.optim.Adam if config.optimizer == "adam" else torch.optim.AdamW
    module = Unlearning(
        network,
        logged,
        lambda parameters: optimizer(parameters, lr=config.learning_rate, weight_decay=config.weight_decay),
        trainable=[name for name, _ in network.named_parameters()],
        check_first=False,
        schedule=config.factor(*sizes),
        dropout=context.seed if config.dropout else None,
        after_step=lambda step: keep(points[step]) if step in points else None,
        masks=masks,
        checkpoints=checkpoints,
    )
    unlearn(module, batches, steps, trainer, clip=config.clip, label=label, curve=curve)
    return logged.log
