"""Scores, images and similarities that are not finite end a run with a sentence that says what to change."""

from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

import tdattr
from tdattr.errors import UserError
from tdattr.features import Setting, embed_batches
from tdattr.files import to_json
from tdattr.metagradients.describe import tell_smoothness
from tdattr.methods import Method, Scored
from tdattr.methods.abu import AbU
from tdattr.methods.das import DAS
from tdattr.methods.forward_inf import ForwardINF
from tdattr.methods.guda import GUDA
from tdattr.methods.metagradient import Metagradient
from tdattr.methods.mucs import MUCS
from tdattr.methods.output.loss import LossOutput
from tdattr.methods.smoothness import SmoothnessConfig
from tdattr.methods.trak import Trak
from tdattr.pipeline.counterfactuals import WorkspaceCounterfactuals
from tdattr.pipeline.evaluate import VERDICT, read_verdict
from tdattr.pipeline.generate import check_sampled
from tdattr.pipeline.scored import check_scored
from tdattr.pipeline.workspace import Workspace
from tests.contexts import unused
from tests.e2e.console import TINY

HUGE = 1e39  # finite in double precision, in which some methods score, and not in that of stored scores


class Judged(Method):
    """A method of which only its scores are looked at."""

    name = "judged"
    grid: ClassVar[list[float] | None] = None
    start = unused

    @property
    def dampings(self) -> list[float] | None:
        return self.grid


class Damped(Judged):
    """One with two dampings."""

    grid: ClassVar = [0.5, 20.0]
    remedy = Trak.remedy


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, HUGE])
def test_scores_that_are_not_finite_where_they_are_stored_are_refused(bad: float) -> None:
    scores = torch.tensor([1.0, bad, 2.0], dtype=torch.float64)
    with pytest.raises(UserError, match=r"^judged gave 1 of 3 scores of a query that are not finite: look for"):
        check_scored(Scored(scores), Judged(), 3)
    both = torch.stack([torch.ones(3, dtype=torch.float64), scores])
    with pytest.raises(UserError, match=r"1 of 6 .* not finite, under the dampings 20: raise method.damping\.$"):
        check_scored(Scored(both), Damped(), 3)
    check_scored(Scored(scores.nan_to_num(0, 0, 0).clamp(-1, 1)), Judged(), 3)


def test_a_growth_that_is_not_finite_is_warned_of_in_the_summary_too(tmp_path: Path) -> None:
    (tmp_path / VERDICT).write_text(to_json({"facts": {"growth": np.inf, "smoothness": 0.9, "replay_difference": 0.0}}))
    facts = read_verdict(tmp_path)["facts"]
    assert facts["smoothness"] == 0.9 and np.isnan(facts["growth"])
    method = Metagradient("metagradient", LossOutput("loss", 2, "training"), "empty", 10.0, SmoothnessConfig(0.1, 0.5))
    [said] = method.warn(facts)
    assert "is not smooth in its data" in said and "grow up to nan times" in tell_smoothness(facts)[0]


@pytest.mark.parametrize("method", [MUCS, AbU, ForwardINF, GUDA, DAS, Trak])
def test_methods_that_may_diverge_name_a_setting(method: type[Method]) -> None:
    words = method.remedy.split()
    setting = next(word for word in words if word.startswith("method.")).strip(",")
    assert words[0] in ("raise", "lower")
    assert setting.split(".")[1] in method.__dataclass_fields__  # type: ignore[attr-defined]


def test_features_that_are_not_finite_are_refused(setting: Setting) -> None:
    images = torch.zeros(3, 1, 8, 8)
    with pytest.raises(UserError, match=r"^A feature extractor gives vectors that are not finite"):
        list(embed_batches(lambda images: images.flatten(1) / 0, images, setting))


@pytest.fixture(scope="module")
def ws(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return tdattr.compose([*TINY, "method=pixel", f"paths.outputs={tmp_path_factory.mktemp('finite')}"])


@pytest.mark.slow
def test_images_that_are_not_finite_are_refused(ws: Workspace) -> None:
    with pytest.raises(
        UserError, match=r"^diffusion=edm generates images that are not finite: lower queries.guidance,"
    ):
        check_sampled(ws, torch.full((2, 1, 8, 8), torch.inf))


@pytest.mark.slow
def test_similarities_that_are_not_finite_are_refused(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    (measure,) = ws.measures.values()
    monkeypatch.setattr(type(measure), "load", lambda *_: lambda first, second: first.flatten(1).mean(1) / 0)
    models = WorkspaceCounterfactuals(ws, frozenset({"measures"}))
    with pytest.raises(UserError, match=r"^The measure ssim gives similarities that are not finite: leave it out of"):
        models.similarities(torch.ones(2, 1, 8, 8), torch.ones(2, 1, 8, 8))
