"""The driver's image on a real cluster, which is given by SSCSI_TEST_* variables (.ci/run sets them); skipped without one."""

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator

import pytest

from tests.cluster import csi_node as csi_nodes
from tests.cluster.csi_node import CsiNode
from tests.cluster.figures import Figures
from tests.cluster.real_cluster import RealCluster, real_cluster, require_cluster
from tests.e2e import build_image
from tests.e2e import driver as drivers
from tests.e2e import store as stores
from tests.e2e.driver import FILES, Driver
from tests.e2e.node import Node, containerd_from
from tests.e2e.store import Store
from tests.e2e.workloads import Namespace
from tests.support.require import lacking


@pytest.fixture(scope="session")
def cluster() -> Iterator[RealCluster]:
    settings = require_cluster()
    containerd_from(os.environ)
    with real_cluster(settings) as made:
        yield made


@pytest.fixture(scope="session")
def csi_node(cluster: RealCluster) -> Iterator[CsiNode]:
    with csi_nodes.watched(cluster) as made:
        yield made


@pytest.fixture(scope="session")
def away() -> Iterator[str]:
    """A directory far from this checkout."""
    with tempfile.TemporaryDirectory(prefix="sscsi-", dir="/tmp") as directory:
        yield directory


@pytest.fixture(scope="session")
def rootfs(away: str) -> str:
    """The image's root file system, as deploy/Containerfile has it made."""
    return laid_out(f"{away}/rootfs")


@pytest.fixture(scope="session")
def node(cluster: RealCluster, rootfs: str, away: str) -> Node:
    """The node, which has the image of this checkout."""
    made = Node(cluster, containerd=containerd_from(os.environ))
    archive = os.path.join(away, "image.tar")
    build_image.pack(archive, rootfs=rootfs)
    made.import_image(archive)
    os.unlink(archive)
    return made


@pytest.fixture(scope="session")
def driver(node: Node, csi_node: CsiNode) -> Iterator[Driver]:
    """The driver, installed and at work; nothing of it is left on the cluster afterwards."""
    with drivers.installed(node.cluster, csi_node) as made:
        yield made


@pytest.fixture(scope="session")
def store(node: Node, driver: Driver) -> Iterator[Store]:
    """An external provider beside the driver."""
    with created(node.cluster, "e2e-provider") as namespace, stores.serving(node.cluster, namespace) as made:
        yield made


@pytest.fixture
def namespace(
    cluster: RealCluster, driver: Driver, store: Store, request: pytest.FixtureRequest
) -> Iterator[Namespace]:
    """A namespace for one test, whose file provider has the object `foo`."""
    store.refill()
    name = request.node.originalname.removeprefix("test_").replace("_", "-")[:50].strip("-")
    cluster.on_node("sh", "-c", 'mkdir -p "$0" && printf %s from-a-file >"$0/foo"', f"{FILES}/{name}")
    with created(cluster, name) as made:
        yield made


@pytest.fixture
def figures(capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest) -> Iterator[Figures]:
    """What is added is printed when the test is over, and how long it took in all."""
    made = Figures()
    begun = time.monotonic()
    yield made
    made.add("the case in all", time.monotonic() - begun)
    with capsys.disabled():
        for line in made.lines:
            print(f"\n  {line}", end="")


def laid_out(directory: str) -> str:
    """Make the image's root file system there; the running test ends here, visibly, where that can't be."""
    if not (shutil.which("apt-get") and os.path.exists(build_image.PYTHON)):
        pytest.skip("the image's root file system is made on Debian bookworm, with its python3.11")
    try:
        build_image.lay_out(directory)
    except subprocess.CalledProcessError as error:
        lacking("pypi", reason=f"the root file system can't be made: {error}")
    return directory


@contextlib.contextmanager
def created(cluster: RealCluster, name: str) -> Iterator[Namespace]:
    """A namespace that goes afterwards, with all that is in it, while the next test begins."""
    cluster.kubectl("create", "namespace", name)
    try:
        yield Namespace(cluster, name)
    finally:
        cluster.kubectl("delete", "namespace", name, "--wait=false")
