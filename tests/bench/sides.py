"""The two drivers that are compared, each with its processes and a kubelet to drive it."""

import contextlib
import dataclasses
import json
import os
import socket
from collections.abc import Iterator, Sequence

from tests.bench.errors import BenchError
from tests.bench.kubelet_client import KubeletClient
from tests.bench.processes import Process, started, wait_until
from tests.bench.volumes import NAMESPACE, PROVIDER, Content, make_volumes, remove_directories

APPLIANCE = "sscsi"
FLOOR = "floor"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One driver that answers. `processes` are all that it needs, without the provider."""

    name: str
    kubelet: KubeletClient
    processes: Sequence[Process]
    kubelet_root: str

    def process(self, name: str) -> Process:
        return next(process for process in self.processes if process.name == name)


@contextlib.contextmanager
def bench_provider(root: str) -> Iterator[str]:
    """The provider process; gives the directory of its socket."""
    directory = f"{root}/providers"
    os.mkdir(directory)
    socket_path = f"{directory}/{PROVIDER}.sock"
    with started("provider", "tests.bench.provider", [socket_path], f"{root}/provider.log") as process:
        wait_until("a connection to the provider", lambda: accepts(socket_path), [process])
        yield directory


def accepts(socket_path: str) -> bool:
    """Whether somebody listens there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        return connection.connect_ex(socket_path) == 0


@contextlib.contextmanager
def floor(name: str, root: str, provider_directory: str, contents: Sequence[Content]) -> Iterator[Side]:
    """The floor, ready to publish."""
    home = f"{root}/{name}"
    os.makedirs(home)
    socket_path = f"{home}/csi.sock"
    classes = {content.class_name: content.parameters for content in contents}
    arguments = [socket_path, f"{provider_directory}/{PROVIDER}.sock", json.dumps(classes)]
    with started(FLOOR, "tests.bench.floor", arguments, f"{home}/floor.log") as process:
        yield _ready_side(name, home, socket_path, [process], contents)


@contextlib.contextmanager
def appliance(
    name: str,
    root: str,
    provider_directory: str,
    contents: Sequence[Content],
    node_arguments: Sequence[str] = (),
    *,
    cluster: Sequence[str] = (),
) -> Iterator[Side]:
    """The node room and status-sync, ready to publish: over a directory of class files, unless `cluster`, arguments of
    status-sync, names another.
    """
    home = f"{root}/{name}"
    for directory in (home, f"{home}/run", f"{home}/state", f"{home}/cluster"):
        os.makedirs(directory, 0o750)
    for content in contents:
        write_class(f"{home}/cluster", content)
    socket_path = f"{home}/csi.sock"
    run_flag = f"--run-dir={home}/run"
    with (
        started(
            "statussync",
            "sidecars.statussync",
            [run_flag, f"--cluster=dir:{home}/cluster", *cluster],
            f"{home}/statussync.log",
        ) as statussync,
        started(
            "node",
            "sscsi.node",
            [
                f"--endpoint=unix://{socket_path}",
                run_flag,
                f"--state-dir={home}/state",
                f"--provider-dirs={provider_directory}",
                "--nodeid=bench",
                "--require-shared-propagation=false",  # the mount namespace is private, on purpose
                *node_arguments,
            ],
            f"{home}/node.log",
        ) as node,
    ):
        yield _ready_side(name, home, socket_path, [node, statussync], contents)


def write_class(directory: str, content: Content) -> None:
    """A file with the class that asks the provider for `content`."""
    manifest = {
        "apiVersion": "secrets-store.csi.x-k8s.io/v1",
        "kind": "SecretProviderClass",
        "metadata": {
            "name": content.class_name,
            "namespace": NAMESPACE,
            "annotations": dict(content.annotations),
        },
        "spec": {"provider": PROVIDER, "parameters": content.parameters},
    }
    with open(f"{directory}/{content.class_name}.yaml", "w", encoding="utf-8") as file:
        json.dump(manifest, file, indent=2)  # JSON is YAML


def _ready_side(
    name: str, home: str, socket_path: str, processes: Sequence[Process], contents: Sequence[Content]
) -> Side:
    side = Side(
        name=name,
        kubelet=KubeletClient(socket_path),
        processes=processes,
        kubelet_root=f"{home}/kubelet",
    )
    wait_until(f"an answer of {name}", side.kubelet.answers, processes)
    for content in contents:
        _publish_first(side, content)
    return side


def _publish_first(side: Side, content: Content) -> None:
    """One volume of each content, tried until every peer of the driver is up; nothing of it is measured."""
    volumes = make_volumes(side.kubelet_root, content, 1)
    errors: list[str] = []

    def published() -> bool:
        errors[:] = side.kubelet.publish(volumes, in_flight=1).errors
        return not errors

    try:
        wait_until(f"a first publish of {content.name} by {side.name}", published, side.processes)
    except BenchError as error:
        raise BenchError(f"{error}; its answer was: {errors}") from error
    errors = side.kubelet.unpublish(volumes, in_flight=1).errors
    if errors:
        raise BenchError(f"{side.name} cannot unpublish: {errors}")
    remove_directories(volumes)
