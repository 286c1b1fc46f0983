"""A dataset of one's own: stripes, upright or lying."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tdattr.data.prepared import Example, Source, one_hot

KINDS = ("upright", "lying")


@dataclass(frozen=True)
class Stripes(Source):
    """``items`` images of 8 x 8 pixels, gray; the condition is the kind, which is also a field to make groups of."""

    items: int

    def fingerprint(self) -> dict[str, str]:
        """All that the images depend on is in the config: there are no files."""
        return {}

    def count(self, split: str) -> int:
        """An eighth as many test items."""
        return self.items if split == "train" else self.items // 8

    def examples(self, split: str) -> Iterator[Example]:
        """Both kinds in turn, with some noise."""
        for index in range(self.count(split)):
            rng = np.random.default_rng([index, len(split)])
            rows = np.tile(200 * (np.arange(8) % 2), (8, 1)) + rng.integers(0, 50, (8, 8))
            image = (rows if index % 2 == 0 else rows.T).astype(np.uint8)
            kind = KINDS[index % 2]
            yield Example(image[..., None], one_hot(index % 2, 2), prompts=(f"{kind} stripes",), fields={"kind": kind})
