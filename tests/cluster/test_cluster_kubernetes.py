"""The whole of it: kubelet, the API server and the appliance, with the rights that deploy/ gives."""

import os
import signal
from collections.abc import Iterator

import pytest

from tests.cluster.cluster_place import ClusterPlace
from tests.cluster.kubernetes_form import CONTENT, deployed, installed, running_in_kubernetes
from tests.cluster.real_cluster import RealCluster
from tests.support.supervised import programs_of
from tests.support.waiting import wait_until


@pytest.fixture(scope="module", autouse=True)
def driver_installed(cluster: RealCluster) -> Iterator[None]:
    with installed(cluster):
        yield


def killed_status_sync(supervisor: int) -> bool:
    """Whether there was one to kill."""
    pid = programs_of(supervisor).get("statussync")
    if pid is None:
        return False
    os.kill(pid, signal.SIGKILL)
    return True


def test_pods_start_with_their_secret_as_file_and_variable_and_leave_nothing(place: ClusterPlace) -> None:
    with running_in_kubernetes(place), deployed(place.cluster, "plain", replicas=2) as workload:
        workload.wait_available()
        assert workload.read() == f"{CONTENT}\n{CONTENT}"
        wait_until(
            lambda: (
                [
                    sorted(condition["type"] for condition in status["status"]["conditions"])
                    for status in workload.statuses()
                ]
                == [["Ready", "Refreshed", "Synced"]] * 2
            ),
            "both status objects have their conditions",
        )
        workload.delete()
        wait_until(lambda: not workload.statuses(), "the status objects are removed")
        wait_until(lambda: not workload.has_secret(), "the Secret is collected", seconds=60.0)
        assert place.records() == []


def test_a_status_sync_that_is_killed_while_pods_start_loses_none_of_them(place: ClusterPlace) -> None:
    with (
        running_in_kubernetes(place) as supervisor,
        deployed(place.cluster, "killed", replicas=4) as workload,
    ):
        for _ in range(3):
            wait_until(lambda: killed_status_sync(supervisor), "status-sync is there and killed")
        workload.wait_available()
        assert workload.read() == f"{CONTENT}\n{CONTENT}"
        wait_until(lambda: len(workload.statuses()) == 4, "each pod has its status object", seconds=60.0)
