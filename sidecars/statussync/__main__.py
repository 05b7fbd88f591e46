"""The program `sscsi-statussync`: its real parts, wired."""

import os
import sys
import threading

from sidecars.statussync.config import Config, parse
from sidecars.statussync.directory_cluster import DirectoryCluster
from sidecars.statussync.room import StatusSyncRoom
from sscsi.edges.volume_reader import VolumeReader
from sscsi.edges.volumes_grpc import VolumesClient
from sscsi.process import run

# Pods wait for the node room and not for this one: where the processor is short, it goes second.
_NICENESS = 5


def serve(config: Config, stop: threading.Event) -> int:
    """Run the room on a directory; the exit code."""
    os.nice(_NICENESS)
    cluster = DirectoryCluster(config.cluster_directory)
    try:
        room = StatusSyncRoom(
            cluster=cluster,
            feed=VolumesClient(config.node_socket_path),
            files=VolumeReader(),
            run_directory=config.run_directory,
            node_id=config.node_id,
            stop_grace_seconds=config.stop_grace_seconds,
        )
        return room.run(stop)
    finally:
        cluster.close()


def main() -> int:
    """Entry point of the console script."""
    return run.room("statussync", parse, serve)


if __name__ == "__main__":
    sys.exit(main())
