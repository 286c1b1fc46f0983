"""Token ids as conditions: what a Stable Diffusion is told of a prompt, whose network holds the text encoder."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Int

from tdattr.data.preparation import Encode
from tdattr.errors import UserError
from tdattr.features.text import TextEncoder
from tdattr.networks import NetworkConfig
from tdattr.networks.clip_tokenizer import gives_same_ids, tokenize
from tdattr.networks.stable_diffusion_folder import find_tokenizer, identify_tokenizer, load_tokenizer
from tdattr.wording import counted, excerpt

log = logging.getLogger(__name__)
SETTING = "dataset.text.weights"
TOGETHER = 4096  # prompts that are checked at a time


@dataclass(frozen=True)
class Tokens(TextEncoder):
    """The token ids of prompts by the tokenizer of a pipeline, padded to the number that its text encoder takes.

    ``weights``: the folder or hub id of the pipeline. ``truncate``: prompts of more tokens are cut to it, with a
    warning, instead of refused.
    """

    unaddressed: ClassVar = ("name", "weights", "truncate")  # what is refused is not stored
    kind: ClassVar = np.int32

    name: str
    weights: str | None
    truncate: bool

    def find(self) -> tuple[Path, tuple[str, ...]]:
        """The folder of the pipeline, and the files of its tokenizer there. Raises UserError where they are missing."""
        if self.weights is None:
            raise UserError(
                "+text@dataset.text=tokens needs a tokenizer: choose model=sd15, or set dataset.text.weights."
            )
        return find_tokenizer(self.weights, SETTING)

    def tokenizer(self) -> Any:
        """Of the pipeline. Raises UserError where it is missing or damaged."""
        return load_tokenizer(self.find()[0])

    @property
    def width(self) -> int:  # type: ignore[override]  # the tokenizer says it
        """The tokens of a prompt."""
        return int(self.tokenizer().model_max_length)

    def identity(self) -> Mapping[str, str]:
        """The digest of every file of the tokenizer; of a hub repository's one of what it computes."""
        self.find()
        assert self.weights is not None
        return identify_tokenizer(self.weights, SETTING)

    def check_network(self, model: NetworkConfig) -> None:
        """The network must be told token ids, and by a tokenizer that gives the same."""
        if model.tokenizer is None:
            raise UserError(
                "+text@dataset.text=tokens gives token ids, which this model is not told: choose model=sd15 or another "
                "text, such as +text@dataset.text=clip_l14."
            )
        own = find_tokenizer(model.tokenizer, "model.weights")[0]
        if own != self.find()[0] and not gives_same_ids(self.tokenizer(), load_tokenizer(own)):
            raise UserError(
                f"The tokenizer of {SETTING}={self.weights} gives other token ids than that of "
                f"model.weights={model.tokenizer}, which the model reads: leave {SETTING} out."
            )

    def check(self, prompts: Iterable[str]) -> None:
        """Raise UserError where prompts have more tokens than the text encoder takes, or warn of them where they are to
        be cut."""
        tokenizer = self.tokenizer()
        cut, count, first = 0, 0, ""
        remaining = iter(prompts)
        while some := list(islice(remaining, TOGETHER)):
            too_long = find_long(tokenizer, some)
            first = first or next(iter(too_long), "")
            cut, count = cut + len(too_long), count + len(some)
        if not cut:
            return
        message = (
            f"{cut} of {counted(count, 'prompt')} {'has' if cut == 1 else 'have'} more than the {self.width} tokens "
            "that the text encoder takes"
        )
        if not self.truncate:
            raise UserError(
                f"{message}: shorten what is too long, or have it cut with dataset.text.truncate=true. The first is "
                f"{excerpt(first)}."
            )
        log.warning("%s and will be cut, the first: %s", message, excerpt(first))

    def measure(self, texts: Sequence[str]) -> list[int]:
        """The tokens of each, with those at its start and end."""
        return count_tokens(self.tokenizer(), texts) if texts else []

    def load(self, device: torch.device) -> Encode:
        """A function from texts to int32 [text, tokens]. It raises UserError where one would have to be cut and must
        not be."""
        tokenizer = self.tokenizer()

        def encode(texts: list[str]) -> Int[np.ndarray, "text tokens"]:
            if not self.truncate:
                self.check(texts)
            return tokenize(tokenizer, texts)

        return encode


def find_long(tokenizer: Any, texts: list[str]) -> list[str]:
    """The texts that have more tokens than the text encoder takes."""
    lengths = count_tokens(tokenizer, texts)
    return [text for text, length in zip(texts, lengths, strict=True) if length > tokenizer.model_max_length]


def count_tokens(tokenizer: Any, texts: Sequence[str]) -> list[int]:
    """The number of tokens of each text."""
    return list(map(len, tokenizer(list(texts), truncation=False, verbose=False)["input_ids"]))
