"""`v1alpha1.CSIDriverProvider`, served from files."""

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator

import grpc

import sscsi
from sscsi.edges.rooted_files import RootedFiles
from sscsi.errors import ObjectError
from sscsi.pb import provider_pb2, provider_pb2_grpc
from sscsi.provider_file.delivery import Delivery
from sscsi.provider_file.mount_request import parse_request
from sscsi.provider_file.object_versions import ObjectVersions

API_VERSION = "v1alpha1"
RUNTIME_NAME = "sscsi-provider-file"


class Counter:
    """How many calls there were, and how many of them failed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls = 0
        self._failed = 0

    @contextlib.contextmanager
    def counted(self) -> Iterator[None]:
        """Count the block as a call; as a failed one when it raises."""
        try:
            yield
        except BaseException:
            self._count(failed=1)
            raise
        self._count(failed=0)

    def _count(self, *, failed: int) -> None:
        with self._lock:
            self._calls += 1
            self._failed += failed

    def facts(self) -> dict[str, str]:
        with self._lock:
            return {"mounts": str(self._calls), "failed_mounts": str(self._failed)}


class ProviderService(provider_pb2_grpc.CSIDriverProviderServicer):
    """Answers with all files, each time: reading them again is cheaper than knowing what the node has.

    `open_root` opens the served directory anew for each call, so one that was mounted or replaced meanwhile is
    found. `current_object_version`, `secrets` and `target_path` of a request change nothing here.
    """

    def __init__(
        self,
        open_root: Callable[[], RootedFiles],
        versions: ObjectVersions,
        mounts: Counter,
        *,
        by_namespace: bool,
        max_response_bytes: int,
    ) -> None:
        self._open_root = open_root
        self._versions = versions
        self._mounts = mounts
        self._by_namespace = by_namespace
        self._max_response_bytes = max_response_bytes

    def Version(
        self, _request: provider_pb2.VersionRequest, _context: grpc.ServicerContext
    ) -> provider_pb2.VersionResponse:
        return provider_pb2.VersionResponse(
            version=API_VERSION, runtime_name=RUNTIME_NAME, runtime_version=sscsi.__version__
        )

    def Mount(
        self, request: provider_pb2.MountRequest, _context: grpc.ServicerContext
    ) -> provider_pb2.MountResponse:
        with self._mounts.counted():
            parsed = parse_request(request.attributes, request.permission, by_namespace=self._by_namespace)
            with self._open(parsed.namespace) as files:
                delivery = Delivery(
                    files,
                    functools.partial(self._versions.version, parsed.namespace),
                    default_mode=parsed.default_mode,
                    max_bytes=self._max_response_bytes,
                )
                for spec in parsed.objects:
                    delivery.add(spec)
            return delivery.answer()

    @contextlib.contextmanager
    def _open(self, namespace: str) -> Iterator[RootedFiles]:
        with self._open_root() as root:
            if not namespace:
                yield root
                return
            with _below(root, namespace) as files:
                yield files


def _below(root: RootedFiles, namespace: str) -> RootedFiles:
    try:
        return root.below(namespace)
    except ObjectError as error:
        raise ObjectError(
            f"{error}; the objects of a namespace's pods are in the directory of its name"
        ) from error
