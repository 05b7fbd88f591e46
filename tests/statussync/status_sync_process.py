"""A status-sync process for tests: its directories, its sockets, and what it wrote."""

import contextlib
import dataclasses
import itertools
import os
import signal
from pathlib import Path
from typing import Any

import grpc
import yaml

from sscsi.cli.appliance import is_served
from sscsi.core.published_volume import PublishedVolume
from sscsi.pb import sscsi_pb2, sscsi_pb2_grpc
from tests.statussync.fake_node_room import FakeNodeRoom, to_message
from tests.statussync.making import VERSION, make_volume
from tests.support.preloaded import Preloaded, Program
from tests.support.waiting import wait_until

MODULE = "sidecars.statussync.__main__"
_QUICK_RECONNECT = (
    ("grpc.initial_reconnect_backoff_ms", 20),
    ("grpc.min_reconnect_backoff_ms", 20),
    ("grpc.max_reconnect_backoff_ms", 100),
    ("grpc.use_local_subchannel_pool", 1),
)


class StatusSync:
    """A status-sync process, its cluster directory and its run directory."""

    def __init__(self, root: Path, programs: Preloaded) -> None:
        self._programs = programs
        self.cluster = root / "cluster"
        self.run = root / "run"
        self.log = root / "log"
        self.volumes = root / "volumes"
        self._numbers = itertools.count()
        for directory in (self.cluster, self.run, self.volumes):
            directory.mkdir()
        self.socket_path = self.run / "statussync.sock"
        self.node = FakeNodeRoom(str(self.run / "node.sock"))
        self.process: Program | None = None
        self._channel: grpc.Channel | None = None

    def start(self, *arguments: str) -> None:
        self.process = self._programs.start(
            MODULE,
            [
                f"--cluster=dir:{self.cluster}",
                f"--run-dir={self.run}",
                "--nodeid=node-1",
                "-v=5",
                *arguments,
            ],
            environ={},
            log_file=str(self.log),
        )
        wait_until(self._answers, "status-sync answers")

    def terminate(self) -> int:
        """SIGTERM; the exit code."""
        code = self._program().terminate()
        self._forget()
        return code

    def kill(self) -> None:
        """Kill -9."""
        assert self._program().kill() == -signal.SIGKILL
        self._forget()

    def close(self) -> None:
        self.node.stop()
        if self.process is not None and self.process.is_alive():
            self.kill()

    def _program(self) -> Program:
        assert self.process is not None
        return self.process

    def _forget(self) -> None:
        self.process = None
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    @property
    def channel(self) -> grpc.Channel:
        if self._channel is None:
            self._channel = grpc.insecure_channel(f"unix:{self.socket_path}", _QUICK_RECONNECT)
        return self._channel

    @property
    def classes(self) -> sscsi_pb2_grpc.ClassesStub:
        return sscsi_pb2_grpc.ClassesStub(self.channel)

    def get(self, name: str = "app", namespace: str = "default") -> sscsi_pb2.SecretProviderClass:
        request = sscsi_pb2.GetClassRequest(namespace=namespace, name=name)
        return self.classes.Get(request, timeout=10.0)

    def ensure(self, volume: PublishedVolume, timeout: float = 10.0) -> list[str]:
        request = sscsi_pb2.EnsureSecretsRequest(volume=to_message(volume))
        return list(self.classes.EnsureSecrets(request, timeout=timeout).problems)

    def status(self) -> sscsi_pb2.RoomStatusResponse:
        with grpc.insecure_channel(f"unix:{self.run / 'statussync-state.sock'}", _QUICK_RECONNECT) as channel:
            stub = sscsi_pb2_grpc.RoomStub(channel)
            return stub.Status(sscsi_pb2.RoomStatusRequest(), timeout=60.0)

    def publish(self, content: bytes = b"s3cret", **changes: Any) -> PublishedVolume:
        """A volume on disk, in upstream's layout; the node room does not know of it yet."""
        volume = make_volume(**changes)
        name = f"volume-{next(self._numbers)}"
        target = self.volumes / "pods" / volume.pod_uid / "volumes/kubernetes.io~csi" / name / "mount"
        (target / VERSION).mkdir(parents=True)
        (target / VERSION / "password").write_bytes(content)
        (target / "..data").symlink_to(VERSION)
        return dataclasses.replace(volume, target_path=str(target))

    def objects(self) -> dict[str, Any]:
        """Every object below PATH/status, by kind, namespace and name."""
        found = {}
        # Unlike rglob, os.walk passes over what is removed while it looks.
        for directory, _, names in os.walk(self.cluster / "status"):
            for name in names:
                if not name.endswith(".yaml"):
                    continue
                with contextlib.suppress(FileNotFoundError):
                    manifest = yaml.safe_load((Path(directory) / name).read_text())
                    metadata = manifest["metadata"]
                    found[f"{manifest['kind']} {metadata['namespace']}/{metadata['name']}"] = manifest
        return found

    def wait_for(self, *names: str) -> dict[str, Any]:
        wait_until(lambda: self.objects().keys() == set(names), f"the objects are {names}")
        return self.objects()

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.is_alive(), self.log.read_text()
        try:
            self.status()
        except grpc.RpcError:
            return False
        # The state socket is there first.
        return is_served(str(self.socket_path))
