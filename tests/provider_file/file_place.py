"""The file provider's service on a real socket, a directory for it to serve, and a client that plays the node."""

import contextlib
import functools
import json
import pathlib
import tempfile
import threading
from collections.abc import Iterator

import grpc

from sscsi.core.room_status import RoomStatus
from sscsi.edges.grpc_status import StatusInterceptor
from sscsi.edges.room_status import RoomService
from sscsi.edges.rooted_files import Opener, choose_opener, open_root
from sscsi.edges.unix_socket import SocketServer
from sscsi.pb import provider_pb2, provider_pb2_grpc, sscsi_pb2, sscsi_pb2_grpc
from sscsi.process.thread_pool import BlockingAwarePool
from sscsi.provider_file.object_versions import ObjectVersions
from sscsi.provider_file.provider_service import Counter, ProviderService

NAMESPACE = "team-a"
NAMESPACE_KEY = "csi.storage.k8s.io/pod.namespace"
TOKENS_KEY = "csi.storage.k8s.io/serviceAccount.tokens"
CALL_SECONDS = 60.0
KEY = bytes(range(32))


class FilePlace:
    """`root` is what is served; `write` puts files into the namespace's directory of it."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.root = directory / "root"
        self.files = self.root / NAMESPACE
        self.socket = directory / "file.sock"
        self.files.mkdir(parents=True)

    def write(self, name: str, content: bytes | str = b"content") -> pathlib.Path:
        path = self.files / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def request(self, objects: str, **changes: str) -> provider_pb2.MountRequest:
        """A valid request; `changes` replace fields of it, or with `namespace` the pod's namespace."""
        attributes = {
            "objects": objects,
            "secretProviderClass": "app",
            NAMESPACE_KEY: changes.pop("namespace", NAMESPACE),
            TOKENS_KEY: changes.pop("tokens", "{}"),
        }
        request = provider_pb2.MountRequest(
            attributes=json.dumps(attributes),
            secrets="null",
            permission="420",
            target_path="/var/lib/kubelet/pods/1/volumes/kubernetes.io~csi/v/mount",
        )
        for field, value in changes.items():
            setattr(request, field, value)
        return request

    def mount(self, objects: str, **changes: str) -> provider_pb2.MountResponse:
        """Call Mount over the socket. Raises grpc.RpcError."""
        with self.channel() as channel:
            stub = provider_pb2_grpc.CSIDriverProviderStub(channel)
            return stub.Mount(self.request(objects, **changes), timeout=CALL_SECONDS)

    def contents(self, objects: str, **changes: str) -> dict[str, bytes]:
        return {file.path: file.contents for file in self.mount(objects, **changes).files}

    def modes(self, objects: str, **changes: str) -> dict[str, int]:
        return {file.path: file.mode for file in self.mount(objects, **changes).files}

    def versions(self, objects: str, **changes: str) -> dict[str, str]:
        answer = self.mount(objects, **changes)
        versions = {entry.id: entry.version for entry in answer.object_version}
        assert len(versions) == len(answer.object_version), "an id occurs twice"
        return versions

    def refusal(self, objects: str, **changes: str) -> str:
        """The error text of a call that must fail."""
        answer, call = self.outcome(objects, **changes)
        if call is None:
            raise AssertionError(f"not refused: {[file.path for file in answer.files]}")
        return call.details() or ""

    def outcome(self, objects: str, **changes: str) -> tuple[provider_pb2.MountResponse, grpc.Call | None]:
        """The answer, or an empty one and the failed call."""
        try:
            return self.mount(objects, **changes), None
        except grpc.RpcError as error:
            if not isinstance(error, grpc.Call):
                raise
            return provider_pb2.MountResponse(), error

    def version(self) -> provider_pb2.VersionResponse:
        with self.channel() as channel:
            request = provider_pb2.VersionRequest(version="v1alpha1")
            return provider_pb2_grpc.CSIDriverProviderStub(channel).Version(request, timeout=CALL_SECONDS)

    def status(self) -> sscsi_pb2.RoomStatusResponse:
        with self.channel() as channel:
            request = sscsi_pb2.RoomStatusRequest()
            return sscsi_pb2_grpc.RoomStub(channel).Status(request, timeout=CALL_SECONDS)

    def channel(self) -> grpc.Channel:
        # Not the connection that a channel to another server on this path left behind.
        return grpc.insecure_channel(f"unix:{self.socket}", (("grpc.use_local_subchannel_pool", 1),))


@contextlib.contextmanager
def served(
    *, by_namespace: bool = True, max_response_bytes: int = 4 << 20, opener: Opener | None = None
) -> Iterator[FilePlace]:
    """A served place below /tmp: socket paths are short."""
    with tempfile.TemporaryDirectory(prefix="sscsi-file-") as directory:
        place = FilePlace(pathlib.Path(directory))
        mounts = Counter()
        provider = ProviderService(
            functools.partial(open_root, str(place.root), opener or choose_opener()),
            ObjectVersions(KEY),
            mounts,
            by_namespace=by_namespace,
            max_response_bytes=max_response_bytes,
        )

        def add_services(server: grpc.Server) -> None:
            provider_pb2_grpc.add_CSIDriverProviderServicer_to_server(provider, server)
            status = RoomService("provider-file", lambda: RoomStatus(state="serving", facts=mounts.facts()))
            sscsi_pb2_grpc.add_RoomServicer_to_server(status, server)

        pool = BlockingAwarePool("file", running_limit=4)
        interceptors = [StatusInterceptor()]
        server = SocketServer(
            str(place.socket), mode=0o600, add_services=add_services, pool=pool, interceptors=interceptors
        )
        assert server.serve(threading.Event())
        try:
            yield place
        finally:
            server.stop_accepting(0).wait()
            server.close()
            pool.shutdown()
