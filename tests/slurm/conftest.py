"""All tests of this folder run on a cluster of SLURM, or are skipped, which the end of the output says."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster, missing, start_cluster

HERE = Path(__file__).parent
WHY = missing()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """They have the markers ``slurm``, and ``e2e``, by which the fast tests leave them out."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.slurm)
            item.add_marker(pytest.mark.e2e)
            if WHY is not None:
                item.add_marker(pytest.mark.skip(reason=f"no SLURM: {WHY}"))


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A cluster with one node of two CPUs."""
    with start_cluster(2) as cluster:
        yield cluster
