"""Group similarity worked out by hand: an extractor that knows a vector for every picture."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from tdattr.data.prepared import Prepared
from tdattr.features import Embed, Extractor, Setting
from tdattr.methods import Context
from tdattr.methods.group_similarity import GroupSimilarity
from tdattr.seeding import generator, normal

GROUPS = {"north": np.array([2, 3, 5]), "mixed": np.array([7, 11])}
ITEMS = {2: (3.0, 0.0), 3: (0.0, 2.0), 5: (0.0, 5.0), 7: (4.0, 3.0), 11: (-1.0, 0.0)}  # lengths do not matter
QUERIES = [(2.0, 0.0), (3.0, 4.0)]
# the mean unit vectors are (1/3, 2/3) and (-0.1, 0.3), those of the first two of each group (0.5, 0.5) and (-0.1, 0.3)
EXPECTED = {None: [[1 / 3, -0.1], [0.6 / 3 + 1.6 / 3, -0.06 + 0.24]], 2: [[0.5, -0.1], [0.3 + 0.4, 0.18]]}


@dataclass(frozen=True)
class Lookup(Extractor):
    """An extractor that knows the vectors of some pictures; all others have (1, 1)."""

    vectors: Mapping[str, tuple[float, float]]
    name: str = "lookup"

    def load(self, setting: Setting) -> Embed:
        return lambda images: torch.tensor([self.vectors.get(key(image), (1.0, 1.0)) for image in images])


def key(image: Tensor) -> str:
    return image.numpy().tobytes().hex()


@pytest.fixture
def context(make_context: Callable[..., Context]) -> Context:
    images = torch.tanh(normal(generator(0, "test.queries"), 2, 1, 8, 8))
    return make_context(images=images, groups=lambda: GROUPS)


@pytest.mark.parametrize("images", EXPECTED)
def test_scores_are_mean_cosines(context: Context, tiny_data: Prepared, images: int | None) -> None:
    items = zip(tiny_data.train.images(np.array(list(ITEMS))), ITEMS.values(), strict=True)
    known = {key(image): vector for image, vector in [*items, *zip(context.queries.images, QUERIES, strict=True)]}
    scorer = GroupSimilarity("group_similarity", Lookup(known), images).start(context)
    scores = torch.stack([scorer(query).scores for query in range(2)])
    np.testing.assert_allclose(scores, EXPECTED[images], atol=1e-6)


def test_more_images_than_a_group_has_are_all_of_them(context: Context) -> None:
    all_of_them, more = (GroupSimilarity("x", Lookup({}), images).start(context) for images in (None, 1000))
    assert torch.equal(all_of_them(0).scores, more(0).scores)
