"""What the name of a picture says that it shows: words that somebody chose, not what a camera or a tool counts by."""

import re
from collections.abc import Collection
from pathlib import PurePosixPath

from tdattr.data.names import compose

BETWEEN_WORDS = re.compile(r"[\s_\-.()]+")
NUMBER = re.compile(r"[\s_\-.]*\(?[0-9]+\)?$")  # at the end of a name, which tells a picture from its like
WORDS = """
am at bild comfyui copy dcim download dsc dscf dscn edit file final flux foto gen generated generation generations
gopr grid image images img imag made mg mov mvimg new out output outputs photo photos pic pict pics picture
pictures pm pxl query queries render result results sample samples scan screen screenshot sd sdxl shot signal
telegram temp test tmp unnamed untitled vid wa whatsapp
"""
MUTE = frozenset(WORDS.split())  # by which cameras, phones, programs and people who say nothing call pictures
UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
COUNTED = re.compile(r"([a-z]*?)[0-9]+(?:x[0-9]+)?")  # img2043, p1010001, 512x512
DIGEST = re.compile(r"(?=(?:.*[0-9]){2})[0-9a-f]{8,}")


def read_words(name: str, known: Collection[str] = ()) -> str | None:
    """What a path says that its picture shows, as words: its file's name without the number at its end or, where that
    says nothing, a folder's; None where none of them does. ``known``: what items are, which always says something, in
    capital letters too."""
    path = PurePosixPath(name)
    for text, words in ((path.stem, strip_number(path.stem)), *((part, part) for part in reversed(path.parts[:-1]))):
        value = find_alike(compose(words), known)
        if value is not None or not is_mute(text):
            return " ".join(split_words(value or words))
    return None


def find_alike(text: str, known: Collection[str]) -> str | None:
    """The one of the known values that a text is, or that differs from it in case alone, if it is the only one; else
    None."""
    if text in known:
        return text
    alike = [value for value in known if value.casefold() == text.casefold()]
    return alike[0] if len(alike) == 1 else None


def list_values(name: str) -> list[str]:
    """The values of a field that a path may name, the likeliest first: its file's name with and without the number at
    its end, its folders', the first word. A number alone may count pictures, so that it is none but for a folder.
    Words of cameras and tools are values too: items may have a class of that name."""
    path = PurePosixPath(name)
    plain = strip_number(path.stem)
    first = next(iter(split_words(plain)), "")
    texts = ["" if path.stem.isdigit() else path.stem, plain, *reversed(path.parts[:-1])]
    texts.append("" if first.isdigit() else first)
    return [compose(text) for text in texts if text]


def is_mute(text: str) -> bool:
    """Whether a name says nothing of what is shown: it is numbers, letters, digests, and words of cameras and tools."""
    return all(map(is_mute_word, split_words(UUID.sub("", text.lower()))))


def is_mute_word(word: str) -> bool:
    """The same of a word in small letters."""
    counted = COUNTED.fullmatch(word)
    if counted is not None and (len(counted[1]) < 2 or counted[1] in MUTE):
        return True
    return len(word) < 2 or word in MUTE or DIGEST.fullmatch(word) is not None


def split_words(text: str) -> list[str]:
    """The words of a name."""
    return [word for word in BETWEEN_WORDS.split(text) if word]


def strip_number(stem: str) -> str:
    """The name of a file without the number that tells it from its like."""
    return NUMBER.sub("", stem)
