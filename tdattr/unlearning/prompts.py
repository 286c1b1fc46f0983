"""What the prompts of items say of styles, and the conditions of other prompts: for anchors that are texts (GUDA-C)."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from tdattr.data.preparation import Encode
from tdattr.data.prepared import Split
from tdattr.data.style_prompts import PromptForm, StylePrompt, split_descriptors
from tdattr.errors import UserError
from tdattr.ids import Ids
from tdattr.unlearning.objectives import ObjectiveSetup
from tdattr.wording import excerpt

FIELD = "descriptors"  # of an item, with commas between them


def check_prompted(setup: ObjectiveSetup, name: str) -> None:
    """Raise UserError where a model cannot be told another prompt."""
    if setup.text is None or not setup.conditional:
        raise UserError(
            f"objective={name} changes prompts, and this model's conditions are not made of any: choose "
            "+text@dataset.text=… and a model that takes conditions, or objective=matched_retain."
        )


def show_prompt(split: Split, item: int) -> str:
    """The first prompt of an item, as messages quote it."""
    return excerpt(split.items["prompt"].iloc[item])


def parse_prompts(split: Split, ids: Ids, form: PromptForm) -> dict[int, StylePrompt]:
    """The parts of the first prompts of these items."""
    prompts = split.items["prompt"].iloc[ids].tolist()
    return {int(item): form.parse(prompt) for item, prompt in zip(ids, prompts, strict=True)}


def collect_descriptors(split: Split, groups: Mapping[str, Ids], form: PromptForm) -> dict[str, tuple[str, ...]]:
    """The different descriptors of each style, in the order of its items: those of their prompts or, where these have
    none, of their field."""
    collected = {}
    for name, ids in groups.items():
        words = [parts.descriptors for parts in parse_prompts(split, ids, form).values()]
        if FIELD in split.items and not any(words):
            fields = split.items[FIELD].iloc[ids].unique().tolist()
            words = [split_descriptors(field.split(",")) for field in fields]
        collected[name] = tuple(dict.fromkeys(word for part in words for word in part))
    return collected


class PromptConditions:
    """The conditions of prompts. Each is encoded once and by itself, so that it does not depend on the others."""

    def __init__(self, encode: Encode) -> None:
        self.encode = encode
        self.known: dict[str, np.ndarray] = {}

    def __call__(self, prompts: Sequence[str]) -> Shaped[Tensor, "prompt *condition"]:
        """One for each prompt, on the CPU."""
        for prompt in prompts:
            if prompt not in self.known:
                self.known[prompt] = self.encode([prompt])[0]
        return torch.from_numpy(np.stack([self.known[prompt] for prompt in prompts]))
