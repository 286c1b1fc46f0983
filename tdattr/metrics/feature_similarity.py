"""Similarity in the space of a feature extractor: SSCD, CLIP, DINO, or the classifier of the dataset's groups."""

from collections.abc import Mapping
from dataclasses import dataclass

from tdattr.features import Extractor, Setting, unit_vectors
from tdattr.metrics.similarity import Compare, Measure


@dataclass(frozen=True)
class FeatureSimilarity(Measure):
    """The cosine of the two images' vectors; 1 = identical."""

    extractor: Extractor

    def identity(self, setting: Setting) -> Mapping[str, str]:
        """That of the extractor."""
        return dict(self.extractor.identity(setting))

    def load(self, setting: Setting) -> Compare:
        """Loads the extractor."""
        embed = self.extractor.load(setting)
        return lambda first, second: (unit_vectors(embed, first, setting) * unit_vectors(embed, second, setting)).sum(1)
