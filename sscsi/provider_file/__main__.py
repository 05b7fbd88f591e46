"""`sscsi-provider-file`: the wiring of the file provider."""

import functools
import sys
import threading

import grpc

from sscsi.core.room_status import RoomStatus
from sscsi.edges.room_status import RoomService
from sscsi.edges.rooted_files import choose_opener, open_root
from sscsi.edges.run_directory import make_run_directory
from sscsi.pb import provider_pb2_grpc, sscsi_pb2_grpc
from sscsi.process.run import room
from sscsi.provider_file.config import Config, parse
from sscsi.provider_file.object_versions import ObjectVersions, load_or_make_key
from sscsi.provider_file.provider_service import Counter, ProviderService
from sscsi.provider_file.room import check_root, run_server


def serve(config: Config, stop: threading.Event) -> int:
    """Wire the room and run it. Raises ConfigError for a machine that lacks something."""
    opener = choose_opener()
    check_root(config.root, opener)
    make_run_directory(config.run_dir)
    make_run_directory(config.providers_directory)
    mounts = Counter()
    provider = ProviderService(
        functools.partial(open_root, config.root, opener),
        ObjectVersions(load_or_make_key(config.key_path)),
        mounts,
        by_namespace=config.by_namespace,
        max_response_bytes=config.max_response_bytes,
    )
    settings = {"root": config.root, "by_namespace": str(config.by_namespace).lower()}
    status = RoomService(
        "provider-file", lambda: RoomStatus(state="serving", facts=settings | mounts.facts())
    )

    def add_services(server: grpc.Server) -> None:
        provider_pb2_grpc.add_CSIDriverProviderServicer_to_server(provider, server)
        sscsi_pb2_grpc.add_RoomServicer_to_server(status, server)

    return run_server(config.socket_path, add_services, stop, config.stop_grace_seconds)


def main() -> int:
    """The console script."""
    return room("provider-file", parse, serve)


if __name__ == "__main__":
    sys.exit(main())
