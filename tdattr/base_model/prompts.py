"""What the parts are told of every glyph, and the tokenizer that knows all words of the prompts of glyphs."""

import zlib
from collections import Counter
from collections.abc import Iterable, Set
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Int

from tdattr.data.glyphs import OBJECTS, WORDS, depict, name_glyph
from tdattr.data.typefaces import COLLECTIONS, STYLES
from tdattr.seeding import generator
from tdattr.tables import DataFrame

START, END = "<|startoftext|>", "<|endoftext|>"
WORD_END = "</w>"


def word(items: DataFrame, wordings: int, seed: int) -> tuple[list[str], Int[np.ndarray, "item wording"]]:
    """Distinct prompts, and which of them every item has: the first names the typeface by all its descriptors, the
    others depict the character with three of them."""
    distinct: dict[str, int] = {}
    indices = np.empty((len(items), wordings), np.int64)
    for row, (character, descriptors) in enumerate(zip(items["object"], items["descriptors"], strict=True)):
        for number in range(wordings):
            prompt = name_glyph(character, descriptors) if number == 0 else draw(character, descriptors, number, seed)
            indices[row, number] = distinct.setdefault(prompt, len(distinct))
    return list(distinct), indices


def draw(character: str, descriptors: str, number: int, seed: int) -> str:
    """A depiction with some of the descriptors; every character of a typeface has the same, so that prompts are few."""
    words = descriptors.split()
    rng = generator(seed, "base.words", zlib.crc32(descriptors.encode()), number)
    return depict(character, [words[place] for place in rng.permutation(len(words))[:WORDS]])


def known_prompts() -> Iterable[str]:
    """Prompts with every word that those of glyphs have, of all collections and in both wordings."""
    for character in OBJECTS:
        for collection in COLLECTIONS.values():
            for typeface in collection:
                yield name_glyph(character, typeface.descriptors)
        for words in STYLES.values():
            yield depict(character, words)


def make_tokenizer(prompts: Iterable[str], tokens: int) -> Any:
    """A ``CLIPTokenizer`` to which every word of the prompts is one token; of others, their bytes are. ``tokens``: the
    length of what it makes of a prompt."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTokenizer

    reader = CLIPTokenizer().backend_tokenizer
    read = (reader.pre_tokenizer.pre_tokenize_str(reader.normalizer.normalize_str(prompt)) for prompt in prompts)
    merges: Any = learn_merges({text for words in read for text, _ in words})
    letters = sorted(ByteLevel.alphabet())
    pieces = [*letters, *(letter + WORD_END for letter in letters), *map("".join, merges), START, END]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    return CLIPTokenizer(vocabulary, merges, model_max_length=tokens)  # type: ignore[arg-type]  # pairs, though it says not


def learn_merges(words: Set[str]) -> list[tuple[str, str]]:
    """Byte pair encoding (Sennrich et al. 2016) until every word is one piece: the most frequent pair first, of equal
    ones the first in order, which the trainer of ``tokenizers`` does not promise."""
    pieces = [[*text[:-1], text[-1] + WORD_END] for text in sorted(words)]
    merges = []
    while counts := Counter(pair for text in pieces for pair in pairwise(text)):
        merges.append(min(counts, key=lambda pair: (-counts[pair], pair)))
        pieces = [merge(text, merges[-1]) for text in pieces]
    return merges


def merge(pieces: list[str], pair: tuple[str, str]) -> list[str]:
    """The pieces of a word, with one in place of every such pair."""
    merged: list[str] = []
    for piece in pieces:
        if merged and (merged[-1], piece) == pair:
            merged[-1] += piece
        else:
            merged.append(piece)
    return merged
