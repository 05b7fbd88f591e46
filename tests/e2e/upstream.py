"""Upstream's driver on the node of the cluster, applied over ours and the other way round, as a take-over and a way back do."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence

from tests.cluster.csi_node import CsiNode
from tests.e2e import oci_archive, upstream_build
from tests.e2e.driver import CONTAINER, DAEMON_SET, NAMESPACE, ROTATION, SECONDS, Driver, write_kustomization
from tests.e2e.node import Node
from tests.e2e.upstream_manifests import IMAGE, SIDECARS, daemon_set, manifests
from tests.support.checkout import ROOT
from tests.support.require import require

# Its pods' label in upstream's chart.
_CHART = "secrets-store-csi-driver"
_ENTRY_POINT = f"/{upstream_build.PROGRAM}"
# It misses calls that come sooner after a change.
_ROTATION = ("--enable-secret-rotation=true", "--rotation-poll-interval=1s")
_LIBRARY = re.compile(r"(/\S+) \(0x")


class Upstream:
    """Who has the node just now is who was applied last; both methods return when kubelet has registered that one."""

    def __init__(self, node: Node, driver: Driver, csi_node: CsiNode) -> None:
        self._cluster = node.cluster
        self._driver = driver
        self._csi_node = csi_node

    def take_over(self, *, definitions: bool = True) -> None:
        """Apply upstream's manifests over ours, with rotation; without `definitions` ours stay, as after Helm's rollback."""
        objects = manifests(*_ROTATION, program=_sidecars())
        with self._new_registration():
            self._apply(
                [found for found in objects if definitions or found["kind"] != "CustomResourceDefinition"]
            )
        self._driver.wait_ready()
        assert self.containers() == ["node-driver-registrar", CONTAINER, "liveness-probe"]

    def give_back(self, *arguments: str) -> None:
        """Apply our manifests over upstream's, or over our own; `arguments` in place of the driver's own of the same name."""
        with tempfile.TemporaryDirectory(prefix="sscsi-e2e.") as directory:
            write_kustomization(directory, arguments=arguments)
            with self._new_registration():
                self._cluster.kubectl("apply", "--kustomize", directory)
        assert self.containers() == [CONTAINER]
        self._driver.wait_ready()

    @contextlib.contextmanager
    def beside_ours(self) -> Iterator[None]:
        """In here there is a DaemonSet of upstream's, too, with the names of its chart; it takes the node's sockets."""
        name = f"upstream-{_CHART}"
        with self._new_registration():
            self._apply(daemon_set(*_ROTATION, program=_sidecars(), name=name, app=_CHART))
        try:
            yield
        finally:
            self._kubectl(
                "delete", "daemonset", name, f"--timeout={SECONDS / 2:.0f}s", "--cascade=foreground"
            )

    def containers(self) -> list[str]:
        """Of the driver's pods, as the DaemonSet has them."""
        jsonpath = "--output=jsonpath={.spec.template.spec.containers[*].name}"
        return self._kubectl("get", "daemonset", DAEMON_SET, jsonpath).split()

    def log(self) -> str:
        """Of the driver's own container."""
        return self._kubectl("logs", self._driver.pod(), f"--container={CONTAINER}")

    def _apply(self, objects: Sequence[object]) -> None:
        document = {"apiVersion": "v1", "kind": "List", "items": objects}
        self._cluster.kubectl("apply", "--filename=-", stdin=json.dumps(document))

    @contextlib.contextmanager
    def _new_registration(self) -> Iterator[None]:
        begun = time.monotonic()
        yield
        self._csi_node.wait_listed(since=self._csi_node.wait_unlisted(since=begun))

    def _kubectl(self, *arguments: str) -> str:
        return self._cluster.kubectl(f"--namespace={NAMESPACE}", *arguments)


@contextlib.contextmanager
def beside(node: Node, driver: Driver, csi_node: CsiNode) -> Iterator[Upstream]:
    """Upstream can be applied in here; afterwards the node is ours as before."""
    import_image(node)
    upstream = Upstream(node, driver, csi_node)
    try:
        yield upstream
    finally:
        if upstream.containers() != [CONTAINER]:
            # Shown with a test that fails.
            print(upstream.log())
            upstream.give_back(*ROTATION)
        node.cluster.kubectl(
            "delete", f"--namespace={NAMESPACE}", "configmap", SIDECARS, "--ignore-not-found"
        )


def import_image(node: Node) -> None:
    """Give the node upstream's driver in an image like upstream's: the program, mount(8), umount(8) and their libraries."""
    program = require("upstream")
    with tempfile.TemporaryDirectory(prefix="sscsi-upstream.", dir="/tmp") as directory:
        rootfs = os.path.join(directory, "rootfs")
        os.makedirs(os.path.join(rootfs, "tmp"))
        shutil.copy(program, f"{rootfs}{_ENTRY_POINT}")
        for path in ("/bin/mount", "/bin/umount", *_libraries("/bin/mount", "/bin/umount")):
            os.makedirs(os.path.dirname(f"{rootfs}{path}"), exist_ok=True)
            shutil.copy(path, f"{rootfs}{path}")
        architecture = subprocess.run(
            ["dpkg", "--print-architecture"], capture_output=True, text=True, check=True
        ).stdout.strip()
        archive = os.path.join(directory, "image.tar")
        config = {"Entrypoint": [_ENTRY_POINT], "Env": ["PATH=/bin"]}
        oci_archive.write(archive, rootfs=rootfs, config=config, name=IMAGE, architecture=architecture)
        node.import_image(archive)


def _sidecars() -> str:
    with open(os.path.join(ROOT, "tests", "e2e", "upstream_sidecars.py"), encoding="utf-8") as file:
        return file.read()


def _libraries(*programs: str) -> list[str]:
    answer = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=True)
    return sorted(set(_LIBRARY.findall(answer.stdout)))
