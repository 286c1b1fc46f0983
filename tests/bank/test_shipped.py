"""The banks that come with the package: small, and of what the configuration trains now."""

from pathlib import Path

import pytest

import tdattr
from tdattr.pipeline.train import describe_training
from tdattr.protocols.bank import find_differences
from tdattr.protocols.bank_file import BANKS, FILE, load_bank
from tdattr.protocols.leaderboard import LEADERBOARD, load_leaderboard

SHIPPED = sorted(path.parent.name for path in BANKS.glob(f"*/{FILE}"))
MOST_BYTES = 3_000_000


def test_the_default_dataset_has_a_bank() -> None:
    assert "glyph_digits" in SHIPPED


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_bank_is_of_what_is_trained_now(name: str, tmp_path: Path) -> None:
    ws = tdattr.compose([f"dataset={name}", "protocol=bank", "method=pixel", f"paths.outputs={tmp_path}"])
    bank = load_bank(BANKS / name)
    assert list(find_differences(bank.training, describe_training(ws))) == []
    assert sum(path.stat().st_size for path in (BANKS / name).iterdir()) < MOST_BYTES


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_leaderboard_has_the_banks_queries(name: str) -> None:
    table = load_leaderboard(BANKS / name)
    assert table is not None and "random" in set(table["method"]), f"{name} has no {LEADERBOARD}"
    assert set(table.groupby("method")["query"].count()) == {20}
