"""What finished runs no longer need can go: the same command then computes nothing, and the report shows the same."""

import shutil
from pathlib import Path

import pytest

from tests.e2e.console import TINY, tdattr
from tests.inventory.outputs import artifacts, names

LDS = ["method=pixel", *TINY, "protocol=lds", "protocol.subsets=3", "protocol.repeats=1", "protocol.draws=4"]
COMMANDS = {"leave_k_out": ["method=pixel", *TINY], "lds": LDS}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_repeated_without_what_was_pruned(name: str, tmp_path: Path) -> None:
    tdattr(*COMMANDS[name], folder=tmp_path)
    outputs = tmp_path / "outputs"
    before = tdattr("--out", "report", folder=tmp_path, command="report")
    everything = names(outputs)
    assert "none of them used by no run" in artifacts("list", outputs=outputs).out  # the retrainings are the run's
    assert artifacts("prune", "--intermediate", "--yes", outputs=outputs).status == 0
    left = names(outputs)
    stages = {name.split("/")[0] for name in everything}
    assert {"pretrain", "query_scores"} <= stages
    assert {name.split("/")[0] for name in left} == {"dataset", "generate", "attribute", "evaluate"}
    again = tdattr(*COMMANDS[name], folder=tmp_path)
    assert "nothing was computed" in again.stderr and names(outputs) == left
    shutil.rmtree(outputs / "runs" / min(path.name for path in (outputs / "runs").iterdir()))
    after = tdattr("--out", "report", folder=tmp_path, command="report")
    assert after.stdout == before.stdout
