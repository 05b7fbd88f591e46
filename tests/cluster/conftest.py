import os
import shutil
from collections.abc import Iterator

import pytest

from tests.cluster import csi_node as csi_nodes
from tests.cluster.cluster_place import ClusterPlace, new_cluster_place
from tests.cluster.csi_node import CsiNode
from tests.cluster.figures import Figures
from tests.cluster.real_cluster import ClusterSettings, RealCluster, kubelets, real_cluster, settings_from
from tests.support.require import lacking, require
from tests.support.waiting import wait_until


@pytest.fixture(scope="session")
def cluster_settings() -> ClusterSettings:
    """The tests end here, visibly, where there is no cluster."""
    settings = settings_from(os.environ)
    if isinstance(settings, str):
        lacking("cluster", reason=settings)
    if not shutil.which("kubectl"):
        lacking("cluster", reason="kubectl is not on PATH")
    if len(found := kubelets()) != 1:
        lacking("cluster", reason=f"one kubelet must run on this machine, not {len(found)}")
    require("root")
    return settings


@pytest.fixture(scope="session")
def cluster(cluster_settings: ClusterSettings) -> Iterator[RealCluster]:
    with real_cluster(cluster_settings) as made:
        yield made


@pytest.fixture(scope="session")
def csi_node(cluster: RealCluster) -> Iterator[CsiNode]:
    with csi_nodes.watched(cluster) as made:
        yield made


@pytest.fixture
def place(cluster: RealCluster, csi_node: CsiNode) -> Iterator[ClusterPlace]:
    """A place on a node whose kubelet does not know the driver, or not any more."""
    wait_until(lambda: not csi_node.lists_driver, "kubelet has forgotten the driver", seconds=30.0)
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
