"""A secrets store provider that runs in a pod of its own, from the appliance's image: `python provider_pod.py SOCKET STORE`.

The parameter `objects` names objects, with commas between them. An object's content is the file of its name below
STORE, and its version is a digest of that. While STORE/.hold is there calls wait; while STORE/.deny is, they are refused.
One line goes to STORE/.calls for each call: the pod's namespace and name.
"""

import hashlib
import json
import os
import sys
import threading
from concurrent import futures

import grpc

from sscsi.pb import provider_pb2, provider_pb2_grpc

_PAUSE_SECONDS = 0.05


class Provider(provider_pb2_grpc.CSIDriverProviderServicer):
    """The provider interface v1alpha1 on the files of a directory."""

    def __init__(self, store: str) -> None:
        self._store = store
        self._never = threading.Event()

    def Version(
        self, request: provider_pb2.VersionRequest, context: grpc.ServicerContext
    ) -> provider_pb2.VersionResponse:
        return provider_pb2.VersionResponse(
            version="v1alpha1", runtime_name="e2e-store", runtime_version="0.0.1"
        )

    def Mount(
        self, request: provider_pb2.MountRequest, context: grpc.ServicerContext
    ) -> provider_pb2.MountResponse:
        attributes = json.loads(request.attributes)
        json.loads(request.secrets), int(request.permission)
        self._note(" ".join(attributes[f"csi.storage.k8s.io/pod.{part}"] for part in ("namespace", "name")))
        while self._has(".hold") and context.is_active():
            self._never.wait(_PAUSE_SECONDS)
        if self._has(".deny"):
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "the store refuses")
        answer = provider_pb2.MountResponse()
        for name in attributes["objects"].split(","):
            try:
                with open(os.path.join(self._store, name), "rb") as file:
                    content = file.read()
            except FileNotFoundError:
                context.abort(grpc.StatusCode.NOT_FOUND, f"the store has no {name}")
            answer.files.add(path=name, mode=0o644, contents=content)
            answer.object_version.add(id=name, version=hashlib.sha256(content).hexdigest()[:12])
        return answer

    def _has(self, name: str) -> bool:
        return os.path.exists(os.path.join(self._store, name))

    def _note(self, line: str) -> None:
        with open(os.path.join(self._store, ".calls"), "a", encoding="utf-8") as file:
            file.write(f"{line}\n")


def main(socket_path: str, store: str) -> None:
    """Serve until the process is ended."""
    if os.path.exists(socket_path):
        os.unlink(socket_path)
    server = grpc.server(futures.ThreadPoolExecutor(32))
    provider_pb2_grpc.add_CSIDriverProviderServicer_to_server(Provider(store), server)
    server.add_insecure_port(f"unix:{socket_path}")
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main(*sys.argv[1:])
