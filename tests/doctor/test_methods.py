"""What methods take: which overrides are theirs, and how much memory a step has."""

from pathlib import Path

import pytest

import tdattr
from tdattr.costs import Work
from tdattr.doctor.methods import Prices, judge_methods, leave_out, leave_out_method, open_for_method, price_methods
from tdattr.planning.memory import peak, peak_of_batch
from tests.e2e.console import TINY


def test_settings_of_one_method_are_left_out() -> None:
    given = ["method=mucs", "method.unlearn.steps=3", "objective@method.objective=esd", "ablation=block", "seed=2"]
    given += ["~method.unlearn", "train.steps=4", "methods=1"]
    assert leave_out_method(given) == ["seed=2", "train.steps=4", "methods=1"]
    assert leave_out(["protocol=lds", "protocol.share=0.5", "seed=1"], "protocol") == ["seed=1"]


@pytest.mark.slow
def test_methods_are_priced_by_their_steps(tmp_path: Path) -> None:
    given = [*TINY, f"paths.outputs={tmp_path}"]
    tdattr.compose([*given, "method=pixel"]).data  # noqa: B018
    prices = Prices()
    priced = {}
    for name in ("pixel", "tracin", "forward_inf", "logo"):
        ws, own = open_for_method([*given, f"method={name}"])
        priced[name] = prices.price(name, ws, own)
    assert priced["logo"].scores == "groups" and priced["pixel"].scores == "items"
    assert priced["pixel"].memory is None and priced["pixel"].row.seconds == 0
    assert not any("F1" in entry.cost.what for each in priced.values() for entry in each.row.entries if entry.cost)
    weights = ws.weight_bytes
    unlearned, gradients = priced["forward_inf"].memory, priced["tracin"].memory
    assert unlearned is not None and gradients is not None
    assert unlearned > 2 * weights + 3 * weights  # with gradients and the optimiser's two moments
    assert gradients > len(ws.ids) * weights  # which are held to be projected together
    assert prices.memory(ws, Work(evaluations=1)) in range(weights, unlearned)
    measured = prices.estimates.measured[ws.size]
    for make, batch in ((measured.training_step, ws.train.batch_size), (measured.gradients, 5)):
        reckoned = peak_of_batch(make, batch, ws.device)
        assert reckoned == pytest.approx(peak(make()(batch), ws.device), rel=0.15)
    assert not (tmp_path / "artifacts" / "pretrain").exists()


@pytest.mark.slow
def test_what_cannot_run_says_why_and_the_rest_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tdattr.doctor.methods.load_group", lambda group: ["mucs", "dino", "guda_c", "condition"])
    given = [*TINY, "dataset.source.condition=none", "dataset.recipe.guidance=null", f"paths.outputs={tmp_path}"]
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    priced = list(price_methods([*given, "method=condition"], "condition"))
    assert [each.name for each in priced] == ["condition", "mucs", "dino", "guda_c"]
    finding, [times, refused] = judge_methods(priced, 3)
    assert finding.verdict == "look" and finding.remedy == "another one: method=mucs"
    assert finding.said.startswith("method=condition cannot run here: method=condition compares conditions")
    assert [row["method"] for row in times.rows] == ["mucs"]
    assert "hf download timm/vit_base_patch14_dinov2.lvd142m" in str(refused.rows[1]["why"])
