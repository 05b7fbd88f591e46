"""The external provider and its store: a pod of the appliance's image that runs provider_pod.py."""

import contextlib
import json
import os
from collections.abc import Iterator

from tests.cluster.real_cluster import RealCluster
from tests.e2e.build_image import NAME
from tests.e2e.driver import PYTHON
from tests.e2e.workloads import STORE, Namespace, wait

PROVIDERS = "/var/run/secrets-store-csi-providers"
KEY = "-----BEGIN KEY-----\nfor a test\n-----END KEY-----"
_PROGRAM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "provider_pod.py")
_POD = "e2e-store"
_DIRECTORY = "/store"


class Store:
    """What the provider's store holds, by name; it forgets with its pod."""

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace

    def refill(self) -> None:
        """Return once it serves and has `foo` and `fookey`, whatever its pod went through."""
        wait(self._namespace, "Ready", f"pod/{_POD}")
        self.put(foo="secret", fookey=KEY, **{".calls": ""})

    def put(self, **contents: str) -> None:
        """From now on, and each all at once."""
        program = (
            "import json, os, sys\n"
            "for name, content in json.load(sys.stdin).items():\n"
            f"    path = os.path.join({_DIRECTORY!r}, name)\n"
            "    open(path + '.new', 'w').write(content)\n"
            "    os.rename(path + '.new', path)\n"
        )
        self._run(program, stdin=json.dumps(contents))

    @contextlib.contextmanager
    def holding(self) -> Iterator[None]:
        """Calls wait in here."""
        with self._while_there(".hold"):
            yield

    @contextlib.contextmanager
    def refusing(self) -> Iterator[None]:
        """Calls are answered PERMISSION_DENIED in here."""
        with self._while_there(".deny"):
            yield

    def calls(self, pod: str) -> int:
        """How many calls there were for the pod, which is NAMESPACE/NAME."""
        lines = self._run(f"import sys; sys.stdout.write(open({_DIRECTORY!r} + '/.calls').read())")
        return lines.splitlines().count(pod.replace("/", " "))

    @contextlib.contextmanager
    def _while_there(self, name: str) -> Iterator[None]:
        self.put(**{name: ""})
        try:
            yield
        finally:
            self._run(f"import os; os.unlink({_DIRECTORY!r} + '/{name}')")

    def _run(self, program: str, *, stdin: str = "") -> str:
        return self._namespace.kubectl("exec", "--stdin", _POD, "--", PYTHON, "-c", program, stdin=stdin)


@contextlib.contextmanager
def serving(cluster: RealCluster, namespace: Namespace) -> Iterator[Store]:
    """The provider runs in here, with an empty store."""
    namespace.kubectl("create", "configmap", "provider", f"--from-file={_PROGRAM}")
    namespace.create(_pod(cluster))
    store = Store(namespace)
    store.refill()
    yield store


def _pod(cluster: RealCluster) -> object:
    socket = f"{PROVIDERS}/{STORE}.sock"
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": _POD},
        "spec": {
            "nodeName": cluster.node,
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 1,
            "containers": [
                {
                    "name": "provider",
                    "image": NAME,
                    "imagePullPolicy": "IfNotPresent",
                    "command": [PYTHON, f"/program/{os.path.basename(_PROGRAM)}", socket, _DIRECTORY],
                    "readinessProbe": {
                        "exec": {"command": [PYTHON, "-c", f"import os; os.stat({socket!r})"]},
                        "periodSeconds": 1,
                    },
                    "volumeMounts": [
                        {"name": "providers", "mountPath": PROVIDERS},
                        {"name": "program", "mountPath": "/program"},
                        {"name": "store", "mountPath": _DIRECTORY},
                    ],
                }
            ],
            "volumes": [
                {"name": "providers", "hostPath": {"path": PROVIDERS, "type": "DirectoryOrCreate"}},
                {"name": "program", "configMap": {"name": "provider"}},
                {"name": "store", "emptyDir": {"medium": "Memory"}},
            ],
        },
    }
