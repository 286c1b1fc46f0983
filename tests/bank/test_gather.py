"""The leaderboard that is gathered from pretended runs."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from tdattr.bank.gather import gather
from tdattr.metrics.aggregation import AggregateConfig
from tdattr.protocols.bank import Bank
from tdattr.protocols.bank_file import BankData
from tdattr.protocols.leaderboard import LEADERBOARD
from tests.report.outputs import Outputs

BANK_QUERIES = 7


def blank() -> torch.Tensor:
    return torch.zeros(BANK_QUERIES, 1, 2, 2)


@pytest.fixture
def bank(tmp_path: Path) -> Bank:
    data = BankData("tiny", {}, 1, 4, list(range(BANK_QUERIES)), blank(), blank(), torch.ones(BANK_QUERIES))
    data.save(tmp_path / "bank")
    return Bank("bank", "tiny", str(tmp_path / "bank"), AggregateConfig("mean", 10, False), 10)


def judged(outputs: Outputs, bank: Bank, method: str, count: int, mean: float, explained: str = "attributed") -> None:
    """A run of a method that the bank has judged on its first queries."""
    table = pd.DataFrame({"query": range(count), "lds_50": np.linspace(mean - 0.1, mean + 0.1, count)})
    found = {"protocol": "bank", "bank": {"lds_50": {"mean": mean, "low": 0.0, "high": 1.0, "ceiling": 0.8}}}
    queries = {"attributed": count, "explained": explained}
    summary = found | {"bank_digest": bank.digest, "num_queries": count}
    outputs.write(method, 1, "tiny", table, summary, {"protocol": {"name": "bank"}, "queries": queries})


def read(bank: Bank) -> dict[str, tuple[int, float]]:
    """Of every method of the leaderboard the number of queries and the mean."""
    table = pd.read_csv(bank.path / LEADERBOARD)
    return {str(name): (len(rows), round(rows["lds_50"].mean(), 6)) for name, rows in table.groupby("method")}


def test_a_run_on_fewer_queries_is_named_and_not_gathered(
    tmp_path: Path, bank: Bank, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    outputs = Outputs(tmp_path)
    judged(outputs, bank, "pixel", 5, 0.2)
    judged(outputs, bank, "mucs", 3, 0.4)
    judged(outputs, bank, "das", 5, 0.9, explained="controls")
    gather(outputs.root / "runs", bank)
    assert read(bank) == {"pixel": (5, 0.2)}
    assert "mucs: left out, as it was judged on 3 of the 5 queries of the leaderboard" in caplog.text
    assert "Leaderboard on 5 of the bank's 7 queries" in caplog.text and "pixel: left out" not in caplog.text


def test_of_a_method_the_newest_run_on_all_queries_is_gathered(tmp_path: Path, bank: Bank) -> None:
    outputs = Outputs(tmp_path)
    judged(outputs, bank, "pixel", 5, 0.2)
    judged(outputs, bank, "pixel", 3, 0.4)
    gather(outputs.root / "runs", bank)
    assert read(bank) == {"pixel": (5, 0.2)}


def test_runs_on_fewer_queries_do_not_replace_a_leaderboard(
    tmp_path: Path, bank: Bank, caplog: pytest.LogCaptureFixture
) -> None:
    before = pd.DataFrame({"method": "abu", "query": range(5), "lds_50": 0.3, "seconds_per_query": 1.0})
    before.to_csv(bank.path / LEADERBOARD, index=False)
    outputs = Outputs(tmp_path)
    judged(outputs, bank, "mucs", 3, 0.4)
    gather(outputs.root / "runs", bank)
    assert read(bank) == {"abu": (5, 0.3)} and "mucs: left out" in caplog.text


def test_a_leaderboard_of_few_queries_says_so(tmp_path: Path, bank: Bank, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    outputs = Outputs(tmp_path)
    judged(outputs, bank, "mucs", 3, 0.4)
    gather(outputs.root / "runs", bank)
    assert read(bank) == {"mucs": (3, 0.4)} and "Leaderboard on 3 of the bank's 7 queries" in caplog.text
