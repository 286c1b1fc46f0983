"""What `auto` becomes: a race where it can decide what is asked for, and pays."""

from dataclasses import replace

import pytest

from tdattr.methods.shift_config import RACED_ITEMS, RACED_PAIRS, ShiftConfig

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
