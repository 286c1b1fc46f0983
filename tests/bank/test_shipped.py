"""The banks that come with the package: small, and of what the configuration trains now."""

from pathlib import Path

import pytest

import tdattr
from tdattr.errors import UserError
from tdattr.pipeline.train import describe_training
from tdattr.protocols.bank import find_differences
from tdattr.protocols.bank_file import BANKS, FILE, load_bank
from tdattr.protocols.leaderboard import CEILING, LEADERBOARD, list_means, load_leaderboard, show

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


@pytest.mark.parametrize("chosen", ["seeds=[3,4]", "conditions=[A]", "images=made.png"])
def test_queries_of_ones_own_are_not_judged_by_a_bank(chosen: str, tmp_path: Path) -> None:
    (tmp_path / "made.png").write_bytes((ROOT / "docs" / "demo.png").read_bytes())
    chosen = chosen.replace("made", str(tmp_path / "made"))
    with pytest.raises(UserError, match=f"has queries of its own: leave out queries.{chosen.partition('=')[0]}"):
        tdattr.compose(["protocol=bank", "method=pixel", f"queries.{chosen}", f"paths.outputs={tmp_path}"])


def list_lines(name: str) -> list[str]:
    """The lines of a leaderboard as a document has them, whose ceilings are not those of the truth: that takes the
    dataset."""
    known = load_leaderboard(BANKS / name)
    assert known is not None
    ceilings = load_bank(BANKS / name).ceilings(slice(0, known["query"].nunique()))
    return show(list_means(known, ceilings)).splitlines()


def read_cells(line: str) -> list[str]:
    """Those of a line of a table."""
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_readme_has_the_leaderboard() -> None:
    table = "\n".join(list_lines("glyph_digits"))
    assert table in (ROOT / "README.md").read_text(), f"put this into the README:\n{table}"


@pytest.mark.parametrize("name", sorted(set(SHIPPED) - {"glyph_digits"}))
def test_the_results_have_the_other_leaderboards(name: str) -> None:
    """Of the ceilings all that can be known without the dataset."""
    text = (ROOT / "docs" / "results.md").read_text().splitlines()
    lines = list_lines(name)
    [ceiling] = [line for line in lines if line.startswith(f"| {CEILING} ")]
    missing = [line for line in lines if line != ceiling and line not in text]
    assert not missing, f"put these into docs/results.md: {missing}"
    expected = read_cells(ceiling)
    shown = [cells for line in text if len(cells := read_cells(line)) == len(expected) and cells[0] == CEILING]
    assert any(all(a in (b, "–") for a, b in zip(expected, cells, strict=True)) for cells in shown), expected
