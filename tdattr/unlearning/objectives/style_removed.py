"""The anchor of a forgotten item is its prompt without what it says of the style (GUDA-C's ablation)."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tdattr.data.style_prompts import PromptForm
from tdattr.diffusion.batch import Batch
from tdattr.errors import UserError
from tdattr.ranges import Positive
from tdattr.unlearning.draws import UnlearnBatch
from tdattr.unlearning.objectives import ObjectiveSetup, UnlearnContext
from tdattr.unlearning.objectives.anchored import Anchored, Choose, tell
from tdattr.unlearning.prompts import PromptConditions, check_prompted, parse_prompts, show_prompt
from tdattr.wording import counted


@dataclass(frozen=True)
class StyleRemoved(Anchored):
    """The ``objective=style_removed`` node: the same noised item under the shorter prompt. ``prompt``: how prompts are
    written."""

    encodes_prompts: ClassVar = True

    name: str
    weight: Positive
    prompt: str

    def __post_init__(self) -> None:
        PromptForm(self.prompt)

    def check(self, setup: ObjectiveSetup) -> None:
        """Prompts must be what the model is told, and say something of a style: nothing would be forgotten."""
        check_prompted(setup, self.name)
        ids = np.concatenate([*setup.groups.values()])
        prompts = setup.split.items["prompt"]
        parsed = parse_prompts(setup.split, ids, PromptForm(self.prompt))
        bare = [item for item, parts in parsed.items() if parts.without_style == prompts.iloc[item].strip()]
        if bare:
            raise UserError(
                f"objective={self.name} takes the style out of prompts, of which {counted(len(bare), 'item')} "
                f"{'names' if len(bare) == 1 else 'name'} none, first item {bare[0]} "
                f"({show_prompt(setup.split, bare[0])}): set method.objective.prompt to how they are written."
            )

    def anchors(self, context: UnlearnContext) -> Choose:
        """The conditions of the shorter prompts."""
        assert context.encode is not None
        parsed = parse_prompts(context.split, context.forgotten, PromptForm(self.prompt))
        encode = PromptConditions(context.encode())

        def choose(batch: UnlearnBatch, rng: np.random.Generator) -> Batch:
            assert batch.forget.ids is not None
            return tell(batch.forget, encode([parsed[item].without_style for item in batch.forget.ids.tolist()]))

        return choose
