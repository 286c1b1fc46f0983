"""Letters and digits in typefaces that packages bring along: small, real, style x object, no download."""

import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float

from tdattr.data.prepared import Example, Source, one_hot
from tdattr.data.style_prompts import DESCRIBED
from tdattr.data.typefaces import COLLECTIONS, STYLES, Typeface, find_font, list_packages
from tdattr.errors import UserError
from tdattr.ranges import Count, CountOrZero
from tdattr.seeding import generator

OBJECTS = string.ascii_uppercase + string.ascii_lowercase + string.digits
CHARACTERS = {
    "all": OBJECTS,
    "capitals": string.ascii_uppercase,
    "small": string.ascii_lowercase,
    "digits": string.digits,
}
SUPERSAMPLING = 8  # glyphs are drawn this much larger and averaged down
WORDS = 3  # of a style in a prompt, as in GUDA-C's
WORDS_SEED = 0  # draws which, and their order
INK = 1.0  # the share of the image's height that the tallest glyph of a typeface may fill


@dataclass(frozen=True)
class Glyphs(Source):
    """62 characters x the typefaces of a collection, white on black, ``resolution`` pixels square.

    ``typefaces``: ``matplotlib`` (21) or ``fontpkg`` (44, the extra ``fonts``). ``characters``: ``all`` of them, or
    only the ``capitals``, ``small`` letters or ``digits``. ``condition``: ``none``, ``object`` (one of the characters),
    ``style`` (one of the typefaces), ``family`` (one of theirs), or ``prompt`` (object and descriptors together).
    ``prompts``: what the prompts say, ``typeface`` or ``depiction``: as GUDA-C's do, with three words for the style.
    ``held_out`` typefaces of every character form the test split.
    """

    resolution: Count
    typefaces: Literal["matplotlib", "fontpkg"]
    characters: Literal["all", "capitals", "small", "digits"]
    condition: Literal["none", "object", "style", "family", "prompt"]
    prompts: Literal["typeface", "depiction"]
    held_out: CountOrZero

    def __post_init__(self) -> None:
        if self.held_out >= len(self.collection):
            count = len(self.collection)
            raise UserError(f"dataset.source.held_out={self.held_out} must be below {count}, the number of typefaces.")

    @property
    def objects(self) -> str:
        """The characters that are drawn."""
        return CHARACTERS[self.characters]

    @property
    def collection(self) -> list[Typeface]:
        """The typefaces that they are drawn in."""
        return COLLECTIONS[self.typefaces]

    def fingerprint(self) -> dict[str, str]:
        """The drawing depends on the fonts (their packages) and on the renderer (Pillow)."""
        return list_packages(self.typefaces) | {"pillow": version("pillow")}

    def count(self, split: str) -> int:
        """``held_out`` test items of every character; the others train."""
        return len(self.objects) * (self.held_out if split == "test" else len(self.collection) - self.held_out)

    def examples(self, split: str) -> Iterator[Example]:
        """Items character by character, typeface by typeface."""
        typefaces = self.collection
        drawn = [draw(find_font(self.typefaces, typeface), self.resolution) for typeface in typefaces]
        for index, character in enumerate(self.objects):
            for number, typeface in enumerate(typefaces):
                # the held-out typefaces move on from character to character, so that each is held out equally often
                held_out = (number - index * self.held_out) % len(typefaces) < self.held_out
                if held_out != (split == "test"):
                    continue
                yield Example(
                    image=drawn[number][character],
                    condition=self.describe_item(index, number),
                    prompts=(self.prompt(index, number),),
                    fields={
                        "object": character,
                        "style": f"{typeface.family} {typeface.cut}",
                        "family": typeface.family,
                        "descriptors": typeface.descriptors,
                    },
                )

    def describe_item(self, index: int, number: int) -> Float[np.ndarray, "1 size"] | None:
        """The condition of a character in a typeface, by their indices."""
        typeface = self.collection[number]
        if self.condition == "none":
            return None
        if self.condition == "object":
            return one_hot(index, len(self.objects))
        if self.condition == "style":
            return one_hot(number, len(self.collection))
        if self.condition == "family":
            families = sorted({typeface.family for typeface in self.collection})
            return one_hot(families.index(typeface.family), len(families))
        known = sorted({word for typeface in self.collection for word in typeface.descriptors.split()})
        words = [float(word in typeface.descriptors.split()) for word in known]
        return np.concatenate([one_hot(index, len(self.objects))[0], words]).astype(np.float32)[None]

    def prompt(self, index: int, number: int) -> str:
        """The prompt of a character in a typeface, by their indices."""
        typeface, character = self.collection[number], self.objects[index]
        if self.prompts == "typeface":
            return name_glyph(character, typeface.descriptors)
        words = STYLES.get(typeface.family, typeface.descriptors.split())
        rng = generator(WORDS_SEED, "glyphs.words", OBJECTS.index(character), number)
        return depict(character, [words[place] for place in rng.permutation(len(words))[:WORDS]])


def name_glyph(character: str, descriptors: str) -> str:
    """A prompt that names a character and a typeface."""
    return f"the {kind(character)} {character} in a {descriptors} typeface"


def depict(character: str, words: Sequence[str]) -> str:
    """A prompt as GUDA-C's are. CLIP's tokenizers do not see the case of a letter, so that it is said."""
    return f"A depiction of the {kind(character)} {character}{DESCRIBED}{', '.join(words)}"


def kind(character: str) -> str:
    """What a prompt calls a character."""
    if character.isdigit():
        return "digit"
    return "capital letter" if character.isupper() else "small letter"


def draw(path: Path, resolution: int) -> dict[str, np.ndarray]:
    """Every character of a font's file on one baseline: uint8 [resolution, resolution, 1], white on black."""
    from PIL import Image, ImageDraw, ImageFont

    size = resolution * SUPERSAMPLING
    probe = ImageFont.truetype(str(path), size)
    boxes = [probe.getbbox(character, anchor="ls") for character in OBJECTS]
    top, bottom = min(box[1] for box in boxes), max(box[3] for box in boxes)
    widest = max(box[2] - box[0] for box in boxes)
    scale = INK * size / max(bottom - top, widest)
    font = ImageFont.truetype(str(path), size * scale)
    baseline = size / 2 - (top + bottom) / 2 * scale
    images = {}
    for character in OBJECTS:
        left, _, right, _ = font.getbbox(character, anchor="ls")
        canvas = Image.new("L", (size, size))
        ImageDraw.Draw(canvas).text(
            (size / 2 - (left + right) / 2, baseline), character, fill=255, font=font, anchor="ls"
        )
        images[character] = np.asarray(canvas.reduce(SUPERSAMPLING))[..., None]
    return images
