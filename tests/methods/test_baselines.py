"""The methods without a model: random and pixel similarity."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics.pairwise import cosine_similarity

from tdattr.data.prepared import Prepared
from tdattr.errors import UserError
from tdattr.methods import Context, MethodSetup, pixel
from tdattr.methods.condition import Condition
from tdattr.methods.pixel import Pixel
from tdattr.methods.random import Random
from tests.contexts import IDS, with_queries
from tests.features.words import Words


def test_random_scores_are_a_function_of_seed_and_query_alone(context: Context) -> None:
    scorer = Random("random").start(context)
    scores = [scorer(query).scores for query in range(4)]
    assert all(s.shape == (8,) and s.dtype == torch.float32 and 0 <= s.min() < s.max() < 1 for s in scores)
    assert torch.equal(scorer(2).scores, scores[2])
    fewer = with_queries(context, images=context.queries.images[3:])
    assert torch.equal(Random("random").start(fewer)(3).scores, scores[3])
    everything = torch.stack([*scores, *(Random("random").start(replace(context, seed=6))(q).scores for q in range(4))])
    assert torch.pdist(everything).min() > 0.1


def test_random_scores_are_uniform_and_independent(context: Context) -> None:
    scorer = Random("random").start(replace(context, ids=np.arange(20_000)))
    scores = torch.stack([scorer(query).scores for query in range(4)]).numpy()
    assert all(stats.kstest(row, "uniform").pvalue > 1e-3 for row in scores)
    assert np.abs(np.corrcoef(scores)[np.triu_indices(4, 1)]).max() < 4 / 20_000**0.5


@pytest.mark.parametrize("zero", [0.0, -1.0, 0.3])
@pytest.mark.parametrize("block", [3, 4096])
def test_pixel_scores_are_cosines(context: Context, monkeypatch: pytest.MonkeyPatch, zero: float, block: int) -> None:
    monkeypatch.setattr(pixel, "BLOCK", block)
    scorer = Pixel("pixel", zero).start(context)
    vectors = context.data.train.pixels[IDS].reshape(8, 64).astype(float) / 127.5 - 1 - zero
    queries = context.queries.images.flatten(1).double().numpy() - zero
    found = torch.stack([scorer(query).scores for query in range(4)])
    np.testing.assert_allclose(found, cosine_similarity(queries, vectors), atol=1e-5)


def test_pixel_similarity_finds_a_copy(context: Context) -> None:
    images = context.data.train.images(IDS[[6, 1]])
    scorer = Pixel("pixel", 0.0).start(with_queries(context, images=images))
    for query, place in ((0, 6), (1, 1)):
        scores = scorer(query).scores
        assert scores.argmax() == place
        assert scores.max() == pytest.approx(1, abs=1e-5)


def test_they_serve_everything(make_setup: Callable[..., MethodSetup]) -> None:
    Random("random").check(make_setup(items=1))
    Pixel("pixel", 0.0).check(make_setup(items=1))


def test_labels_and_prompts_that_the_queries_lack_are_refused(
    make_setup: Callable[..., MethodSetup], tiny_data: Prepared
) -> None:
    """As are those of pictures, which are no items: their scores would end in a KeyError."""
    items = tiny_data.train.items.assign(kind="x", prompt="a cat")
    data = replace(tiny_data, train=replace(tiny_data.train, items=items, conditions=None))
    labels = Condition("condition", "kind", None)
    labels.check(make_setup(data=data))
    labels.check(make_setup(data=data, query_fields=["name", "kind"]))
    with pytest.raises(UserError, match="method.labels=kind is not known of the queries"):
        labels.check(make_setup(data=data, query_fields=["name"]))
    with pytest.raises(UserError, match="compares prompts, which the queries lack: set method.text=null"):
        Condition("condition", None, Words()).check(make_setup(data=data, query_fields=["name"]))
