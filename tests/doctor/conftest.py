"""A workspace with digits, and a sample of its items."""

from collections.abc import Callable

import pytest

import tdattr
from tdattr.diffusion.edm import EDM
from tdattr.doctor.sample import Sample, draw_sample
from tdattr.pipeline.workspace import Workspace
from tests.doctor.memorising import Memorising
from tests.e2e.console import TINY


@pytest.fixture(scope="module")
def ws(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Nothing is trained."""
    outputs = tmp_path_factory.mktemp("doctor")
    return tdattr.compose([*TINY, "method=pixel", f"paths.outputs={outputs}"])


@pytest.fixture(scope="module")
def sample(ws: Workspace) -> Sample:
    """Of 40 items of each kind."""
    return draw_sample(ws, 40, 4, 2)


@pytest.fixture
def memorise(ws: Workspace, edm: EDM) -> Callable[..., Memorising]:
    """``memorise(…)`` makes a network that knows the items of F1."""

    def make(**changes: object) -> Memorising:
        return Memorising(edm, ws.data.train, ws.ids, **changes).eval()  # type: ignore[arg-type]

    return make
