"""GUDA's scores by hand; its objectives, unlearning and bound have tests of their own."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tdattr import files
from tdattr.errors import UserError
from tdattr.methods import Context, guda
from tdattr.methods.guda import GUDA
from tdattr.store import Store
from tdattr.unlearning.objectives.finetune import Finetune
from tdattr.unlearning.objectives.gradient_ascent import GradientAscent
from tests.contexts import IDS, keep
from tests.methods.known import DIFFUSION, ELBO, IMAGES, QUERIES, Models, Unlearning, total
from tests.methods.unlearning import UNLEARN

GROUPS = {"round": np.array([2, 3, 5, 7, 11]), "square": np.array([13, 17, 47])}
F1 = torch.tensor([0.5, 0.0, 1.0, 0.2])
AFTER = {5: torch.tensor([0.7, 0.1, 1.0, 0.0]), 3: torch.tensor([0.5, 2.0, -3.0, 0.2])}  # by the size of the group


def method(weight_by_size: bool = False, **changes: Any) -> GUDA:
    plain = GUDA("guda", GradientAscent("gradient_ascent", 0.06), UNLEARN, None, weight_by_size, ELBO)
    return replace(plain, **changes)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store", "cpu")


@pytest.fixture
def models() -> Models:
    return Models()


@pytest.fixture
def context(make_context: Callable[..., Context], store: Store, models: Models) -> Context:
    """Four queries, an F1 that is a little off for three of them, and two groups."""
    plain = make_context(
        images=IMAGES, conditions=torch.eye(QUERIES), diffusion=DIFFUSION, groups=lambda: GROUPS, plan=keep(store)
    )
    return replace(plain, f1=models.make("f1", F1))


@pytest.fixture
def unlearning(monkeypatch: pytest.MonkeyPatch) -> Unlearning:
    stand_in = Unlearning(lambda ids: AFTER[len(ids)])
    monkeypatch.setattr(guda, "unlearn_group", stand_in)
    return stand_in


def scores(wanted: GUDA, context: Context) -> torch.Tensor:
    scorer = wanted.start(context)
    return torch.stack([scorer(query).scores for query in range(QUERIES)])


def test_scores_are_how_much_the_bound_loses(context: Context, unlearning: Unlearning) -> None:
    """64 (b_g² - b_1²) Σ (SNR(t-1) / SNR(t) - 1) / 2: whatever the noise, the networks miss it by b."""
    found = scores(method(), context)
    expected = torch.stack([total(AFTER[len(ids)]) - total(F1) for ids in GROUPS.values()], dim=1)
    assert expected[1].min() > 0 and expected[3, 0] < 0 and expected[3, 1] == 0
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_what_is_unlearned_and_what_is_kept_are_f1s_items(context: Context, unlearning: Unlearning) -> None:
    assert method().start(context)(0).facts == {"training_steps": 8.0}  # nothing is said of a loss that was not logged
    assert [step.forgotten.tolist() for _, step in unlearning.calls] == [ids.tolist() for ids in GROUPS.values()]
    for _, step in unlearning.calls:
        assert step.retained.tolist() == np.setdiff1d(IDS, step.forgotten).tolist()


def test_weights_are_on_the_disk_once_they_are_kept(
    context: Context, unlearning: Unlearning, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint may follow, from which the next attempt goes on without keeping them again."""
    synced: list[str] = []
    monkeypatch.setattr(files, "sync", lambda path: synced.append(path.name))
    scores(method(unlearn=replace(UNLEARN, kept=[2])), context)
    assert [name.partition(".")[0] for name in synced if ".safetensors" in name and name.endswith(".new")] == [
        "step_2",
        "step_4",
    ] * len(GROUPS)


def test_the_growth_of_the_retained_loss_is_a_mean_over_groups(context: Context, unlearning: Unlearning) -> None:
    unlearning.retained = [2.0] * 50 + [3.0] * 50
    facts = method(unlearn=replace(UNLEARN, steps=100)).start(context)(0).facts
    assert facts == {"training_steps": 200.0, "retained_loss_growth": 1.5}


def test_nothing_is_unlearned_or_loaded_twice(
    context: Context, unlearning: Unlearning, models: Models, store: Store
) -> None:
    first = scores(method(), context)
    assert (len(unlearning.calls), models.loaded) == (2, ["f1"] * 5)  # for its bound, to unlearn, and to load into
    assert torch.equal(scores(method(), context), first)
    assert (len(unlearning.calls), len(models.loaded)) == (2, 5)
    scores(method(elbo=replace(ELBO, draws=1)), context)  # another bound of the same models
    assert (len(unlearning.calls), len(models.loaded)) == (2, 8)
    assert sum(name.startswith("elbo/") for name in store.built) == 6


def test_one_unlearning_is_scored_at_several_of_its_points(
    context: Context, unlearning: Unlearning, store: Store
) -> None:
    unlearn = replace(UNLEARN, kept=[2, 1])
    expected = torch.stack([total(AFTER[len(ids)]) for ids in GROUPS.values()], dim=1)
    for scored, share in ((1, 0.25), (2, 0.5), (4, 1.0), (None, 1.0)):
        wanted = method(unlearn=unlearn, scored=scored)
        torch.testing.assert_close(
            scores(wanted, context), share**2 * expected - total(F1)[:, None], rtol=1e-4, atol=1e-4
        )
        assert wanted.start(context)(0).facts == {"training_steps": 2.0 * (scored or 4)}
    assert len(unlearning.calls) == len(GROUPS)
    folders = [folder for folder in (store.root / "unlearn").iterdir() if folder.is_dir()]
    for folder in folders:
        weights = {f"step_{point}.safetensors" for point in (1, 2, 4)}
        assert {path.name for path in folder.glob("*.safetensors")} == weights
    assert len(folders) == len(GROUPS)


def test_the_growth_of_the_retained_loss_is_that_before_the_point_that_is_scored(
    context: Context, unlearning: Unlearning
) -> None:
    unlearning.retained = [2.0] * 50 + [3.0] * 50
    unlearn = replace(UNLEARN, steps=100, kept=[50])
    grown = [method(unlearn=unlearn, scored=scored).start(context)(0).facts for scored in (50, 100)]
    assert [facts["retained_loss_growth"] for facts in grown] == [1.0, 1.5]


def test_a_point_that_is_not_kept_cannot_be_scored() -> None:
    for unlearn, scored, kept in ((UNLEARN, 2, r"\[4\]"), (replace(UNLEARN, kept=[1, 2]), 3, r"\[1, 2, 4\]")):
        message = rf"^method\.scored={scored} is not among the steps whose weights are kept, {kept}: add it"
        with pytest.raises(UserError, match=message):
            method(unlearn=unlearn, scored=scored)


def test_the_weight_is_that_of_an_average_group(context: Context, unlearning: Unlearning) -> None:
    method(weight_by_size=True).start(context)
    method().start(context)
    weights = [objective.weight for objective, _ in unlearning.calls]
    assert weights == pytest.approx([0.06 * 5 / 4, 0.06 * 3 / 4, 0.06, 0.06])


@pytest.mark.parametrize(("size", "weight"), [(20, 0.06), (40, 0.12), (5, 0.015)])
def test_a_weight_grows_with_the_share(size: int, weight: float) -> None:
    found = GradientAscent("gradient_ascent", 0.06).scale_weight(size / 20.0)
    assert found == GradientAscent("gradient_ascent", found.weight) and found.weight == pytest.approx(weight)


def test_an_objective_without_a_weight_stays_as_it_is() -> None:
    assert Finetune("finetune").scale_weight(2.0) == Finetune("finetune")
