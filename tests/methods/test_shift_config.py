"""What `auto` becomes: a race where it can decide what is asked for, and pays."""

from dataclasses import replace
from typing import Any

import pytest
from omegaconf import OmegaConf

from tdattr.methods.shift_config import DOUBT, PAIRS_EACH, RACED_ITEMS, RACED_PAIRS, ShiftConfig
from tdattr.search_path import CONF

AUTO = ShiftConfig(RACED_PAIRS, "generation", 0.7, "skew", True, "all", 1e-3, False, "first", "auto", 4.0, 16)
ABSOLUTE = replace(AUTO, form="absolute", epsilon=None)


@pytest.mark.parametrize(
    ("config", "top", "items", "allocation"),
    [
        (AUTO, 20, RACED_ITEMS, "racing"),
        (AUTO, None, RACED_ITEMS, "all"),  # every score is asked for
        (AUTO, 20, RACED_ITEMS - 1, "all"),
        (replace(AUTO, pairs=RACED_PAIRS - 1), 20, RACED_ITEMS, "all"),
        (replace(AUTO, consistent=False), 20, RACED_ITEMS, "all"),  # no race can decide it
        (ABSOLUTE, 20, RACED_ITEMS, "racing"),
        (replace(ABSOLUTE, captions="all"), 20, RACED_ITEMS, "all"),
        (replace(AUTO, allocation="all"), 20, RACED_ITEMS, "all"),  # what is chosen stays
        (replace(AUTO, allocation="importance"), 20, RACED_ITEMS, "importance"),
        (replace(AUTO, allocation="racing"), None, 5, "racing"),
    ],
)
def test_auto_races_where_that_decides_what_is_asked_for(
    config: ShiftConfig, top: int | None, items: int, allocation: str
) -> None:
    settled = config.settle(top, items)
    assert settled == replace(config, allocation=allocation)
    assert settled.decides_top == (allocation == "racing")


@pytest.mark.parametrize(
    ("allocation", "doubt", "pairs_each"),
    [("all", DOUBT, PAIRS_EACH), ("racing", 5.0, PAIRS_EACH), ("importance", DOUBT, 3)],
)
def test_what_is_not_read_is_the_same_whatever_was_given(allocation: Any, doubt: float, pairs_each: int) -> None:
    settled = replace(AUTO, allocation=allocation, doubt=5.0, pairs_each=3).settle(None, 5)
    assert (settled.doubt, settled.pairs_each) == (doubt, pairs_each)


@pytest.mark.parametrize("name", ["mucs", "abu", "forward_inf"])
def test_what_stands_for_it_is_what_the_files_have(name: str) -> None:
    score = OmegaConf.load(CONF / "method" / f"{name}.yaml").score
    assert (score.doubt, score.pairs_each) == (DOUBT, PAIRS_EACH)
