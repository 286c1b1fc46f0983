"""AWSS: the anchor of a forgotten item is its object in another style, drawn by how near its words are (GUDA-C)."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tdattr.data.style_prompts import PromptForm, StylePrompt
from tdattr.diffusion.batch import Batch
from tdattr.errors import UserError
from tdattr.features.text import TextEncoder
from tdattr.ranges import Count, Positive, PositiveOrZero, Probability
from tdattr.unlearning.anchors import anchor_distribution, mean_direction
from tdattr.unlearning.draws import UnlearnBatch
from tdattr.unlearning.objectives import ObjectiveSetup, UnlearnContext
from tdattr.unlearning.objectives.anchored import Anchored, Choose, tell
from tdattr.unlearning.prompts import (
    PromptConditions,
    check_prompted,
    collect_descriptors,
    parse_prompts,
    show_prompt,
)
from tdattr.wording import counted

Vectors = Mapping[str, Float[Tensor, " width"]]  # of descriptors
Key = tuple[str, tuple[str, ...]]  # a style, and the descriptors in a prompt
UNIFORM = 1.0  # the ``eta`` under which no descriptor is looked at


@dataclass(frozen=True)
class StyleSelection(Anchored):
    """The ``objective=awss`` and ``objective=uniform`` nodes: the same noised item under another prompt.

    Styles are the dataset's groups, as far as they are retained. One is drawn for every forgotten item and step from
    (1 - eta) · softmax(beta · cosine) + eta · uniform, the cosine between the words in the item's prompt and those of
    the style as ``text`` sees them; eta = 1 looks at none. Then so many ``descriptors`` of it are drawn. ``prompt``:
    how prompts are written.
    """

    reads_groups: ClassVar = True
    encodes_prompts: ClassVar = True

    name: str
    weight: Positive
    beta: PositiveOrZero
    eta: Probability
    descriptors: Count
    prompt: str
    text: TextEncoder | None

    def __post_init__(self) -> None:
        PromptForm(self.prompt)
        if self.text is None and self.eta < UNIFORM:
            raise UserError(
                f"method.objective.eta={self.eta:g} compares descriptors, which takes an encoder in "
                "method.objective.text: choose objective@method.objective=awss, or eta=1."
            )

    def unread(self) -> dict[str, str]:
        """What weighs styles, where they are drawn uniformly."""
        return dict.fromkeys(("beta", "text"), "eta=1") if self.eta == UNIFORM else {}

    def check(self, setup: ObjectiveSetup) -> None:
        """Prompts must be what the model is told, and descriptors known of every style and, to weigh them, item."""
        check_prompted(setup, self.name)
        form = PromptForm(self.prompt)
        described = collect_descriptors(setup.split, setup.groups, form)
        for name, words in described.items():
            if not words:
                raise UserError(
                    f"objective={self.name} draws descriptors, and none are known of {name}, whose first prompt is "
                    f"{show_prompt(setup.split, int(setup.groups[name][0]))}: set method.objective.prompt to how "
                    f"prompts are written, as {self.prompt!r}, or give items the field descriptors "
                    "(dataset=unlearncanvas: dataset.source.descriptors=…)."
                )
        bare, styled = [], []  # items without descriptors in their prompts, and those whose object still says the style
        for name, ids in setup.groups.items():
            for item, parts in parse_prompts(setup.split, ids, form).items():
                if not parts.descriptors:
                    bare.append(item)
                    if any(is_said(word, parts.object) for word in described[name]):
                        styled.append(item)
        if bare and self.eta < UNIFORM:
            raise UserError(
                f"objective={self.name} weighs styles by the descriptors in a prompt, of which "
                f"{counted(len(bare), 'item')} {'has' if len(bare) == 1 else 'have'} none, first item {bare[0]} "
                f"({show_prompt(setup.split, bare[0])}): set method.objective.prompt to how they are written, or "
                "choose objective@method.objective=uniform."
            )
        if styled:
            raise UserError(
                f"objective={self.name} replaces the style in a prompt, which {counted(len(styled), 'item')} "
                f"{'says' if len(styled) == 1 else 'say'} in another form, first item {styled[0]} "
                f"({show_prompt(setup.split, styled[0])}): set method.objective.prompt to how they are written."
            )
        self.check_longest(setup, form, described)

    def check_longest(self, setup: ObjectiveSetup, form: PromptForm, described: Mapping[str, tuple[str, ...]]) -> None:
        """Raise UserError where the longest anchors that may be drawn are not such as the text encoder takes."""
        assert setup.text is not None  # check_prompted
        words = list(set().union(*described.values()))
        lengths = dict(zip(words, setup.text.measure(words), strict=True))
        longest = {
            name: sorted(pool, key=lengths.__getitem__, reverse=True)[: self.descriptors]
            for name, pool in described.items()
        }
        prompts: dict[str, None] = {}
        for name, ids in setup.groups.items():
            objects = {parts.object for parts in parse_prompts(setup.split, ids, form).values()}
            others = [drawn for other, drawn in longest.items() if other != name]
            prompts |= dict.fromkeys(form.write(shown, drawn) for shown in sorted(objects) for drawn in others)
        try:
            setup.text.check(prompts)
        except UserError as error:
            setting = f"method.objective.descriptors={self.descriptors}"
            raise UserError(f"Anchors of objective={self.name} with {setting} are too long: {error}") from error

    def anchors(self, context: UnlearnContext) -> Choose:
        """The conditions of prompts that are drawn for each forgotten item."""
        assert context.encode is not None
        prompts, encode = self.anchor_prompts(context), PromptConditions(context.encode())

        def choose(batch: UnlearnBatch, rng: np.random.Generator) -> Batch:
            assert batch.forget.ids is not None
            return tell(batch.forget, encode([prompts.draw(item, rng) for item in batch.forget.ids.tolist()]))

        return choose

    def anchor_prompts(self, context: UnlearnContext) -> "AnchorPrompts":
        """What the prompts are drawn from: styles of which something is retained, and descriptors of each."""
        form, groups = PromptForm(self.prompt), context.groups
        described = collect_descriptors(context.split, groups, form)
        parts = parse_prompts(context.split, context.forgotten, form)
        styles = {int(item): name for name, ids in groups.items() for item in np.intersect1d(ids, context.forgotten)}
        kept = [name for name, ids in groups.items() if np.isin(ids, context.retained).any()]
        keys = {(styles[item], part.descriptors) for item, part in parts.items()}
        others = {name: [other for other in kept if other != name] for name, _ in keys}
        if self.eta == UNIFORM:
            shares = {key: np.full(len(others[key[0]]), 1 / len(others[key[0]])) for key in keys}
        else:
            vectors = self.embed({word for _, words in keys for word in words}.union(*described.values()), context)
            prototypes = {name: direction(words, vectors) for name, words in described.items()}
            shares = {
                (name, words): anchor_distribution(
                    torch.stack([prototypes[style] for style in (name, *others[name])]),
                    direction(words, vectors),
                    0,
                    self.beta,
                    self.eta,
                )[1:].numpy()
                for name, words in keys
            }
        return AnchorPrompts(form, self.descriptors, described, parts, styles, others, shares)

    def embed(self, words: Collection[str], context: UnlearnContext) -> Vectors:
        """The vectors of descriptors."""
        assert self.text is not None
        listed = sorted(words)
        return dict(zip(listed, torch.from_numpy(self.text.load(context.device)(listed)), strict=True))


@dataclass(frozen=True)
class AnchorPrompts:
    """The prompts that forgotten items are steered to."""

    form: PromptForm
    count: int  # of the descriptors that a prompt has, at most
    described: Mapping[str, tuple[str, ...]]  # by style, its descriptors
    parts: Mapping[int, StylePrompt]  # of the prompts of forgotten items
    styles: Mapping[int, str]  # by item
    others: Mapping[str, Sequence[str]]  # by style, those that are drawn
    shares: Mapping[Key, Float[np.ndarray, " other"]]  # by style and descriptors of an item, how likely each of them is

    def draw(self, item: int, rng: np.random.Generator) -> str:
        """One for this item: its object with descriptors of the drawn style, in random order."""
        name, parts = self.styles[item], self.parts[item]
        shares = self.shares[name, parts.descriptors]
        pool = self.described[self.others[name][rng.choice(len(shares), p=shares)]]
        drawn = rng.permutation(len(pool))[: self.count]
        return self.form.write(parts.object, [pool[index] for index in drawn])


def is_said(word: str, text: str) -> bool:
    """Whether a descriptor stands in a text, as words of it."""
    return re.search(rf"\b{re.escape(word)}(?!\w)", text, re.IGNORECASE) is not None


def direction(words: Sequence[str], vectors: Vectors) -> Float[Tensor, " width"]:
    """The mean direction of descriptors."""
    return mean_direction(torch.stack([vectors[word] for word in words]))
