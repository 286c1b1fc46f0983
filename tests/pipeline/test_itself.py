"""Items that are asked what they depend on themselves."""

from pathlib import Path

import pytest

import tdattr
from tdattr.errors import UserError
from tests.e2e.console import TINY

pytestmark = pytest.mark.slow  # composes a config


def test_one_item_has_no_others_to_be_compared_with(tmp_path: Path) -> None:
    settings = [*(one for one in TINY if not one.startswith("queries")), f"paths.outputs={tmp_path}", "protocol=none"]
    items = len(tdattr.compose([*settings, "method=tracin", "method.self=true"]).ids)
    alone = f"remove.ids=[{','.join(map(str, range(1, items)))}]"
    with pytest.raises(UserError, match="compares training items with each other"):
        tdattr.compose([*settings, "method=tracin", "method.self=true", alone])
