"""The banks that come with the package: small, and of what the configuration trains now."""

from pathlib import Path

import pytest

import tdattr
from tdattr.metrics.agreement import agreement
from tdattr.pipeline.train import describe_training
from tdattr.protocols.bank import OF_GROUPS, find_differences, name_lds
from tdattr.protocols.bank_file import BANKS, FILE, load_bank
from tdattr.protocols.leaderboard import LEADERBOARD, list_means, load_leaderboard, show

SHIPPED = sorted(path.parent.name for path in BANKS.glob(f"*/{FILE}"))
ROOT = Path(__file__).parents[2]
MOST_BYTES = 3_000_000
CHOICES = {"mixtures": ["experiment=bank_mixtures"]}  # what chooses a bank; of others dataset=NAME protocol=bank


def test_the_default_dataset_has_a_bank() -> None:
    assert "glyph_digits" in SHIPPED


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_bank_is_of_what_is_trained_now(name: str, tmp_path: Path) -> None:
    chosen = CHOICES.get(name, [f"dataset={name}", "protocol=bank"])
    ws = tdattr.compose([*chosen, "method=pixel", f"paths.outputs={tmp_path}"])
    bank = load_bank(BANKS / name)
    assert list(find_differences(bank.training, describe_training(ws))) == []
    assert sum(path.stat().st_size for path in (BANKS / name).iterdir()) < MOST_BYTES


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_leaderboard_has_the_banks_queries(name: str) -> None:
    table = load_leaderboard(BANKS / name)
    assert table is not None and "random" in set(table["method"]), f"{name} has no {LEADERBOARD}"
    assert set(table.groupby("method")["query"].count()) == {20}


def test_the_readme_has_the_leaderboard() -> None:
    folder = BANKS / "glyph_digits"
    known, bank = load_leaderboard(folder), load_bank(folder)
    assert known is not None and bank.logo is not None
    asked = slice(0, known["query"].nunique())
    logo = bank.logo.double().numpy()[:, asked]
    half = len(logo) // 2
    reached = agreement(logo[:half].mean(0), logo[half:].mean(0))
    ceilings = {name_lds(share): subsets.ceiling(asked) for share, subsets in bank.subsets.items()}
    ceilings |= {f"logo_{name}": float(reached[name].mean()) for name in OF_GROUPS}
    table = show(list_means(known, ceilings), "github")
    assert table in (ROOT / "README.md").read_text(), f"put this into the README:\n{table}"


@pytest.mark.parametrize("name", sorted(set(SHIPPED) - {"glyph_digits"}))
def test_the_results_have_the_other_leaderboards(name: str) -> None:
    """But for their first row, the ceilings, which take the dataset where there is truth."""
    known = load_leaderboard(BANKS / name)
    assert known is not None
    lines = [line for line in show(list_means(known, {}), "github").splitlines() if "| retraining " not in line]
    text = (ROOT / "docs" / "results.md").read_text()
    missing = [line for line in lines if line not in text]
    assert not missing, f"put these into docs/results.md: {missing}"
