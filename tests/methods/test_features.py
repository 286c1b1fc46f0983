"""Feature and condition similarity: cosines, of the items that F1 has seen."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import cosine_similarity

from tdattr.data.prepared import Prepared
from tdattr.errors import UserError
from tdattr.features.tokens import Tokens
from tdattr.methods import Context, MethodSetup
from tdattr.methods.condition import Condition
from tdattr.methods.features import Features
from tests.contexts import IDS, with_queries
from tests.features.words import Words
from tests.methods.plain import Rows


def test_feature_scores_are_cosines_of_the_items_that_f1_has_seen(context: Context) -> None:
    scorer = Features("features", Rows()).start(context)
    items = context.data.train.images(IDS).mean((1, 3))
    found = torch.stack([scorer(query).scores for query in range(4)])
    np.testing.assert_allclose(found, cosine_similarity(context.queries.images.mean((1, 3)), items), atol=1e-5)


def test_condition_scores_are_cosines_of_the_first_captions(context: Context) -> None:
    queries = torch.tensor([[1.0, 0, 0, 0], [0, 2.0, 2.0, 0]])
    two = with_queries(context, images=context.queries.images[:2], conditions=queries)
    scorer = Condition("condition", None, None).start(two)
    assert context.data.train.conditions is not None
    expected = cosine_similarity(queries, context.data.train.conditions[IDS, 0])
    np.testing.assert_allclose(torch.stack([scorer(0).scores, scorer(1).scores]), expected, atol=1e-6)


def test_what_they_serve(make_setup: Callable[..., MethodSetup], tiny_data: Prepared) -> None:
    Features("features", Rows()).check(make_setup(items=1))
    Condition("condition", None, None).check(make_setup(items=1))
    bare = replace(tiny_data, train=replace(tiny_data.train, conditions=None))
    with pytest.raises(UserError, match=r"method=condition .* dataset.source.condition"):
        Condition("condition", None, None).check(make_setup(data=bare, items=1))


def test_labels_stand_for_conditions_that_a_model_has_not(
    context: Context, make_setup: Callable[..., MethodSetup], tiny_data: Prepared
) -> None:
    bare = replace(tiny_data, train=replace(tiny_data.train, conditions=None))
    scorer = Condition("condition", "label", None).start(replace(context, data=bare))
    labels, wanted = tiny_data.train.items["label"].to_numpy()[IDS], context.queries.items["label"].to_numpy()
    for query in range(4):
        assert scorer(query).scores.tolist() == [float(label == wanted[query]) for label in labels]
    with pytest.raises(UserError, match=r"method.labels=colour is no field of the items: choose one of label"):
        Condition("condition", "colour", None).check(make_setup(data=bare, items=1))
    Condition("condition", "label", None).check(make_setup(data=bare, items=1))


def test_prompts_are_compared_where_conditions_are_token_ids(
    context: Context, make_setup: Callable[..., MethodSetup], tiny_data: Prepared
) -> None:
    prompts = np.array([f"{colour} {kind}" for colour in ("red", "blue", "green") for kind in ("cat", "dog")] * 8)
    data = replace(tiny_data, train=replace(tiny_data.train, items=tiny_data.train.items.assign(prompt=prompts)))
    asked = ["blue dog", "a green cat", "red cat", "something"]
    queries = replace(context.queries, items=context.queries.items.assign(prompt=asked))
    method, encode = Condition("condition", None, Words()), Words().load(torch.device("cpu"))
    scorer = method.start(replace(context, data=data, queries=queries))
    found = torch.stack([scorer(query).scores for query in range(4)])
    np.testing.assert_allclose(found, encode(asked) @ encode(prompts[IDS].tolist()).T, atol=1e-5)
    assert set(prompts[IDS][found[0] > 0.999]) == {"blue dog"}
    method.check_text(Tokens("tokens", None, False))
    Condition("condition", None, None).check_text(Words())
    with pytest.raises(UserError, match=r"method=condition compares prompts, which the items lack"):
        method.check(make_setup(items=1))
    with pytest.raises(UserError, match=r"conditions are token ids: choose .*text@method.text=pipeline"):
        Condition("condition", None, None).check_text(Tokens("tokens", None, False))
