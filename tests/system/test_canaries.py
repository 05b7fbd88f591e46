"""No secret leaves its volume (design P6, P7): not in logs, errors, records, processes, or anything else left on disk.

All secrets, tokens and contents here have one word in them. Everything is done that a room can be asked, everything
fails that can fail, with the word in the error's text; then the word is looked for.
"""

import contextlib
import functools
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor

from sscsi.pb import csi_pb2, provider_pb2, sscsi_pb2
from sscsi.ports import ClassSource, FileTrees, Mounter, Providers, RecordStore, VolumeTree
from tests.fakes import fake_provider, fake_status_sync
from tests.fakes.fake_provider import FakeProvider, files_answer
from tests.support import canaries, canary_answers, canary_rooms, volume_wrecks
from tests.support.node_place import NodePlace, node_place
from tests.support.node_room import (
    NodeClient,
    node_process,
    publish_request,
)
from tests.support.own_mounts import own_mounts
from tests.support.volume_state import pod_view
from tests.support.waiting import wait_until
from tests.support.wrapped_ports import methods
from tests.system.failing_node import VARIABLE

_HEALTH = ("--provider-health-check", "--provider-health-check-interval=100ms")
_ROTATION = ("--enable-secret-rotation", "--rotation-poll-interval=0")
# In a user namespace of one's own, root's group is the only one that there is.
_GROUP = "4321" if own_mounts().is_root else "0"
_FORMATS = [("--log-format-json=false",), ("--log-format-json",)]
_CLASS = """
apiVersion: secrets-store.csi.x-k8s.io/v1
kind: SecretProviderClass
metadata: {name: app, namespace: default}
spec:
  provider: fake
  parameters: {objects: any}
"""
_WITH_SECRET = """
  secretObjects:
  - secretName: synced
    type: Opaque
    data: [{objectName: password, key: password}]
  - secretName: broken
    type: kubernetes.io/tls
    data: [{objectName: certificate, key: tls.crt}, {objectName: absent, key: tls.key}]
"""

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]


@pytest.fixture
def place() -> Iterator[NodePlace]:
    with node_place() as place:
        yield place


@pytest.fixture
def provider(place: NodePlace) -> Iterator[FakeProvider]:
    with fake_provider.serving(FakeProvider(), place.provider_socket()) as provider:
        yield provider


class Kubelet:
    """Makes calls, of which some fail; keeps every text that it gets."""

    def __init__(self, client: NodeClient) -> None:
        self._client = client
        self.texts: list[str] = []

    def calls(self, do: Callable[[], object]) -> bool:
        """Whether the call succeeded."""
        try:
            do()
        except grpc.RpcError as error:
            self.texts.append(f"{error.code()} {error.details()} {error.trailing_metadata()} {error!r}")
            return False
        return True

    def publish(self, target_path: str, **changes: Any) -> bool:
        changes.setdefault("secrets", canaries.SECRETS)
        changes.setdefault("attributes", canaries.VOLUME_CONTEXT)
        return self.calls(lambda: self._client.publish(publish_request(target_path, **changes)))

    def unpublish(self, target_path: str) -> bool:
        return self.calls(lambda: self._client.unpublish(target_path))

    def stats(self, path: str) -> bool:
        return self.calls(lambda: self._client.stats(path))


@pytest.mark.parametrize("flags", _FORMATS, ids=["text", "JSON"])
def test_a_canary_is_in_the_volume_and_nowhere_else(
    place: NodePlace, provider: FakeProvider, flags: tuple[str, ...]
) -> None:
    target_path = place.target_path()
    with (
        canary_rooms.status_sync(place, *flags, classes={"app": _CLASS}) as status_sync,
        node_process(place, *_ROTATION, *flags, "-v=10", "--content-limit=65536") as node,
    ):
        kubelet = Kubelet(node)
        for refresh in (False, True):
            for error in canary_answers.quoting_errors():
                provider.error = (grpc.StatusCode.INTERNAL, error)
                assert kubelet.publish(target_path) is refresh
            provider.error = None
            for answer in canary_answers.bad_answers():
                provider.answer = answer
                assert kubelet.publish(target_path) is refresh
            provider.answer = canary_answers.answer_with_its_request
            assert kubelet.publish(target_path) is refresh
            provider.answer = canary_answers.answer()
            assert kubelet.publish(target_path)
        view = pod_view(target_path)
        _ask_everything(node, kubelet, place)
        watched = _watch(node)
        wait_until(lambda: canary_rooms.status_objects(place), "status-sync writes the status object")
        found = canaries.found_in(
            {
                **{f"gRPC text {number}": text.encode() for number, text in enumerate(kubelet.texts)},
                **canaries.files_below(place.run_directory, place.state_directory),
                **canary_rooms.status_objects(place),
                **canaries.process_texts([node.process.pid, status_sync.pid]),
                **canary_rooms.logs(place),
                "what the node room tells other rooms": watched,
            }
        )
        assert node.terminate() == 0
    found += canaries.found_in(canary_rooms.logs(place))
    assert not found, "\n".join(found)
    assert {path: content for path, (_, content) in view.items()} == canaries.CONTENTS
    assert len(kubelet.texts) > 100
    request = provider.requests[-1]
    assert canaries.found_in({"attributes": request.attributes.encode()})
    assert canaries.found_in({"secrets": request.secrets.encode()})


def test_a_canary_that_a_class_names_for_a_secret_is_in_that_secret_alone(
    place: NodePlace, provider: FakeProvider
) -> None:
    provider.answer = canary_answers.answer()
    with (
        canary_rooms.status_sync(place, classes={"app": _CLASS + _WITH_SECRET}),
        node_process(place, "-v=10") as node,
    ):
        kubelet = Kubelet(node)
        assert kubelet.publish(place.target_path())
        wait_until(lambda: canary_rooms.status_objects(place, "secrets"), "status-sync writes the Secret")
        wait_until(lambda: canary_rooms.status_objects(place), "status-sync writes the status object")
        assert canaries.found_in(canary_rooms.status_objects(place, "secrets"))
        texts = {
            **canary_rooms.status_objects(place),
            **canary_rooms.logs(place),
            **canaries.files_below(place.run_directory, place.state_directory),
        }
        assert not canaries.found_in(texts), canaries.found_in(texts)


def _ask_everything(client: NodeClient, kubelet: Kubelet, place: NodePlace) -> None:
    """Every method of CSI's Node and Identity, with secrets wherever its request has a place for them."""
    channel = client.channel(place.endpoint)
    for service in ("Node", "Identity"):
        for method in csi_pb2.DESCRIPTOR.services_by_name[service].methods:
            call: Any = channel.unary_unary(f"/csi.v1.{service}/{method.name}")
            for path in (place.target_path("asked"), "", "relative", f"{place.base}/node.log"):
                request = _request(method.input_type, path).SerializeToString()
                kubelet.calls(functools.partial(call, request, timeout=20))
    call = channel.unary_unary("/csi.v1.Node/NodePublishVolume")
    for content in canaries.CONTENTS.values():
        kubelet.calls(functools.partial(call, content, timeout=20))


def _request(kind: Descriptor, path: str) -> Any:
    """A request of a kind, each of its fields filled as its name asks."""
    request: Any = message_factory.GetMessageClass(kind)()
    for field in kind.fields_by_name:
        if field == "secrets":
            request.secrets.update(canaries.SECRETS)
        elif field in {"volume_context", "publish_context"}:
            getattr(request, field).update(canaries.VOLUME_CONTEXT)
        elif field in {"target_path", "volume_path", "staging_target_path"}:
            setattr(request, field, path)
        elif field == "volume_id":
            request.volume_id = "csi-volume-1"
        elif field == "volume_capability":
            request.volume_capability.mount.fs_type = "tmpfs"
    return request


def _watch(client: NodeClient) -> bytes:
    call = client.volumes.Watch(sscsi_pb2.WatchRequest(notices=True), timeout=60)
    snapshot = next(iter(call)).SerializeToString()
    call.cancel()
    return snapshot + client.room.Status(sscsi_pb2.RoomStatusRequest(), timeout=60).SerializeToString()


_METHODS = [
    f"{port.__name__}.{name}"
    for port in (Mounter, FileTrees, VolumeTree, RecordStore, Providers, ClassSource)
    for name in methods(port)
]
# Called at the start alone.
_AT_START = ("RecordStore.load_all", "Mounter.look", "FileTrees.open", "VolumeTree.read_data_link")
_FAILING_NODE = (sys.executable, "-m", "tests.system.failing_node")


@contextlib.contextmanager
def _failing(place: NodePlace, method: str) -> Iterator[None]:
    """While the block runs, `method` raises an error with every secret in its text."""
    path = _failure(place)
    with open(path + ".new", "w", encoding="utf-8") as file:
        json.dump(
            {"method": method, "text": " ".join([*canaries.of_requests(), *canaries.of_contents()])}, file
        )
    os.rename(path + ".new", path)
    try:
        yield
    finally:
        os.unlink(path)


def _failure(place: NodePlace) -> str:
    return f"{place.base}/failure"


def _times_failed(place: NodePlace, method: str) -> int:
    path = _failure(place) + ".journal"
    if not os.path.exists(path):
        return 0
    with open(path, encoding="utf-8") as file:
        return file.read().splitlines().count(method)


@pytest.mark.parametrize("flags", _FORMATS, ids=["text", "JSON"])
def test_an_error_nobody_planned_for_tells_no_canary_in_any_stage(
    place: NodePlace, provider: FakeProvider, flags: tuple[str, ...]
) -> None:
    status_sync = fake_status_sync.FakeStatusSync()
    with (
        fake_status_sync.serving(status_sync, place.status_sync_socket()),
        node_process(
            place,
            *_ROTATION,
            *_HEALTH,
            *flags,
            "-v=10",
            command=_FAILING_NODE,
            environ={VARIABLE: _failure(place)},
        ) as node,
    ):
        kubelet = Kubelet(node)
        for number, method in enumerate(_METHODS):
            # A class of its own each time: a class that was just read is not asked for.
            status_sync.add(fake_status_sync.make_class(f"class-{number}", with_secret=True))
            with _failing(place, method):
                _play(kubelet, place, provider, number)
                if method != "RecordStore.load_all":
                    wait_until(functools.partial(_times_failed, place, method), f"{method} is called")
            _play(kubelet, place, provider, number)
            assert not place.mounts(), method
        found = canaries.found_in(
            {
                **{f"gRPC text {number}": text.encode() for number, text in enumerate(kubelet.texts)},
                **canaries.files_below(place.run_directory, place.state_directory),
                **canaries.process_texts([node.process.pid]),
                **canary_rooms.logs(place),
            }
        )
        assert not found, "\n".join(found)
        assert b"RuntimeError" in canary_rooms.logs(place)[place.log_file], "no stage failed as planned"


def _play(kubelet: Kubelet, place: NodePlace, provider: FakeProvider, number: int) -> None:
    """The lives of a volume of our files, one of a provider's own, and one that is a plain directory."""
    class_name = f"class-{number}"
    ours, own, plain = (place.target_path(f"{kind}-{number}") for kind in ("ours", "own", "plain"))
    provider.answer = canary_answers.answer()
    kubelet.publish(ours, class_name=class_name)
    kubelet.stats(ours)
    provider.answer = files_answer(("password/below", 0o600, canaries.CONTENTS["password"]), version="v2")
    kubelet.publish(ours, class_name=class_name, group=_GROUP)
    view = {path: (0o600, content) for path, content in canaries.CONTENTS.items()}
    provider.answer = lambda request: _write_by_itself(request, view)
    kubelet.publish(own, class_name=class_name, group=_GROUP)
    if not os.path.lexists(plain):
        volume_wrecks.write(plain, view)
    for path in (ours, own, plain):
        kubelet.unpublish(path)


def _write_by_itself(request: provider_pb2.MountRequest, view: Any) -> provider_pb2.MountResponse:
    volume_wrecks.write(request.target_path, view)
    return provider_pb2.MountResponse(
        object_version=[provider_pb2.ObjectVersion(id=path, version="v1") for path in view]
    )


@pytest.mark.parametrize("method", _AT_START)
def test_an_error_nobody_planned_for_at_the_start_tells_no_canary(
    place: NodePlace, provider: FakeProvider, method: str
) -> None:
    status_sync = fake_status_sync.FakeStatusSync()
    status_sync.add(fake_status_sync.make_class())
    provider.answer = canary_answers.answer()
    with fake_status_sync.serving(status_sync, place.status_sync_socket()):
        with node_process(place) as node:
            assert Kubelet(node).publish(place.target_path())
            node.kill()
        with (
            _failing(place, method),
            node_process(
                place, "-v=10", command=_FAILING_NODE, environ={VARIABLE: _failure(place)}, wait=False
            ) as node,
        ):
            assert node.wait() == 1
        assert _times_failed(place, method) == 1
        assert not canaries.found_in(canary_rooms.logs(place)), canaries.found_in(canary_rooms.logs(place))
        assert b"RuntimeError" in canary_rooms.logs(place)[place.log_file]


def test_a_crash_of_the_node_room_leaves_no_core_with_secrets(place: NodePlace) -> None:
    """Beside a process of anybody's, which does leave one."""
    with subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"], cwd=place.base) as anybody:
        if not _dumps_core(anybody.pid):
            pytest.skip("this machine makes no core dump of anything")
    with node_process(place) as node:
        assert not _dumps_core(node.process.pid)


def _dumps_core(pid: int) -> bool:
    """Crash the process, with every limit on cores lifted that can be, and tell whether the kernel dumped it."""
    _, hard = resource.prlimit(pid, resource.RLIMIT_CORE)
    with contextlib.suppress(PermissionError):
        hard = resource.RLIM_INFINITY
        resource.prlimit(pid, resource.RLIMIT_CORE, (hard, hard))
    os.kill(pid, signal.SIGSEGV)
    result = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert result is not None
    return result.si_code == os.CLD_DUMPED
