"""ESD: forgotten items are steered away from what a condition adds (Gandikota et al. 2023, arXiv 2303.07345)."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tdattr.costs import Work
from tdattr.diffusion.batch import Batch
from tdattr.errors import UserError
from tdattr.features.text import TextEncoder
from tdattr.networks import Given
from tdattr.ranges import Positive, PositiveOrZero
from tdattr.training.teacher import Teacher, group_conditions
from tdattr.unlearning.draws import UnlearnBatch
from tdattr.unlearning.objectives import (
    Losses,
    ObjectiveSetup,
    Step,
    UnlearnContext,
    Weighted,
    loss_towards,
    retained_loss,
    step_on_both,
)


@dataclass(frozen=True)
class ESD(Weighted):
    """The ``objective=esd`` node: retain + weight · |prediction - target|^2 with a target from a conditional model.

    ``teacher``: that model, which is told the groups of an item (GUDA). It knows no condition of F1's, so the student
    is told none of what is forgotten. None: it is F1 itself, with its own conditions, of which the student is then told
    all (ESD's authors).
    """

    name: str
    weight: Positive
    guidance: PositiveOrZero
    teacher: Teacher | None

    def check_text(self, text: TextEncoder | None) -> None:
        """A network that is told token ids cannot be told groups instead."""
        if text is not None and text.gives_ids and self.teacher is not None and self.teacher.model is None:
            raise UserError(
                f"objective={self.name} would train a teacher that is told groups, and the run's network reads "
                "prompts: set method.objective.teacher=null, so that F1 itself is the teacher."
            )

    def check(self, setup: ObjectiveSetup) -> None:
        """Without a teacher it needs a conditional model."""
        if self.teacher is None and not setup.conditional:
            raise UserError(
                f"objective={self.name} with teacher=null steers away from a condition of F1, which has none, or "
                "does not work without: leave teacher=null out, or choose another dataset.source.condition or model."
            )

    def teacher_config(self) -> Teacher | None:
        """Its teacher."""
        return self.teacher

    def target(
        self, conditional: Float[Tensor, "batch *shape"], unconditional: Float[Tensor, "batch *shape"]
    ) -> Float[Tensor, "batch *shape"]:
        """eps_uncond - guidance (eps_cond - eps_uncond), of the two predictions of the noise."""
        return unconditional - self.guidance * (conditional - unconditional)

    def work(self, retained: int, forgotten: int, retain: Literal["loss", "distill"]) -> Work:
        """The usual step, and two predictions of the teacher's for each forgotten item."""
        return step_on_both(retained, forgotten, retain) + Work(evaluations=2 * forgotten)

    def begin(self, context: UnlearnContext) -> Step:
        """The sum of the two losses."""
        retain = retained_loss(context)
        teacher, told = self.load_teacher(context)

        def step(network: nn.Module, batch: UnlearnBatch) -> Losses:
            kept = retain(network, batch.retain)
            forget, known = batch.forget, told(batch.forget)
            everywhere = torch.ones(len(forget), dtype=torch.bool, device=forget.x.device)
            nothing = replace(known, drop=everywhere)
            forget = replace(forget, given=known if self.teacher is None else replace(forget.given, drop=everywhere))
            with torch.no_grad():
                conditional, unconditional = (
                    context.diffusion.predicted_noise(teacher, forget.x, forget.level, forget.noise, given)
                    for given in (known, nothing)
                )
            target = self.target(conditional, unconditional)
            forgotten = loss_towards(context.diffusion, network, forget, target).mean()
            return Losses(kept + self.weight * forgotten, retain=kept, forget=forgotten)

        return step

    def load_teacher(self, context: UnlearnContext) -> tuple[nn.Module, Callable[[Batch], Given]]:
        """The conditional model, and what it is told of the items of a batch."""
        if self.teacher is None:
            return context.f1(), lambda batch: replace(batch.given, drop=None)
        assert context.teacher is not None
        conditions = torch.from_numpy(group_conditions(context.groups, len(context.split)))

        def told(batch: Batch) -> Given:
            assert batch.ids is not None
            condition = conditions[batch.ids.cpu()].to(batch.x.device)
            return Given(condition, ~condition.bool().any(1))

        return context.teacher(), told
