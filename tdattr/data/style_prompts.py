"""What the prompts of UnlearnCanvas say: an object, and a style by its name or by words for it.

GUDA-C trains on "A depiction of {object}, artistic style featuring {word}, {word}, {word}"; without its files prompts
are "An image of {object} in {style} style". No style is read from GUDA's evaluation prompts ("An artwork of Sea, with
…"), and their object is the whole prompt, as in its code.
"""

import re
from dataclasses import dataclass

DESCRIBED = ", artistic style featuring "  # what follows are descriptors, with commas between them
NAMED = re.compile(r"\s+in\s.*\bstyle\b", re.IGNORECASE)
OBJECT = re.compile(r"(?:a depiction|a photo|an image) of (.+)", re.IGNORECASE)


@dataclass(frozen=True)
class StylePrompt:
    """The parts of a prompt."""

    without_style: str
    object: str  # what is shown; all of ``without_style`` where no known words come before it
    descriptors: tuple[str, ...]  # of the style, as they are written; none where the prompt has none


def parse_prompt(prompt: str) -> StylePrompt:
    """Take a prompt apart."""
    text, separator, words = prompt.partition(DESCRIBED)
    without_style = (text if separator else NAMED.sub("", prompt)).strip()
    found = OBJECT.search(without_style)
    descriptors = tuple(stripped for word in words.split(",") if (stripped := word.strip()))
    return StylePrompt(without_style, found[1].strip() if found else without_style, descriptors)
