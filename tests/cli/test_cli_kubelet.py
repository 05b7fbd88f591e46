"""The part of kubelet that the demonstration plays, against a CSI server that writes down what it is asked."""

import os
import pathlib
import threading
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import grpc
import pytest

from sscsi.cli.errors import CallFailedError
from sscsi.cli.kubelet import Kubelet, PodVolume
from sscsi.pb import csi_pb2, csi_pb2_grpc

VOLUME = PodVolume(
    pod_name="web-0",
    pod_namespace="shop",
    pod_uid="0b1e",
    service_account="web",
    volume_name="keys",
    attributes={"secretProviderClass": "web", "csi.storage.k8s.io/pod.name": "forged"},
)


class RecordingDriver(csi_pb2_grpc.NodeServicer, csi_pb2_grpc.IdentityServicer):
    """Answers everything, and remembers (method, request, peer)."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.parents: list[bool] = []
        self.refusal: grpc.StatusCode | None = None

    def Probe(self, request: csi_pb2.ProbeRequest, context: grpc.ServicerContext) -> csi_pb2.ProbeResponse:
        return csi_pb2.ProbeResponse()

    def NodeGetCapabilities(
        self, request: csi_pb2.NodeGetCapabilitiesRequest, context: grpc.ServicerContext
    ) -> csi_pb2.NodeGetCapabilitiesResponse:
        self.calls.append(("NodeGetCapabilities", request))
        return csi_pb2.NodeGetCapabilitiesResponse()

    def NodePublishVolume(
        self, request: csi_pb2.NodePublishVolumeRequest, context: grpc.ServicerContext
    ) -> csi_pb2.NodePublishVolumeResponse:
        self.calls.append(("NodePublishVolume", request))
        self.parents.append(os.path.isdir(os.path.dirname(request.target_path)))
        if self.refusal:
            context.abort(self.refusal, "as the test wants it")
        return csi_pb2.NodePublishVolumeResponse()

    def NodeUnpublishVolume(
        self, request: csi_pb2.NodeUnpublishVolumeRequest, context: grpc.ServicerContext
    ) -> csi_pb2.NodeUnpublishVolumeResponse:
        self.calls.append(("NodeUnpublishVolume", request))
        return csi_pb2.NodeUnpublishVolumeResponse()


@pytest.fixture
def driver(tmp_path: pathlib.Path) -> Iterator[RecordingDriver]:
    server = grpc.server(futures.ThreadPoolExecutor(2))
    recording = RecordingDriver()  # type: ignore[abstract] # gRPC refuses the methods that are not there
    csi_pb2_grpc.add_NodeServicer_to_server(recording, server)
    csi_pb2_grpc.add_IdentityServicer_to_server(recording, server)
    server.add_insecure_port(f"unix:{tmp_path}/csi.sock")
    server.start()
    yield recording
    stopped: threading.Event = server.stop(None)
    stopped.wait(60)


@pytest.fixture
def kubelet(tmp_path: pathlib.Path) -> Kubelet:
    return Kubelet(f"{tmp_path}/csi.sock", pods_directory=f"{tmp_path}/pods")


def test_a_publish_is_three_calls_with_the_content_that_kubelet_sends(
    kubelet: Kubelet, driver: RecordingDriver, tmp_path: pathlib.Path
) -> None:
    kubelet.publish(VOLUME)
    assert [method for method, _ in driver.calls] == [
        "NodeGetCapabilities",
        "NodeGetCapabilities",
        "NodePublishVolume",
    ]
    request = driver.calls[-1][1]
    # echo -n 0b1ekeys | sha256sum
    assert request.volume_id == "csi-d888a445f2dae6e3d12972bf26b234ad21abb10389d08cf0d676969c0ed67880"
    assert request.target_path == f"{tmp_path}/pods/0b1e/volumes/kubernetes.io~csi/keys/mount"
    assert request.readonly
    assert request.staging_target_path == ""
    assert dict(request.publish_context) == {}
    assert dict(request.volume_context) == {
        "secretProviderClass": "web",
        "csi.storage.k8s.io/pod.name": "web-0",
        "csi.storage.k8s.io/pod.namespace": "shop",
        "csi.storage.k8s.io/pod.uid": "0b1e",
        "csi.storage.k8s.io/serviceAccount.name": "web",
        "csi.storage.k8s.io/ephemeral": "true",
    }
    assert (
        request.volume_capability.access_mode.mode == csi_pb2.VolumeCapability.AccessMode.SINGLE_NODE_WRITER
    )
    assert request.volume_capability.HasField("mount")


def test_the_parent_of_the_target_is_there_for_the_publish_and_gone_after_the_unpublish(
    kubelet: Kubelet, driver: RecordingDriver, tmp_path: pathlib.Path
) -> None:
    kubelet.publish(VOLUME)
    kubelet.unpublish(VOLUME)
    assert driver.parents == [True]
    assert os.listdir(tmp_path / "pods") == []


def test_an_error_of_the_driver_is_told_with_method_code_and_message(
    kubelet: Kubelet, driver: RecordingDriver
) -> None:
    driver.refusal = grpc.StatusCode.UNAVAILABLE
    with pytest.raises(CallFailedError, match=r"^NodePublishVolume: UNAVAILABLE: as the test wants it$"):
        kubelet.publish(VOLUME)


def test_a_driver_is_ready_when_it_answers_and_not_before(kubelet: Kubelet, tmp_path: pathlib.Path) -> None:
    assert not kubelet.is_ready()


def test_a_driver_that_answers_an_empty_probe_is_ready(kubelet: Kubelet, driver: RecordingDriver) -> None:
    assert kubelet.is_ready()
