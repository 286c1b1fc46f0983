"""What is to be computed must fit, whoever asks for it."""

from pathlib import Path

import pytest

import tdattr
from tdattr.errors import UserError
from tdattr.metagradients import room
from tests.e2e.console import TINY

pytestmark = pytest.mark.slow  # composes a config

MEMBERS = [
    "method=ensemble_b",
    "+method@method.members.metagradient=metagradient",
    "+method.weights.metagradient=1",
    "method.weights={mucs:0,dino:0,clip:0,condition:1}",
]


@pytest.mark.parametrize(
    "overrides",
    [["method=metagradient"], MEMBERS],
    ids=["alone", "as a member"],
)
def test_a_method_that_does_not_fit_is_refused(
    overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "find_free_memory", lambda device: 0)
    with pytest.raises(UserError, match="of the memory of cpu"):
        tdattr.compose([*TINY, "protocol=lds", "train.selection=last", *overrides, f"paths.outputs={tmp_path}"])
