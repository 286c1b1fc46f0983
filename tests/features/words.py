"""A text encoder without weights: a fixed direction for each word, summed."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from tdattr.data.preparation import Encode
from tdattr.features.text import TextEncoder
from tdattr.seeding import generator, normal


@dataclass(frozen=True)
class Words(TextEncoder):
    """Vectors of length 1; words in another order give the same."""

    name: str = "words"
    width: int = 12

    def identity(self) -> Mapping[str, str]:
        return {}

    def load(self, device: torch.device) -> Encode:
        return lambda texts: np.stack([self.vector(text) for text in texts])

    def vector(self, text: str) -> Any:
        words = re.findall(r"[\w-]+", text)
        total = sum((normal(generator(0, word), self.width) for word in words), torch.zeros(self.width))
        return torch.nn.functional.normalize(total, dim=0).numpy()


@dataclass(frozen=True)
class SameWords(Words):
    """Another encoder, which happens to give the same vectors."""

    def identity(self) -> Mapping[str, str]:
        return {"weights": "others"}


SAME = "{_target_: tests.features.words.SameWords, name: words, width: 12}"
NODE = "{_target_: tests.features.words.Words, name: words, width: 12}"
