"""Text encoders: from prompts to the conditions of a dataset, or to vectors by which words are compared."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch

from tdattr.configs import Node
from tdattr.data.preparation import Encode
from tdattr.networks import NetworkConfig


class TextEncoder(Node, ABC):
    """A ``text`` config node. ``width``: how many numbers stand for a text, for plan=true without the weights;
    ``kind``: of which type."""

    kind: ClassVar[Any] = np.float32

    name: str
    width: int

    @property
    def gives_ids(self) -> bool:
        """Whether what stands for a text is token ids, which are no vector."""
        return np.issubdtype(self.kind, np.integer)

    def check_network(self, model: NetworkConfig) -> None:
        """Raise UserError where a network cannot be told what it makes of prompts; before the dataset is prepared."""
        return

    def check(self, prompts: Iterable[str]) -> None:
        """Raise UserError where one of all prompts of a dataset is none that can be encoded; before any is."""
        return

    def measure(self, texts: Sequence[str]) -> list[int]:
        """How long each is of what ``check`` takes only so much; 0: it takes any."""
        return [0] * len(texts)

    @abstractmethod
    def identity(self) -> Mapping[str, str]:
        """What its numbers depend on besides the node's own values, such as the digests of weight files.

        Raises UserError, saying which file is expected where and how to fetch it, where one is missing.
        """

    @abstractmethod
    def load(self, device: torch.device) -> Encode:
        """The function from texts to one array each, all of one shape. Raises UserError for damaged files."""
