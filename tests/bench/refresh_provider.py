"""The provider of the part `refresh`: takes its time, writes every call down, changes and refuses as it is told.

Run as `python -m tests.bench.refresh_provider SOCKET ORDERS CALLS`. ORDERS is a JSON file, looked at for each call;
CALLS gets a line for each, when it has its answer (`store` has both formats).
"""

import functools
import hashlib
import json
import random
import sys
import threading
import time
from concurrent import futures
from typing import TextIO

import grpc

from sscsi.pb import provider_pb2, provider_pb2_grpc
from sscsi.process.run import stop_on_signals
from tests.bench.processes import die_with_parent

# More than a node room has with one provider at once, starting pods included.
_THREADS = 128
_SEED = 20260606


class RefreshProvider(provider_pb2_grpc.CSIDriverProviderServicer):
    """Serves the content of the present generation, or RESOURCE_EXHAUSTED."""

    def __init__(self, orders: str, calls: TextIO) -> None:
        self._orders = orders
        self._calls = calls
        self._lock = threading.Lock()
        self._random = random.Random(_SEED)

    def Version(
        self, request: provider_pb2.VersionRequest, context: grpc.ServicerContext
    ) -> provider_pb2.VersionResponse:
        return provider_pb2.VersionResponse(
            version="v1alpha1", runtime_name="sscsi-bench", runtime_version="1"
        )

    def Mount(
        self, request: provider_pb2.MountRequest, context: grpc.ServicerContext
    ) -> provider_pb2.MountResponse:
        begun = time.monotonic()
        with open(self._orders, encoding="ascii") as file:
            orders = json.load(file)
        with self._lock:
            is_refused = self._random.random() < orders["refused"]
        if not is_refused:
            # What the store held when it was asked: a change of a moment later is of the next call.
            threading.Event().wait(orders["seconds"])
        attributes = json.loads(request.attributes)
        call = [
            begun,
            time.monotonic(),
            request.target_path,
            attributes["secretProviderClass"],
            not is_refused,
        ]
        with self._lock:
            self._calls.write(json.dumps(call) + "\n")
            self._calls.flush()
        if is_refused:
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many requests")
        return _answer(int(attributes["files"]), int(attributes["bytes"]), orders["generation"])


@functools.cache
def _answer(files: int, file_bytes: int, generation: int) -> provider_pb2.MountResponse:
    answer = provider_pb2.MountResponse()
    for number in range(files):
        path = f"object-{number:03d}"
        # The generation comes first, as text: whoever reads a file sees of which it is.
        contents = f"{generation} ".encode() + hashlib.shake_128(path.encode()).digest(file_bytes)
        answer.files.add(path=path, mode=0o644, contents=contents)
        answer.object_version.add(id=path, version=hashlib.sha256(contents).hexdigest()[:16])
    return answer


def main() -> int:
    socket_path, orders, calls_path = sys.argv[1:]
    die_with_parent()
    stop = stop_on_signals()
    with open(calls_path, "a", encoding="utf-8") as calls:
        server = grpc.server(futures.ThreadPoolExecutor(_THREADS))
        provider_pb2_grpc.add_CSIDriverProviderServicer_to_server(RefreshProvider(orders, calls), server)
        server.add_insecure_port(f"unix:{socket_path}")
        server.start()
        stop.wait()
        server.stop(1.0).wait()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
