"""Fixtures of the tests of the report."""

from pathlib import Path

import pytest

from tests.report.outputs import Outputs


@pytest.fixture
def outputs(tmp_path: Path) -> Outputs:
    return Outputs(tmp_path)
