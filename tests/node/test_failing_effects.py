"""The k-th effect on mounts, files or records fails, for every k: the answer is true, and nothing is half done.

In memory, so that any effect can fail as the kernel makes it fail; kills are in tests/system.
"""

import contextlib
import dataclasses
import logging
import os
from collections.abc import Callable, Iterator
from typing import Any, cast

import grpc
import pytest

from sscsi.core import mount_info
from sscsi.errors import MountError, PropagationError, RecordError, SscsiError, TargetPathError
from sscsi.node.heal import Healer
from sscsi.node.volumes import Volumes
from sscsi.pb import provider_pb2
from sscsi.ports import FileTrees, Mounter, RecordStore
from tests.fakes.fake_disk import FakeDisk
from tests.fakes.fake_mounter import FakeMounter
from tests.fakes.fake_provider import FakeProvider, files_answer
from tests.fakes.fake_records import FakeRecords
from tests.fakes.fake_status_sync import FakeStatusSync
from tests.fakes.fake_trees import FakeTrees
from tests.support.node_place import NodePlace
from tests.support.node_room import NodeInProcess, refusal, room_in_process
from tests.support.volume_state import View
from tests.support.wrapped_ports import Wrapped, WrappedTrees

ROTATION = ("--enable-secret-rotation", "--rotation-poll-interval=0")
TARGET = "/pods/u/volumes/kubernetes.io~csi/v/mount"
OLD: View = {"a": (0o644, b"old"), "d/b": (0o400, b"old"), "gone": (0o644, b"old")}
NEW: View = {"a": (0o644, b"new"), "d/b": (0o400, b"new"), "more": (0o644, b"new")}
# How the kernel's refusal reaches the room, by port and method.
ERRORS: dict[str, type[SscsiError]] = {
    "Mounter.mount_tmpfs": MountError,
    "Mounter.unmount": MountError,
    "Mounter.check_reaches_host": PropagationError,
    "Mounter.check_sees_host": PropagationError,
    "RecordStore.write": RecordError,
    "RecordStore.delete": RecordError,
}


@dataclasses.dataclass
class Effects:
    """Counts the calls of the ports; the `fail_at`-th raises what its adapter would."""

    calls: list[str] = dataclasses.field(default_factory=list)
    fail_at: int = 0
    armed: bool = False

    def around(self, port: type, name: str, do: Callable[[], Any]) -> Any:
        if self.armed:
            method = f"{port.__name__}.{name}"
            self.calls.append(method)
            if len(self.calls) == self.fail_at:
                raise ERRORS.get(method, TargetPathError)(f"{method}: EIO")
        return do()

    @contextlib.contextmanager
    def counted(self, fail_at: int) -> Iterator[None]:
        """Count and fail within the block."""
        self.calls.clear()
        self.armed, self.fail_at = True, fail_at
        try:
            yield
        finally:
            self.armed = False

    @property
    def failed(self) -> str:
        """The method that failed; empty when there were not so many calls."""
        return self.calls[self.fail_at - 1] if len(self.calls) >= self.fail_at else ""


@dataclasses.dataclass
class Machine:
    """A node room on a disk in memory."""

    node: NodeInProcess
    disk: FakeDisk
    records: FakeRecords
    effects: Effects
    provider: FakeProvider

    @property
    def mounts(self) -> int:
        return len(self.disk.mounts.get(TARGET, []))

    def deliver(self, view: View, *, self_written: bool) -> None:
        """Let the provider deliver `view` from now on."""
        if not self_written:
            self.provider.answer = files_answer(*((path, mode, data) for path, (mode, data) in view.items()))
            return

        def write(request: provider_pb2.MountRequest) -> provider_pb2.MountResponse:
            for path, (mode, data) in view.items():
                self.disk.put_file(f"{request.target_path}/{path}", data, mode)
            return provider_pb2.MountResponse(
                object_version=[provider_pb2.ObjectVersion(id="a", version="1")]
            )

        self.provider.answer = write

    def assert_clean_layout(self) -> None:
        """No version, link or temporary name that the content does not need."""
        root = self.disk.find(TARGET)
        names = set(getattr(root, "entries", {}))
        tops = {path.split("/")[0] for path in self.disk.view(TARGET)}
        assert len(names - tops) == (2 if "..data" in names else 0), names


@pytest.fixture
def machine(
    place: NodePlace, status_sync: FakeStatusSync, provider: FakeProvider, caplog: pytest.LogCaptureFixture
) -> Iterator[Machine]:
    caplog.set_level(logging.CRITICAL, logger="sscsi")
    disk, records, effects = FakeDisk(), FakeRecords(), Effects()
    disk.make_directories(os.path.dirname(TARGET))
    with room_in_process(
        place,
        *ROTATION,
        mounter=cast(Mounter, Wrapped(FakeMounter(disk), Mounter, effects.around)),
        trees=cast(FileTrees, WrappedTrees(FakeTrees(disk), effects.around)),
        store=cast(RecordStore, Wrapped(records, RecordStore, effects.around)),
    ) as node:
        yield Machine(node, disk, records, effects, provider)


def start_over(machine: Machine) -> None:
    machine.provider.error = None
    machine.node.unpublish(TARGET)
    assert (machine.mounts, machine.disk.find(TARGET), machine.records.records) == (0, None, {})


@pytest.mark.parametrize("self_written", [False, True], ids=["files", "self-written"])
@pytest.mark.parametrize("before", ["absent", "directory"])
def test_a_first_publish_is_whole_or_nothing(machine: Machine, self_written: bool, before: str) -> None:
    machine.deliver(OLD, self_written=self_written)
    failed = []
    for k in range(1, 100):
        if before == "directory":
            machine.disk.make_directories(TARGET)
        with machine.effects.counted(k):
            error = None
            try:
                machine.node.publish(TARGET)
            except grpc.RpcError as refused:
                error = refused
        if error is None:
            assert machine.disk.view(TARGET) == OLD
            assert machine.mounts == 1
        else:
            assert f"{machine.effects.failed}: EIO" in (error.details() or "")
            assert machine.mounts == 0
            assert (machine.disk.find(TARGET) is None) is (before == "absent")
            assert machine.records.records == {}
        machine.node.publish(TARGET)
        assert machine.disk.view(TARGET) == OLD
        machine.assert_clean_layout()
        start_over(machine)
        if not machine.effects.failed:
            break
        failed.append(machine.effects.failed)
    assert {"Mounter.mount_tmpfs", "RecordStore.write"} <= set(failed)


@pytest.mark.parametrize("self_written", [False, True], ids=["files", "self-written"])
def test_a_refresh_shows_the_old_or_the_new_content_and_never_harms_the_pod(
    machine: Machine, self_written: bool
) -> None:
    # This provider removes nothing that it wrote.
    wanted = OLD | NEW if self_written else NEW
    failed = []
    for k in range(1, 100):
        machine.deliver(OLD, self_written=self_written)
        machine.node.publish(TARGET)
        machine.deliver(NEW, self_written=self_written)
        with machine.effects.counted(k):
            code = outcome(lambda: machine.node.publish(TARGET))
        # Only looking at the volume may be an error; kubelet tries again and the pod keeps what it has.
        assert code in {None, grpc.StatusCode.INTERNAL}
        assert machine.disk.view(TARGET) in (OLD, wanted)
        assert machine.mounts == 1
        machine.node.publish(TARGET)
        assert machine.disk.view(TARGET) == wanted
        assert machine.records.records[TARGET].last_error == ""
        machine.assert_clean_layout()
        start_over(machine)
        if not machine.effects.failed:
            break
        failed.append(machine.effects.failed)
    assert ("VolumeTree.list_files" if self_written else "VolumeTree.rename") in failed


def outcome(call: Callable[[], object]) -> grpc.StatusCode | None:
    """The code of the call's error; None when it succeeds."""
    try:
        call()
    except grpc.RpcError as refused:
        return refused.code()
    return None


def test_an_unpublish_that_fails_is_finished_by_the_next_one(machine: Machine) -> None:
    machine.deliver(OLD, self_written=False)
    failed = []
    for k in range(1, 100):
        machine.node.publish(TARGET)
        with machine.effects.counted(k):
            code = outcome(lambda: machine.node.unpublish(TARGET))
        assert code in {None, grpc.StatusCode.INTERNAL}
        start_over_after_unpublish(machine)
        if not machine.effects.failed:
            break
        failed.append(machine.effects.failed)
    assert {"Mounter.unmount", "Mounter.remove_directory"} <= set(failed)


def start_over_after_unpublish(machine: Machine) -> None:
    """A record that could not be removed is of no volume; the next one of the path replaces it."""
    machine.node.unpublish(TARGET)
    assert (machine.mounts, machine.disk.find(TARGET)) == (0, None)
    machine.records.records.clear()


def test_a_publish_that_cannot_even_clean_up_is_finished_by_the_next_one(machine: Machine) -> None:
    machine.deliver(OLD, self_written=False)
    for k in range(1, 100):
        machine.provider.error = (grpc.StatusCode.PERMISSION_DENIED, "no")
        with machine.effects.counted(k):
            code, message = refusal(lambda: machine.node.publish(TARGET))
        if not machine.effects.failed:
            break
        first = f"{machine.effects.failed}: EIO" in message
        assert first or (code is grpc.StatusCode.PERMISSION_DENIED and message.endswith("desc = no"))
        machine.provider.error = None
        machine.node.publish(TARGET)
        assert machine.disk.view(TARGET) == OLD
        assert machine.mounts == 1
        start_over(machine)
    assert machine.mounts == 0
    assert machine.disk.find(TARGET) is None


def test_a_volume_whose_record_cannot_be_kept_anywhere_is_published_all_the_same(machine: Machine) -> None:
    machine.deliver(OLD, self_written=True)
    machine.records.error = RecordError("no space anywhere")
    for _ in range(2):
        machine.node.publish(TARGET)
        assert machine.disk.view(TARGET) == OLD
    machine.node.unpublish(TARGET)
    assert machine.disk.find(TARGET) is None


def test_content_that_does_not_fit_is_refused_and_the_old_stays(machine: Machine) -> None:
    machine.deliver(OLD, self_written=False)
    machine.node.publish(TARGET)
    file_system = machine.disk.file_system(TARGET)
    file_system.size_bytes = file_system.used_bytes() + 4096
    machine.deliver(NEW, self_written=False)
    machine.node.publish(TARGET)
    assert machine.disk.view(TARGET) == OLD
    machine.assert_clean_layout()
    assert machine.records.records[TARGET].last_error.endswith(
        f"volume {TARGET} is full; --content-limit sets its size: raise it or deliver less"
    )


def test_a_mount_that_is_covered_while_the_provider_writes_is_not_reported_as_published(
    machine: Machine,
) -> None:
    def cover(request: provider_pb2.MountRequest) -> provider_pb2.MountResponse:
        machine.disk.mount(TARGET)
        return files_answer(("a", 0o644, b""))

    machine.provider.answer = cover
    code, message = refusal(lambda: machine.node.publish(TARGET))
    assert code is grpc.StatusCode.UNKNOWN
    assert message == f"target path {TARGET} no longer shows the volume that was written"
    assert machine.mounts == 2, "what others mounted stays, and with it what is below"
    machine.deliver(OLD, self_written=False)
    machine.node.publish(TARGET)
    assert machine.disk.view(TARGET) == OLD
    start_over(machine)


def test_a_mount_that_is_taken_away_while_the_provider_writes_is_not_reported_as_published(
    machine: Machine,
) -> None:
    def take_away(request: provider_pb2.MountRequest) -> provider_pb2.MountResponse:
        machine.disk.unmount(TARGET)
        return files_answer(("a", 0o644, b""))

    machine.provider.answer = take_away
    refusal(lambda: machine.node.publish(TARGET))
    assert (machine.mounts, machine.disk.find(TARGET), machine.records.records) == (0, None, {})


@pytest.mark.parametrize("self_written", [False, True], ids=["files", "self-written"])
def test_a_room_starts_whatever_fails_while_it_looks_at_its_volumes(
    place: NodePlace,
    status_sync: FakeStatusSync,
    provider: FakeProvider,
    self_written: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.CRITICAL, logger="sscsi")
    disk, records, effects = FakeDisk(), FakeRecords(), Effects()
    disk.make_directories(os.path.dirname(TARGET))

    def room() -> contextlib.AbstractContextManager[NodeInProcess]:
        return room_in_process(
            place,
            mounter=cast(Mounter, Wrapped(FakeMounter(disk), Mounter, effects.around)),
            trees=cast(FileTrees, WrappedTrees(FakeTrees(disk), effects.around)),
            store=records,
        )

    with room() as node:
        Machine(node, disk, records, effects, provider).deliver(OLD, self_written=self_written)
        node.publish(TARGET)
    failed = []
    for k in range(1, 100):
        # At start only: the room serves when it has looked.
        effects.calls.clear()
        effects.armed, effects.fail_at = True, k
        with room() as node:
            effects.armed = False
            node.publish(TARGET)
        assert disk.view(TARGET) == OLD
        assert set(records.records) == {TARGET}
        if not effects.failed:
            break
        failed.append(effects.failed)
    assert {"Mounter.look", "FileTrees.open"} <= set(failed)


def test_a_mount_that_cannot_be_looked_at_is_reported_and_no_reason_not_to_start(
    caplog: pytest.LogCaptureFixture,
) -> None:
    disk, records = FakeDisk(), FakeRecords()
    trees = FakeTrees(disk)
    trees.failures["open"] = TargetPathError(f"cannot open target path {TARGET}: EIO")
    line = f"42 27 0:39 / {TARGET} rw - tmpfs tmpfs rw"
    Healer(
        mounter=FakeMounter(disk),
        trees=trees,
        store=records,
        volumes=Volumes(records),
        boot_id="boot",
        driver_name="ours",
        driver_of=lambda _path: "ours",
    ).heal(mount_info.parse(line.encode()))
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert (record.__dict__["target_path"], record.__dict__["reason"]) == (
        TARGET,
        f"cannot open target path {TARGET}: EIO",
    )
