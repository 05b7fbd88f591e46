from collections.abc import Iterator

import pytest

from tests.cluster import csi_node as csi_nodes
from tests.cluster.cluster_place import ClusterPlace, new_cluster_place
from tests.cluster.csi_node import CsiNode
from tests.cluster.figures import Figures
from tests.cluster.real_cluster import (
    ClusterSettings,
    RealCluster,
    csi_driver_object,
    real_cluster,
    require_cluster,
)
from tests.support.waiting import wait_until


@pytest.fixture(scope="session")
def cluster_settings() -> ClusterSettings:
    """The tests end here, visibly, where there is no cluster."""
    return require_cluster()


@pytest.fixture(scope="session")
def cluster(cluster_settings: ClusterSettings) -> Iterator[RealCluster]:
    with real_cluster(cluster_settings) as made, csi_driver_object(made):
        yield made


@pytest.fixture(scope="session")
def csi_node(cluster: RealCluster) -> Iterator[CsiNode]:
    with csi_nodes.watched(cluster) as made:
        yield made


@pytest.fixture
def place(cluster: RealCluster, csi_node: CsiNode) -> Iterator[ClusterPlace]:
    """A place on a node whose kubelet does not know the driver, or not any more."""
    wait_until(lambda: not csi_node.lists_driver, "kubelet has forgotten the driver")
    with new_cluster_place(cluster) as made:
        yield made


@pytest.fixture
def figures(capsys: pytest.CaptureFixture[str]) -> Iterator[Figures]:
    """What is added is printed when the test is over."""
    made = Figures()
    yield made
    with capsys.disabled():
        for line in made.lines:
            print(f"\n  {line}", end="")
