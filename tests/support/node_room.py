"""The node room under test: in this process or as the real one, and kubelet's side of its sockets.

with node_place() as place, serving(sync, place.status_sync_socket()), serving(provider, place.provider_socket()):
    with room_in_process(place, "--enable-secret-rotation") as node:      # or node_process(place, ...)
        node.publish(place.target_path())
"""

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence

import grpc

from sscsi.edges.file_trees import LinuxFileTrees
from sscsi.edges.linux_mounts import LinuxMounter
from sscsi.edges.record_files import RecordFiles
from sscsi.node.config import parse
from sscsi.node.room import NodeRoom
from sscsi.pb import csi_pb2, csi_pb2_grpc, sscsi_pb2_grpc
from sscsi.ports import FileTrees, Mounter, RecordStore
from tests.support.node_place import NodePlace
from tests.support.waiting import wait_until

NODE = (sys.executable, "-m", "sscsi.node")
_RPC_SECONDS = 60.0
_START_SECONDS = 60.0
_STOP_SECONDS = 60.0


def publish_request(
    target_path: str,
    *,
    volume_id: str = "csi-volume-1",
    class_name: str = "app",
    namespace: str = "default",
    pod: str = "web-0",
    pod_uid: str = "pod-uid-1",
    group: str = "",
    readonly: bool = True,
    service_account: str = "default",
    attributes: Mapping[str, str] | None = None,
    secrets: Mapping[str, str] | None = None,
) -> csi_pb2.NodePublishVolumeRequest:
    """What kubelet sends for an inline volume; `group` is the pod's fsGroup, `attributes` are the volume's own."""
    request = csi_pb2.NodePublishVolumeRequest(
        volume_id=volume_id,
        target_path=target_path,
        readonly=readonly,
        secrets=dict(secrets or {}),
        volume_context={
            "secretProviderClass": class_name,
            **(attributes or {}),
            "csi.storage.k8s.io/pod.name": pod,
            "csi.storage.k8s.io/pod.namespace": namespace,
            "csi.storage.k8s.io/pod.uid": pod_uid,
            "csi.storage.k8s.io/serviceAccount.name": service_account,
            "csi.storage.k8s.io/ephemeral": "true",
        },
    )
    request.volume_capability.mount.volume_mount_group = group
    request.volume_capability.access_mode.mode = csi_pb2.VolumeCapability.AccessMode.SINGLE_NODE_WRITER
    return request


def refusal(call: Callable[[], object]) -> tuple[grpc.StatusCode, str]:
    """Code and message of the error that the RPC ends with; fails when it succeeds."""
    try:
        answer = call()
    except grpc.RpcError as error:
        return error.code(), error.details() or ""
    raise AssertionError(f"the call succeeded: {answer}")


class NodeClient:
    """Kubelet's and the other rooms' side of a running node room."""

    def __init__(self, place: NodePlace) -> None:
        self.place = place
        self._channels: list[grpc.Channel] = []
        csi = self.channel(place.endpoint)
        self.identity = csi_pb2_grpc.IdentityStub(csi)
        self.csi = csi_pb2_grpc.NodeStub(csi)
        self.volumes = sscsi_pb2_grpc.VolumesStub(self.channel(f"{place.run_directory}/node.sock"))
        self.room = sscsi_pb2_grpc.RoomStub(self.channel(f"{place.run_directory}/node-state.sock"))
        self.probe = csi_pb2_grpc.IdentityStub(self.channel(f"{place.run_directory}/probe.sock"))

    def channel(self, socket_path: str) -> grpc.Channel:
        """A channel of its own to a socket, closed with this client."""
        return self.channel_to(f"unix:{socket_path}")

    def channel_to(self, address: str) -> grpc.Channel:
        """A channel of its own to a gRPC address, closed with this client."""
        options = (("grpc.default_authority", "localhost"), ("grpc.use_local_subchannel_pool", 1))
        channel = grpc.insecure_channel(address, options)
        self._channels.append(channel)
        return channel

    def publish(
        self, request: csi_pb2.NodePublishVolumeRequest | str, *, seconds: float = _RPC_SECONDS
    ) -> csi_pb2.NodePublishVolumeResponse:
        """Publish a request, or the usual one for a target path; `seconds` is the caller's deadline."""
        if isinstance(request, str):
            request = publish_request(request)
        return self.csi.NodePublishVolume(request, timeout=seconds)

    def unpublish(
        self, target_path: str, *, volume_id: str = "csi-volume-1", seconds: float = _RPC_SECONDS
    ) -> csi_pb2.NodeUnpublishVolumeResponse:
        request = csi_pb2.NodeUnpublishVolumeRequest(volume_id=volume_id, target_path=target_path)
        return self.csi.NodeUnpublishVolume(request, timeout=seconds)

    def stats(self, path: str, *, volume_id: str = "csi-volume-1") -> csi_pb2.NodeGetVolumeStatsResponse:
        request = csi_pb2.NodeGetVolumeStatsRequest(volume_id=volume_id, volume_path=path)
        return self.csi.NodeGetVolumeStats(request, timeout=_RPC_SECONDS)

    def wait_serving(self, alive: Callable[[], bool], *, seconds: float = _START_SECONDS) -> None:
        """Return once kubelet could call; fail when `alive` turns false before."""

        def serves() -> bool:
            assert alive(), "the node room ended before it served"
            return self.place.accepts()

        wait_until(serves, "the node room serves its endpoint", seconds=seconds)

    def close(self) -> None:
        for channel in self._channels:
            channel.close()


@contextlib.contextmanager
def node_client(place: NodePlace) -> Iterator[NodeClient]:
    """A client, closed at the end; channels connect on first use."""
    client = NodeClient(place)
    try:
        yield client
    finally:
        client.close()


class NodeInProcess(NodeClient):
    """A node room that runs in a thread of this process."""

    def __init__(self, place: NodePlace, room: NodeRoom) -> None:
        super().__init__(place)
        self._stop = threading.Event()
        self._code: int | None = None
        self._room = room
        self._thread = threading.Thread(target=self._run, name="node-room")
        self._thread.start()

    def _run(self) -> None:
        self._code = self._room.serve(self._stop)

    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def ask_to_stop(self) -> None:
        """What SIGTERM does; returns at once."""
        self._stop.set()

    def stop(self) -> int:
        """Ask to stop and wait; the room's exit code."""
        self._stop.set()
        self._thread.join(_STOP_SECONDS)
        assert self._code is not None, "the node room did not stop in good order"
        return self._code


@contextlib.contextmanager
def room_in_process(
    place: NodePlace,
    *flags: str,
    mounter: Mounter | None = None,
    trees: FileTrees | None = None,
    store: RecordStore | None = None,
    environ: Mapping[str, str] | None = None,
) -> Iterator[NodeInProcess]:
    """Run the room in a thread, with the real adapters where none is given, until the block ends."""
    config = parse(place.flags(*flags), environ or {})
    spare = os.path.join(config.run_directory, "records")
    node = NodeInProcess(
        place,
        NodeRoom(
            config,
            mounter=mounter or LinuxMounter(require_shared=config.require_shared_propagation),
            trees=trees or LinuxFileTrees(),
            store=store or RecordFiles(config.state_directory, spare),
        ),
    )
    try:
        node.wait_serving(node.is_alive)
        yield node
    finally:
        node.close()
        node.stop()


class NodeProcess(NodeClient):
    """The node room as a process of its own; its log is `place.log_file`, which starts anew with it."""

    def __init__(
        self, place: NodePlace, flags: Sequence[str], command: Sequence[str], environ: Mapping[str, str]
    ) -> None:
        super().__init__(place)
        with open(place.log_file, "wb") as log:
            self.process = subprocess.Popen(
                [*command, *place.flags(*flags)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=clean_environ(environ),
            )

    def is_alive(self) -> bool:
        return self.process.poll() is None

    def log(self) -> str:
        with open(self.place.log_file, encoding="utf-8", errors="replace") as file:
            return file.read()

    def terminate(self) -> int:
        """SIGTERM and wait; the exit code."""
        self.process.terminate()
        return self.wait()

    def kill(self) -> int:
        """SIGKILL and wait; the exit code (-9)."""
        self.process.kill()
        return self.wait()

    def wait(self, *, seconds: float = _STOP_SECONDS) -> int:
        """The exit code once the process has ended by itself."""
        return self.process.wait(seconds)


@contextlib.contextmanager
def node_process(
    place: NodePlace,
    *flags: str,
    command: Sequence[str] = NODE,
    environ: Mapping[str, str] | None = None,
    wait: bool = True,
) -> Iterator[NodeProcess]:
    """Run the room as a process until the block ends, however; `wait` until it serves.

    `command` may be another entry point that takes the node room's flags.
    """
    node = NodeProcess(place, flags, command, environ or {})
    try:
        if wait:
            node.wait_serving(node.is_alive)
        yield node
    finally:
        node.close()
        if node.is_alive():
            node.process.terminate()
        try:
            node.wait()
        except subprocess.TimeoutExpired:
            node.kill()
            raise


def run_node(*arguments: str, environ: Mapping[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    """Run `sscsi-node` to its end, which must come soon: for command lines that are refused."""
    return subprocess.run(
        [*NODE, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=_STOP_SECONDS,
        env=clean_environ(environ or {}),
    )


def clean_environ(changes: Mapping[str, str]) -> dict[str, str]:
    """This process's environment without the appliance's variables, then `changes`."""
    ours = ("SSCSI_", "CSI_", "KUBE_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**kept, "PYTHONPATH": os.getcwd(), **changes}
