"""Letters and digits in the typefaces that ship inside matplotlib: small, real, style x object, no download."""

import string
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal

import numpy as np

from tdattr.data.prepared import Example, Source, one_hot
from tdattr.ranges import Count, Range

OBJECTS = string.ascii_uppercase + string.ascii_lowercase + string.digits
CHARACTERS = {
    "all": OBJECTS,
    "capitals": string.ascii_uppercase,
    "small": string.ascii_lowercase,
    "digits": string.digits,
}
# file, family (the coarser grouping), cut, descriptors
TYPEFACES = [
    ("DejaVuSans", "DejaVu Sans", "Regular", "sans-serif upright"),
    ("DejaVuSans-Bold", "DejaVu Sans", "Bold", "bold sans-serif upright"),
    ("DejaVuSans-Oblique", "DejaVu Sans", "Oblique", "sans-serif slanted"),
    ("DejaVuSans-BoldOblique", "DejaVu Sans", "Bold Oblique", "bold sans-serif slanted"),
    ("DejaVuSansMono", "DejaVu Sans Mono", "Regular", "monospaced sans-serif upright"),
    ("DejaVuSansMono-Bold", "DejaVu Sans Mono", "Bold", "bold monospaced sans-serif upright"),
    ("DejaVuSansMono-Oblique", "DejaVu Sans Mono", "Oblique", "monospaced sans-serif slanted"),
    ("DejaVuSansMono-BoldOblique", "DejaVu Sans Mono", "Bold Oblique", "bold monospaced sans-serif slanted"),
    ("DejaVuSerif", "DejaVu Serif", "Regular", "serif upright"),
    ("DejaVuSerif-Bold", "DejaVu Serif", "Bold", "bold serif upright"),
    ("DejaVuSerif-Italic", "DejaVu Serif", "Italic", "serif slanted"),
    ("DejaVuSerif-BoldItalic", "DejaVu Serif", "Bold Italic", "bold serif slanted"),
    ("STIXGeneral", "STIX General", "Regular", "serif upright"),
    ("STIXGeneralBol", "STIX General", "Bold", "bold serif upright"),
    ("STIXGeneralItalic", "STIX General", "Italic", "serif slanted"),
    ("STIXGeneralBolIta", "STIX General", "Bold Italic", "bold serif slanted"),
    ("cmr10", "Computer Modern Roman", "Regular", "serif upright"),
    ("cmss10", "Computer Modern Sans", "Regular", "sans-serif upright"),
    ("cmtt10", "Computer Modern Typewriter", "Regular", "monospaced serif upright"),
    ("cmb10", "Computer Modern Bold", "Bold", "bold serif upright"),
    ("cmti10", "Computer Modern Italic", "Italic", "serif slanted"),
]
DESCRIPTORS = ["bold", "monospaced", "sans-serif", "serif", "slanted", "upright"]
SUPERSAMPLING = 8  # glyphs are drawn this much larger and averaged down
INK = 1.0  # the share of the image's height that the tallest glyph of a typeface may fill


@dataclass(frozen=True)
class Glyphs(Source):
    """62 characters x 21 typefaces, white on black, ``resolution`` pixels square.

    ``characters``: ``all`` of them, or only the ``capitals``, ``small`` letters or ``digits``. ``condition``: ``none``,
    ``object`` (one of the characters), ``style`` (one of 21), ``family`` (one of 9), or ``prompt`` (object and
    descriptors together). ``held_out`` typefaces of every character form the test split.
    """

    resolution: Count
    characters: Literal["all", "capitals", "small", "digits"]
    condition: Literal["none", "object", "style", "family", "prompt"]
    held_out: Annotated[int, Range(least=0, below=len(TYPEFACES))]

    @property
    def objects(self) -> str:
        """The characters that are drawn."""
        return CHARACTERS[self.characters]

    def fingerprint(self) -> dict[str, str]:
        """The drawing depends on the fonts (matplotlib) and on the renderer (Pillow)."""
        return {name: version(name) for name in ("matplotlib", "pillow")}

    def count(self, split: str) -> int:
        """``held_out`` test items of every character; the others train."""
        return len(self.objects) * (self.held_out if split == "test" else len(TYPEFACES) - self.held_out)

    def examples(self, split: str) -> Iterator[Example]:
        """Items character by character, typeface by typeface."""
        drawn = [draw(typeface[0], self.resolution) for typeface in TYPEFACES]
        families = sorted({family for _, family, _, _ in TYPEFACES})
        for index, character in enumerate(self.objects):
            for number, (_, family, cut, descriptors) in enumerate(TYPEFACES):
                # the held-out typefaces move on from character to character, so that each is held out equally often
                held_out = (number - index * self.held_out) % len(TYPEFACES) < self.held_out
                if held_out != (split == "test"):
                    continue
                words = descriptors.split()
                yield Example(
                    image=drawn[number][character],
                    condition={
                        "none": None,
                        "object": one_hot(index, len(self.objects)),
                        "style": one_hot(number, len(TYPEFACES)),
                        "family": one_hot(families.index(family), len(families)),
                        "prompt": np.concatenate(
                            [one_hot(index, len(self.objects))[0], [float(word in words) for word in DESCRIPTORS]]
                        ).astype(np.float32)[None],
                    }[self.condition],
                    prompts=(f"the {kind(character)} {character} in a {descriptors} typeface",),
                    fields={
                        "object": character,
                        "style": f"{family} {cut}",
                        "family": family,
                        "descriptors": descriptors,
                    },
                )


def kind(character: str) -> str:
    """What a prompt calls a character."""
    if character.isdigit():
        return "digit"
    return "capital letter" if character.isupper() else "small letter"


def draw(typeface: str, resolution: int) -> dict[str, np.ndarray]:
    """Every character of a typeface on one baseline: uint8 [resolution, resolution, 1], white on black."""
    import matplotlib
    from PIL import Image, ImageDraw, ImageFont

    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{typeface}.ttf"
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
