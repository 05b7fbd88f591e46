"""The provider of the benchmark: answers at once, with as many files of as many bytes as the class says.

Run as `python -m tests.bench.provider SOCKET`. Both drivers under test call the same process.
"""

import functools
import hashlib
import json
import sys
from concurrent import futures

import grpc

from sscsi.pb import provider_pb2, provider_pb2_grpc
from sscsi.process.run import stop_on_signals
from tests.bench.processes import die_with_parent


class BenchProvider(provider_pb2_grpc.CSIDriverProviderServicer):
    """Serves content made once for each size and count."""

    def Version(
        self, request: provider_pb2.VersionRequest, context: grpc.ServicerContext
    ) -> provider_pb2.VersionResponse:
        return provider_pb2.VersionResponse(
            version="v1alpha1", runtime_name="sscsi-bench", runtime_version="1"
        )

    def Mount(
        self, request: provider_pb2.MountRequest, context: grpc.ServicerContext
    ) -> provider_pb2.MountResponse:
        attributes = json.loads(request.attributes)
        return _answer(int(attributes["files"]), int(attributes["bytes"]))


@functools.cache
def _answer(files: int, file_bytes: int) -> provider_pb2.MountResponse:
    answer = provider_pb2.MountResponse()
    for number in range(files):
        path = f"object-{number:03d}"
        contents = hashlib.shake_128(path.encode()).digest(file_bytes)
        answer.files.add(path=path, mode=0o644, contents=contents)
        answer.object_version.add(id=path, version=hashlib.sha256(contents).hexdigest()[:16])
    return answer


def main() -> int:
    die_with_parent()
    stop = stop_on_signals()
    server = grpc.server(futures.ThreadPoolExecutor(16))
    provider_pb2_grpc.add_CSIDriverProviderServicer_to_server(BenchProvider(), server)
    server.add_insecure_port(f"unix:{sys.argv[1]}")
    server.start()
    stop.wait()
    server.stop(1.0).wait()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
