"""Image change worked out by hand: every image is of one gray level, which the removal of a group changes."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from tdattr.counterfactuals import Generated
from tdattr.methods import Context
from tdattr.methods.logo_images import LOGOImages
from tdattr.metrics.similarity import MSE

GROUPS = {"round": np.array([2, 3, 5]), "square": np.array([7, 11])}
LEVELS = (0.0, 0.5, -1.0)
WITHOUT = {"round": (0.2, -0.5, 1.0), "square": (0.0, 1.0, -1.0)}
EXPECTED = [[0.01, 0.0], [0.25, 0.0625], [1.0, 0.0]]  # ((a - b) / 2)²


def gray(levels: tuple[float, ...]) -> Tensor:
    return torch.tensor(levels)[:, None, None, None].expand(-1, 1, 8, 8)


def test_scores_are_how_far_the_image_of_the_same_seed_changes(make_context: Callable[..., Context]) -> None:
    calls: list[list[str]] = []

    def name(ids: np.ndarray) -> str:
        return next(group for group, members in GROUPS.items() if np.array_equal(ids, members))

    def regenerate(removals: list[np.ndarray]) -> list[Generated]:
        calls.append([name(ids) for ids in removals])
        return [Generated(gray((9.0, *WITHOUT[name(ids)], 9.0)), name(ids)) for ids in removals]

    context = make_context(images=gray(LEVELS), groups=lambda: GROUPS, regenerate=regenerate)
    explained = replace(context.queries, indices=slice(1, 4))  # of five images that were generated
    scorer = LOGOImages("logo_images", MSE()).start(replace(context, queries=explained))
    assert calls == [["round", "square"]]  # in one call, so that jobs share the trainings out
    results = [scorer(query) for query in range(3)]
    np.testing.assert_allclose(torch.stack([result.scores for result in results]), EXPECTED, atol=1e-6)
    assert {result.facts["training_steps"] for result in results} == {2 * context.train.steps}
    assert len(calls) == 1
