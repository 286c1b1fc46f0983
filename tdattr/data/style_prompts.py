"""What the prompts of UnlearnCanvas say: an object, and a style by its name or by words for it.

GUDA-C trains on "A depiction of {object}, artistic style featuring {word}, {word}, {word}"; without its files prompts
are "An image of {object} in {style} style". No style is read from GUDA's evaluation prompts ("An artwork of Sea, with
…"), and their object is the whole prompt, as in its code.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tdattr.errors import UserError

DESCRIBED = ", artistic style featuring "  # what follows are descriptors, with commas between them
FORM = f"A depiction of {{object}}{DESCRIBED}{{descriptors}}"  # GUDA-C's prompts for training
FIELDS = re.compile(r"(.*)\{object\}(.+)\{descriptors\}(.*)")
NAMED = re.compile(r"\s+in\s.*\bstyle\b", re.IGNORECASE)
OBJECT = re.compile(r"(?:a depiction|a photo|an image) of (.+)", re.IGNORECASE)


@dataclass(frozen=True)
class StylePrompt:
    """The parts of a prompt."""

    without_style: str
    object: str  # what is shown; all of ``without_style`` where no known words come before it
    descriptors: tuple[str, ...]  # of the style, as they are written; none where the prompt has none


@dataclass(frozen=True)
class PromptForm:
    """How prompts are written: ``{object}`` and, after it and something else, ``{descriptors}`` with commas between
    them. Raises UserError for another form."""

    text: str = FORM

    def __post_init__(self) -> None:
        if not FIELDS.fullmatch(self.text):
            raise UserError(
                f"method.objective.prompt={self.text!r} says how prompts are written, so it must hold {{object}} and, "
                "after some words, {descriptors}."
            )

    @property
    def words(self) -> tuple[str, str, str]:
        """What stands before the object, between both, and after the descriptors."""
        match = FIELDS.fullmatch(self.text)
        assert match is not None
        return match[1], match[2], match[3]

    def parse(self, prompt: str) -> StylePrompt:
        """Take a prompt apart."""
        before, between, after = self.words
        text, separator, words = prompt.partition(between)
        without_style = (text if separator else NAMED.sub("", prompt)).strip()
        if before and without_style.lower().startswith(before.lower()):
            name = without_style[len(before) :]
        else:
            match = OBJECT.search(without_style)
            name = match[1] if match else without_style
        listed = words.removesuffix(after).split(",")
        return StylePrompt(without_style, name.strip(), split_descriptors(listed))

    def write(self, name: str, descriptors: Sequence[str]) -> str:
        """The prompt of an object with these descriptors."""
        before, between, after = self.words
        return f"{before}{name}{between}{', '.join(descriptors)}{after}"


def split_descriptors(words: Sequence[str]) -> tuple[str, ...]:
    """The descriptors without what is blank around them; empty ones are none."""
    return tuple(stripped for word in words if (stripped := word.strip()))
