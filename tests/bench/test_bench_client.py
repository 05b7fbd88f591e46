"""The client that measures must itself tell success from failure, against a real gRPC server."""

import pathlib
from collections.abc import Iterator
from concurrent import futures

import grpc
import pytest

from sscsi.pb import csi_pb2
from tests.bench.kubelet_client import KubeletClient
from tests.bench.volumes import Content, Volume, make_volumes, remove_directories

CONTENT = Content(files=3, file_bytes=64)


class RecordingNode:
    """Answers kubelet's calls; a target path that contains `refuse` is refused with `refusal`."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.published: list[csi_pb2.NodePublishVolumeRequest] = []
        self.refusal = "no"

    def handler(self) -> grpc.GenericRpcHandler:
        def capabilities(request: bytes, context: grpc.ServicerContext) -> bytes:
            self.calls.append("NodeGetCapabilities")
            return csi_pb2.NodeGetCapabilitiesResponse().SerializeToString()

        def publish(request: bytes, context: grpc.ServicerContext) -> bytes:
            parsed = csi_pb2.NodePublishVolumeRequest.FromString(request)
            self.calls.append("NodePublishVolume")
            self.published.append(parsed)
            if "refuse" in parsed.target_path:
                context.abort(grpc.StatusCode.ABORTED, self.refusal)
            assert context.time_remaining() > 60
            return b""

        def unpublish(request: bytes, context: grpc.ServicerContext) -> bytes:
            self.calls.append("NodeUnpublishVolume")
            return b""

        methods = {
            "NodeGetCapabilities": capabilities,
            "NodePublishVolume": publish,
            "NodeUnpublishVolume": unpublish,
        }
        return grpc.method_handlers_generic_handler(
            "csi.v1.Node",
            {name: grpc.unary_unary_rpc_method_handler(method) for name, method in methods.items()},
        )


@pytest.fixture
def node() -> RecordingNode:
    return RecordingNode()


@pytest.fixture
def socket_path(node: RecordingNode, tmp_path: pathlib.Path) -> Iterator[str]:
    path = str(tmp_path / "csi.sock")
    server = grpc.server(futures.ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((node.handler(),))
    server.add_insecure_port(f"unix:{path}")
    server.start()
    yield path
    server.stop(None).wait()


def volume(target_path: str) -> Volume:
    request = csi_pb2.NodePublishVolumeRequest(volume_id="csi-1", target_path=target_path)
    return Volume(target_path=target_path, publish=request.SerializeToString(), unpublish=b"")


def test_a_publish_is_two_capability_calls_and_the_publish(node: RecordingNode, socket_path: str) -> None:
    timings = KubeletClient(socket_path).publish([volume("/a")], in_flight=1)
    assert node.calls == ["NodeGetCapabilities", "NodeGetCapabilities", "NodePublishVolume"]
    assert (len(timings.seconds), timings.errors) == (1, [])


def test_an_unpublish_is_one_call(node: RecordingNode, socket_path: str) -> None:
    timings = KubeletClient(socket_path).unpublish([volume("/a")], in_flight=1)
    assert node.calls == ["NodeUnpublishVolume"]
    assert (len(timings.seconds), timings.errors) == (1, [])


def test_every_volume_is_published_once_however_many_are_in_flight(
    node: RecordingNode, socket_path: str
) -> None:
    paths = [f"/volume-{number}" for number in range(50)]
    timings = KubeletClient(socket_path).publish([volume(path) for path in paths], in_flight=20)
    assert sorted(request.target_path for request in node.published) == sorted(paths)
    assert (len(timings.seconds), timings.errors) == (50, [])


@pytest.mark.parametrize("refusal", ["no", "50% of 'ä'", "x" * 126, "x" * 127, "x" * 128, "x" * 1000])
def test_a_refusal_is_an_error_with_the_status_and_its_text(
    node: RecordingNode, socket_path: str, refusal: str
) -> None:
    node.refusal = refusal
    timings = KubeletClient(socket_path).publish([volume("/a"), volume("/refuse")], in_flight=2)
    assert len(timings.seconds) == 1
    assert timings.errors == [f"NodePublishVolume: status {grpc.StatusCode.ABORTED.value[0]}: {refusal}"]


def test_a_driver_that_is_not_there_does_not_answer(tmp_path: pathlib.Path) -> None:
    assert not KubeletClient(str(tmp_path / "nobody.sock")).answers()


def test_the_request_is_kubelets(node: RecordingNode, socket_path: str, tmp_path: pathlib.Path) -> None:
    volumes = make_volumes(str(tmp_path / "kubelet"), CONTENT, 1)
    assert not KubeletClient(socket_path).publish(volumes, in_flight=1).errors
    (request,) = node.published
    assert request.volume_id.startswith("csi-")
    assert len(request.volume_id) == 68
    assert request.target_path.endswith("/volumes/kubernetes.io~csi/secrets/mount")
    assert (tmp_path / request.target_path).parent.is_dir()
    assert not (tmp_path / request.target_path).exists()
    assert request.volume_capability.HasField("mount")
    assert request.volume_context["csi.storage.k8s.io/ephemeral"] == "true"
    remove_directories(volumes)
    assert not (tmp_path / "kubelet").exists()
