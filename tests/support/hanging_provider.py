"""A provider in a process of its own, that never answers and can be killed: `... SOCKET MARK`, a file made when asked."""

import sys
import threading

from sscsi.pb import provider_pb2
from tests.fakes import fake_provider


def main() -> int:
    """Serve until killed."""
    socket_path, mark = sys.argv[1:]
    never = threading.Event()

    def answer(_request: provider_pb2.MountRequest) -> provider_pb2.MountResponse:
        open(mark, "wb").close()
        never.wait()
        return provider_pb2.MountResponse()

    provider = fake_provider.FakeProvider()
    provider.answer = answer
    with fake_provider.serving(provider, socket_path):
        never.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
