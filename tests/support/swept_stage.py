"""Where a swept operation is played: one place, its provider and status-sync, and the node room that runs now."""

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Iterator, Mapping

from sscsi.pb import provider_pb2, sscsi_pb2
from tests.fakes import fake_provider, fake_status_sync
from tests.fakes.fake_provider import FakeProvider, files_answer
from tests.support import volume_wrecks
from tests.support.node_place import NodePlace, node_place
from tests.support.node_room import NodeClient, clean_environ, node_client, publish_request
from tests.support.preloaded import Preloaded, Program, preloaded
from tests.support.volume_state import View, pod_view
from tests.support.waiting import wait_until

_NODE = "sscsi.node.__main__"
_REFRESH_SECONDS = 60.0


@dataclasses.dataclass(slots=True)
class Stage:
    """`client` speaks to the node room that runs now; `group` goes with every publish."""

    place: NodePlace
    target_path: str
    provider: FakeProvider
    holder: Preloaded
    client: NodeClient
    group: str = ""

    def publish(self) -> None:
        self.client.publish(publish_request(self.target_path, group=self.group))

    def refresh(self) -> None:
        """Have the room refresh by itself, without kubelet, and wait until it has."""
        self.client.volumes.Refresh(sscsi_pb2.RefreshRequest(all=True), timeout=_REFRESH_SECONDS)

    def unpublish(self) -> None:
        self.client.unpublish(self.target_path)

    def provide(self, view: View, *, by_itself: bool = False) -> None:
        """From now on the provider's content is `view`, written by itself or left to the driver."""
        version = f"{hash(tuple(sorted(view.items()))):x}"
        if by_itself:
            self.provider.answer = lambda request: _write_by_provider(request.target_path, view, version)
        else:
            files = [(path, mode, content) for path, (mode, content) in view.items()]
            self.provider.answer = files_answer(*files, version=version)

    def view(self) -> View:
        """What a pod sees at the target path; nothing when it is not there."""
        return pod_view(self.target_path) if os.path.isdir(self.target_path) else {}

    @contextlib.contextmanager
    def node(
        self, *, rotation: bool, module: str = _NODE, environ: Mapping[str, str] | None = None
    ) -> Iterator[Program]:
        """Run a node room, which is killed when the block ends and it still lives."""
        flags = self.place.flags("--rotation-poll-interval=0", f"--enable-secret-rotation={rotation}", "-v=5")
        program = self.holder.start(
            module, flags, environ=clean_environ(environ or {}), log_file=self.place.log_file
        )
        try:
            with node_client(self.place) as client:
                self.client = client
                yield program
        finally:
            if program.is_alive():
                program.kill()

    def wait_serving(self, program: Program) -> bool:
        """Until kubelet is served: True; or until the node room has ended: False."""
        wait_until(
            lambda: self.place.accepts() or not program.is_alive(), "the node room serves or has ended"
        )
        return program.is_alive()

    def clear(self) -> None:
        """Forget what an operation leaves that kubelet's calls do not take away."""
        for path in (self.place.log_file, self.place.state_directory):
            if os.path.isdir(path):
                shutil.rmtree(path)
            elif os.path.exists(path):
                os.unlink(path)


@contextlib.contextmanager
def stage(*modules: str) -> Iterator[Stage]:
    """A stage of its own; `modules` are what node rooms may be started from, beside the real one."""
    status_sync = fake_status_sync.FakeStatusSync()
    status_sync.add(fake_status_sync.make_class())
    provider = FakeProvider()
    with (
        preloaded(_NODE, *modules) as holder,
        node_place() as place,
        fake_status_sync.serving(status_sync, place.status_sync_socket()),
        fake_provider.serving(provider, place.provider_socket(), threads=2),
        node_client(place) as client,
    ):
        yield Stage(
            place=place, target_path=place.target_path(), provider=provider, holder=holder, client=client
        )


def _write_by_provider(target_path: str, view: View, version: str) -> provider_pb2.MountResponse:
    """As a careful provider does: what is no longer wanted is removed, each file is renamed into place."""
    for path in pod_view(target_path):
        if path not in view:
            os.unlink(os.path.join(target_path, path))
    for directory, names, _files in os.walk(target_path, topdown=False):
        for name in names:
            with contextlib.suppress(OSError):
                os.rmdir(os.path.join(directory, name))
    volume_wrecks.write(target_path, view)
    return provider_pb2.MountResponse(
        object_version=[provider_pb2.ObjectVersion(id=path, version=version) for path in view]
    )
