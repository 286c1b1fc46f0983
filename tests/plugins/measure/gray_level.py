"""A measure of one's own: how alike two images are in their mean gray level."""

from dataclasses import dataclass

from tdattr.features import Setting
from tdattr.metrics.similarity import Compare, Measure


@dataclass(frozen=True)
class GrayLevel(Measure):
    """1 - the difference of the mean gray levels, as a share of ``scale``; 1 = the same level."""

    scale: float

    def load(self, setting: Setting) -> Compare:
        """Nothing is loaded: images are [pair, channel, height, width] in [-1, 1], and a pair gives one number."""
        return lambda first, second: 1 - (first - second).mean((1, 2, 3)).abs() / self.scale
