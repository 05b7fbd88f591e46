"""The node room as a process: its exit codes, its sockets, how it stops, and mounts that must reach the host."""

import contextlib
import ctypes
import os
import signal
import socket
import stat
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent import futures

import grpc
import pytest

from sscsi import __version__
from sscsi.core.host_mounts import propagation_word
from sscsi.core.run_files import STATE_SOCKETS
from sscsi.edges.pods_directory import look_at_pods
from sscsi.edges.room_status import RoomStates
from sscsi.pb import csi_pb2, csi_pb2_grpc, sscsi_pb2
from tests.fakes.fake_provider import FakeProvider
from tests.fakes.fake_status_sync import FakeStatusSync
from tests.support.node_place import NodePlace
from tests.support.node_room import NodeProcess, node_process, refusal, room_in_process, run_node
from tests.support.pod_mounts import in_a_pod
from tests.support.volume_state import pod_view
from tests.support.volume_wrecks import litter_volume
from tests.support.waiting import wait_until

pytestmark = pytest.mark.root

_MS_BIND, _MS_SHARED = 1 << 12, 1 << 20


class TestExitCodes:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("--bogus",), "sscsi-node: unknown flag --bogus; --help lists the flags\n"),
            (
                ("--provider-timeout=2",),
                (
                    "sscsi-node: flag --provider-timeout: "
                    "'2' is not a duration; write it like 90s, 2m or 1h30m\n"
                ),
            ),
        ],
    )
    def test_a_wrong_command_line_is_2_and_one_line(self, arguments: tuple[str, ...], message: str) -> None:
        result = run_node(*arguments)
        assert (result.returncode, result.stdout, result.stderr) == (2, "", message)

    def test_help_and_version_are_0_and_on_stdout(self) -> None:
        result = run_node("-version")
        assert (result.returncode, result.stderr) == (0, "")
        assert result.stdout == f'{{"BuildVersion": "{__version__}", "GitCommit": "", "BuildDate": ""}}\n'

    @pytest.mark.parametrize(
        ("flag", "cure"),
        [
            ("--run-dir={file}/run", "see --run-dir, SSCSI_RUN_DIR"),
            ("--state-dir={file}/state", "see --state-dir"),
            ("--endpoint=unix://{file}/csi.sock", "create it"),
            ("--endpoint=unix://{base}/none/csi.sock", "create it"),
            ("--endpoint=unix://{file}", "it is not a socket; remove it"),
        ],
    )
    def test_a_directory_that_cannot_be_used_is_1_and_one_line_with_path_and_cure(
        self, place: NodePlace, flag: str, cure: str
    ) -> None:
        os.mknod(f"{place.base}/file")
        given = flag.format(file=f"{place.base}/file", base=place.base)
        result = run_node(*place.flags(given))
        assert result.returncode == 1
        (line,) = [line for line in result.stderr.splitlines() if line.startswith("sscsi-node: ")]
        assert f"{place.base}/" in line
        assert cure in line
        assert "Traceback" not in result.stderr

    def test_a_socket_path_that_is_too_long_for_the_kernel_is_2(self, place: NodePlace) -> None:
        directory = f"{place.base}/{'x' * 100}"
        os.mkdir(directory)
        result = run_node(*place.flags(f"--endpoint=unix://{directory}/csi.sock"))
        assert result.returncode == 2
        assert result.stderr.splitlines()[-1].startswith(
            f"sscsi-node: socket path '{directory}/csi.sock' is too long"
        )

    def test_a_port_that_is_taken_is_1(self, place: NodePlace) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            result = run_node(*place.flags(f"--endpoint=tcp://127.0.0.1:{port}"))
        assert result.returncode == 1
        expected = f"sscsi-node: flag --endpoint: cannot listen on tcp://127.0.0.1:{port}; is the port taken?"
        assert expected in result.stderr.splitlines()

    def test_without_the_right_to_mount_it_is_1_and_one_line_with_the_cure(self, place: NodePlace) -> None:
        give_up_rights = (
            "import ctypes, sys\n"
            "version_3 = (ctypes.c_uint32 * 2)(0x20080522, 0)\n"
            "assert ctypes.CDLL(None).capset(version_3, (ctypes.c_uint32 * 6)()) == 0\n"
            "from sscsi.node.__main__ import main\n"
            "sys.exit(main())\n"
        )
        with node_process(place, command=(sys.executable, "-c", give_up_rights), wait=False) as node:
            assert node.wait() == 1
            assert node.log() == (
                "sscsi-node: this process may not mount: CAP_SYS_ADMIN is missing: "
                "run privileged, or in a user namespace of your own\n"
            )

    def test_flags_without_effect_are_warned_about_once(self, place: NodePlace) -> None:
        with node_process(place, "--pprof-port=1", "--pprof-port=2", "--enable-pprof") as node:
            pass
        warned = [line for line in node.log().splitlines() if "has no effect" in line]
        assert ['flag="pprof-port"' in line or 'flag="enable-pprof"' in line for line in warned] == [
            True,
            True,
        ]
        assert all(line.startswith("W") for line in warned)


class TestSockets:
    def test_each_is_open_to_those_that_need_it_and_gone_at_the_end(self, place: NodePlace) -> None:
        sockets = (place.endpoint, f"{place.run_directory}/node.sock", f"{place.run_directory}/probe.sock")
        with node_process(place) as node:
            modes = [stat.S_IMODE(os.stat(path).st_mode) for path in sockets]
            assert modes == [0o600, 0o600, 0o660]
            assert node.terminate() == 0
        assert not any(map(os.path.lexists, sockets))

    def test_an_endpoint_that_a_live_server_holds_is_waited_for_and_not_stolen(
        self, place: NodePlace
    ) -> None:
        with socket.socket(socket.AF_UNIX) as foreign:
            foreign.bind(place.endpoint)
            foreign.listen()
            inode = os.stat(place.endpoint).st_ino
            with node_process(place, wait=False) as node:
                wait_until(lambda: "waiting for the socket" in node.log(), "the node waits")
                assert os.stat(place.endpoint).st_ino == inode
                # To start it anew would not help: it is alive, and says what it waits for.
                assert node.probe.Probe(csi_pb2.ProbeRequest(), timeout=60).ready.value
                assert (
                    node.room.Status(sscsi_pb2.RoomStatusRequest(), timeout=60).state
                    == "waiting for the socket"
                )
                assert not os.path.exists(f"{place.run_directory}/node.sock")
                foreign.close()
                # It moves theirs away before it gives its own the place.
                node.wait_serving(node.is_alive)
                assert os.stat(place.endpoint).st_ino != inode
                node.csi.NodeGetInfo(csi_pb2.NodeGetInfoRequest(), timeout=60)
                assert node.room.Status(sscsi_pb2.RoomStatusRequest(), timeout=60).state == "serving"

    def test_a_node_that_waits_touches_no_volume_of_the_one_that_serves(
        self, place: NodePlace, status_sync: FakeStatusSync, provider: FakeProvider
    ) -> None:
        target_path = place.target_path()
        with room_in_process(place) as first:
            first.publish(target_path)
            litter_volume(target_path)
            before = sorted(os.listdir(target_path))
            with node_process(place, wait=False) as second:
                wait_until(lambda: "waiting for the socket" in second.log(), "the second waits")
                assert sorted(os.listdir(target_path)) == before
                first.stop()
                second.wait_serving(second.is_alive)
                assert sorted(os.listdir(target_path)) != before
                second.publish(target_path)
        assert pod_view(target_path) == {"secret": (0o644, b"first content")}
        assert len(provider.requests) == 1

    def test_a_node_that_waits_for_its_endpoint_stops_when_asked(self, place: NodePlace) -> None:
        with socket.socket(socket.AF_UNIX) as foreign:
            foreign.bind(place.endpoint)
            foreign.listen()
            with node_process(place, wait=False) as node:
                wait_until(lambda: "waiting for the socket" in node.log(), "the node waits")
                assert node.terminate() == 0
            assert os.path.exists(place.endpoint)

    def test_a_socket_that_somebody_replaced_ends_the_process_so_that_it_is_started_again(
        self, place: NodePlace
    ) -> None:
        with node_process(place) as node:
            os.unlink(place.endpoint)
            with socket.socket(socket.AF_UNIX) as foreign:
                foreign.bind(place.endpoint)
                assert node.wait(seconds=60) == 1
            assert os.path.exists(place.endpoint), "it is somebody else's now"

    def test_the_endpoint_may_be_a_port(
        self, place: NodePlace, status_sync: FakeStatusSync, provider: FakeProvider
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        with node_process(place, f"--endpoint=tcp://127.0.0.1:{port}", wait=False) as node:
            channel = node.channel_to(f"127.0.0.1:{port}")
            stub = csi_pb2_grpc.NodeStub(channel)
            answer = stub.NodeGetInfo(csi_pb2.NodeGetInfoRequest(), timeout=10, wait_for_ready=True)
            assert answer.node_id == "node-1"
            assert node.terminate() == 0


class TestStopping:
    def test_mounts_stay_and_the_next_process_knows_them(
        self, place: NodePlace, status_sync: FakeStatusSync, provider: FakeProvider
    ) -> None:
        target_path = place.target_path()
        for number in (signal.SIGTERM, signal.SIGINT):
            with node_process(place) as node:
                node.publish(target_path)
                node.process.send_signal(number)
                assert node.wait() == 0
            assert pod_view(target_path) == {"secret": (0o644, b"first content")}
        assert len(provider.requests) == 1

    def test_a_publish_in_flight_may_finish_within_the_grace(
        self, place: NodePlace, status_sync: FakeStatusSync, provider: FakeProvider
    ) -> None:
        provider.hold.clear()
        target_path = place.target_path()
        with node_process(place) as node, futures.ThreadPoolExecutor(1) as pool:
            publishing = pool.submit(node.publish, target_path)
            assert provider.waiting.acquire(timeout=60)
            node.process.terminate()
            wait_until(lambda: "asked to stop" in node.log(), "the node stops")
            provider.hold.set()
            publishing.result(60)
            assert node.wait() == 0
        assert pod_view(target_path) == {"secret": (0o644, b"first content")}

    def test_one_that_hangs_is_cancelled_after_the_grace_and_leaves_nothing(
        self, place: NodePlace, status_sync: FakeStatusSync, provider: FakeProvider
    ) -> None:
        provider.hold.clear()
        target_path = place.target_path()
        with node_process(place, "--stop-grace=200ms") as node, futures.ThreadPoolExecutor(1) as pool:
            publishing = pool.submit(lambda: refusal(lambda: node.publish(target_path)))
            assert provider.waiting.acquire(timeout=60)
            node.process.terminate()
            code, _ = publishing.result(60)
            assert code in {grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE}
            assert node.wait() == 0
        assert place.mounts() == []
        assert place.records() == []
        assert not os.path.lexists(target_path)

    def test_nothing_new_is_begun_while_it_stops(
        self, place: NodePlace, status_sync: FakeStatusSync, provider: FakeProvider
    ) -> None:
        provider.hold.clear()
        with room_in_process(place) as node, futures.ThreadPoolExecutor(1) as pool:
            publishing = pool.submit(node.publish, place.target_path())
            assert provider.waiting.acquire(timeout=60)
            node.ask_to_stop()
            never = threading.Event()

            def refused() -> bool:
                never.wait(0.01)
                other = place.target_path(volume="other")
                try:
                    node.publish(other, seconds=0.5)
                except grpc.RpcError as error:
                    return error.code() is grpc.StatusCode.UNAVAILABLE
                return False

            wait_until(refused, "a new publish is turned away")
            provider.hold.set()
            publishing.result(60)


class TestReachingTheHost:
    """With `--require-shared-propagation` a volume that the pod would not see is refused (design P1)."""

    FLAG = "--require-shared-propagation"

    def bind(self, place: NodePlace, *, shared: bool) -> str:
        """Make the pods directory a mount of its own; a target path in it."""
        path = f"{place.base}/pods"
        target_path = place.target_path()
        libc = ctypes.CDLL(None)
        assert libc.mount(path.encode(), path.encode(), None, ctypes.c_ulong(_MS_BIND), None) == 0
        if shared:
            assert libc.mount(None, path.encode(), None, ctypes.c_ulong(_MS_SHARED), None) == 0
        return target_path

    def test_below_a_private_mount_it_is_refused_with_path_and_cure(
        self, place: NodePlace, status_sync: FakeStatusSync, provider: FakeProvider
    ) -> None:
        target_path = self.bind(place, shared=False)
        with room_in_process(place, self.FLAG) as node:
            code, message = refusal(lambda: node.publish(target_path))
        assert code is grpc.StatusCode.FAILED_PRECONDITION
        assert f"the mount at {place.base}/pods is not shared" in message
        assert "chart value linux.kubeletRootDir" in message
        assert not os.path.lexists(target_path)
        assert place.mounts(target_path) == []
        assert provider.requests == []

    def test_below_a_shared_mount_it_is_published(
        self, place: NodePlace, status_sync: FakeStatusSync, provider: FakeProvider
    ) -> None:
        target_path = self.bind(place, shared=True)
        with room_in_process(place, self.FLAG) as node:
            node.publish(target_path)
        assert pod_view(target_path) == {"secret": (0o644, b"first content")}
        (entry,) = place.mounts(target_path)
        assert entry.shared, "what is mounted below a shared mount is shared"


class TestInAPod:
    """A wrong kubelet root, or a mount without propagation, is told at the start and refused at each publish."""

    def environ(self, place: NodePlace) -> dict[str, str]:
        return {"SSCSI_KUBELET_REGISTRATION_PATH": f"{place.base}/plugins/csi-secrets-store/csi.sock"}

    @contextlib.contextmanager
    def node(self, place: NodePlace) -> Iterator[NodeProcess]:
        """The program, with the default of the flag that a place of tests gives."""
        script = (
            "import sys\n"
            "sys.argv = [word for word in sys.argv if 'propagation' not in word]\n"
            "from sscsi.node.__main__ import main\n"
            "sys.exit(main())\n"
        )
        command = (sys.executable, "-c", script)
        with node_process(place, command=command, environ=self.environ(place)) as node:
            yield node

    def warnings(self, node: NodeProcess) -> list[str]:
        return [line for line in node.log().splitlines() if "pods will not see their volumes" in line]

    def test_all_is_well_with_a_shared_mount_of_kubelets_pods(
        self, place: NodePlace, status_sync: FakeStatusSync, provider: FakeProvider
    ) -> None:
        with in_a_pod(place.base):
            bind_pods(f"{place.base}/pods", shared=True)
            with self.node(place) as node:
                node.publish(place.target_path())
            assert self.warnings(node) == []

    def test_a_mount_without_propagation_is_told_and_no_provider_is_asked(
        self, place: NodePlace, status_sync: FakeStatusSync, provider: FakeProvider
    ) -> None:
        with in_a_pod(place.base):
            bind_pods(f"{place.base}/pods", shared=False)
            with self.node(place) as node:
                code, message = refusal(lambda: node.publish(place.target_path()))
                assert code is grpc.StatusCode.FAILED_PRECONDITION
                assert f"the mount at {place.base}/pods is not shared with the host" in message
                (problem,) = room_problems(place)
                doctor = look_at_pods(place.base)
            (line,) = self.warnings(node)
            assert f"the mount at {place.base}/pods is not shared with the host" in line
            assert "mountPropagation: Bidirectional" in line
            word = propagation_word(doctor.path, doctor.verdict, refuses_doubtful=False)
            assert problem == f"{word.found}; {word.cure}"
            assert provider.requests == []

    def test_a_wrong_kubelet_root_is_told_with_the_right_one(
        self, place: NodePlace, status_sync: FakeStatusSync, provider: FakeProvider
    ) -> None:
        real = f"{place.base}/real"
        os.makedirs(f"{place.base}/pods")
        with in_a_pod(real):
            bind_pods(f"{place.base}/pods", shared=True)
            target_path = f"{real}/pods/some-uid/volumes/kubernetes.io~csi/secrets/mount"
            with self.node(place) as node:
                code, message = refusal(lambda: node.publish(target_path))
            assert code is grpc.StatusCode.FAILED_PRECONDITION
            assert f"chart value linux.kubeletRootDir={real})" in message
            (line,) = self.warnings(node)
            assert "but kubelet has this very pod below" in line
            seen = look_at_pods(place.base)
            assert (seen.root.found in line, seen.root.cure in line) == (True, True)
            assert f"{real.removeprefix('/tmp')} (after" in line
            assert provider.requests == []


def room_problems(place: NodePlace) -> Sequence[str]:
    """What the room tells of itself on its state socket."""
    states = RoomStates({"node": f"{place.run_directory}/{STATE_SOCKETS['node']}"}, timeout_seconds=10.0)
    try:
        status = states.ask()["node"]
    finally:
        states.close()
    assert status is not None
    return status.problems


def bind_pods(path: str, *, shared: bool) -> None:
    """Make the directory of pods a mount of its own."""
    libc = ctypes.CDLL(None)
    assert libc.mount(path.encode(), path.encode(), None, ctypes.c_ulong(_MS_BIND), None) == 0
    if shared:
        assert libc.mount(None, path.encode(), None, ctypes.c_ulong(_MS_SHARED), None) == 0
