"""A bank that is made here, and methods that it judges and gathers."""

import json
from pathlib import Path

import pandas as pd
import pytest

from tdattr.errors import UserError
from tdattr.files import digest
from tdattr.protocols.bank_file import FILE, load_bank
from tdattr.protocols.leaderboard import LEADERBOARD, OWN
from tests.bank.command import SMALL, TRAINED, run
from tests.e2e.console import tdattr

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def test_a_bank_is_made_judges_methods_and_gathers_them(tmp_path: Path) -> None:
    run(tmp_path, *SMALL)
    bank = load_bank(tmp_path / "bank")
    assert bank.subsets["0.5"].losses.shape == (3, 2, 40) and bank.subsets["0.95"].losses.shape == (3, 1, 40)
    assert bank.subsets["0.5"].members.shape == (3, round(bank.items / 2))
    assert bank.logo is not None and bank.logo.shape == (2, 40, 10)
    assert not (tmp_path / "bank" / LEADERBOARD).exists()
    content = digest(tmp_path / "bank" / FILE)

    judged = [*TRAINED, "protocol=bank", f"protocol.folder={tmp_path / 'bank'}"]
    for method in ("pixel", "random"):
        done = tdattr(*judged, f"method={method}", folder=tmp_path)
        assert "Retraining" not in done.stderr and "not the bank's" not in done.stderr
        (summary,) = [
            found
            for path in tmp_path.glob("outputs/runs/*/summary.json")
            if (found := json.loads(path.read_text()))["method"] == method
        ]
        assert summary["f1_difference"] < 1e-6 and summary["ranking"] == []
        assert list(summary["bank"]) == ["lds_50", "lds_95", "logo_top_1", "logo_spearman"]

    run(tmp_path, *SMALL)  # nothing is trained again
    assert digest(tmp_path / "bank" / FILE) == content
    table = pd.read_csv(tmp_path / "bank" / LEADERBOARD)
    assert table.groupby("method")["query"].count().to_dict() == {"pixel": 20, "random": 20}
    done = tdattr(*judged, "method=condition", folder=tmp_path)
    assert OWN in done.stderr and "pixel" in done.stderr
    assert OWN in tdattr(*judged, "method=pixel", folder=tmp_path).stderr  # which was judged before

    wrong = tdattr(*judged, "method=pixel", "train.steps=21", folder=tmp_path, check=False)
    assert "was made with train.steps=20, here F1 is trained with train.steps=21: set the former" in wrong.stderr
    assert "Training F1" not in wrong.stderr


def test_a_bank_that_cannot_judge_is_refused(tmp_path: Path) -> None:
    for change, said in {
        "bank.logo.repeats=3": "an even number of repeats",
        "bank.halves.draws=11": "bank.few_removed.draws must be the same",
        "bank.halves.share=0.951": "must differ by a percent or more",
    }.items():
        with pytest.raises(UserError, match=said):
            run(tmp_path, *SMALL, change)
    assert not (tmp_path / "outputs").exists()
