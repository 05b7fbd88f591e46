"""The program `sscsi-statussync`: its real parts, wired."""

import contextlib
import os
import sys
import threading

from sidecars.statussync.clusters import make_cluster
from sidecars.statussync.config import Config, parse
from sidecars.statussync.metrics import SyncMetrics
from sidecars.statussync.room import StatusSyncRoom
from sidecars.statussync.secret_rules import secret_rules
from sscsi.edges.volume_reader import VolumeReader
from sscsi.edges.volumes_grpc import VolumesClient
from sscsi.process import run

# Pods wait for the node room and not for this one: where the processor is short, it goes second.
_NICENESS = 5


def serve(config: Config, stop: threading.Event) -> int:
    """Run the room; the exit code."""
    os.nice(_NICENESS)
    metrics = SyncMetrics()
    with contextlib.closing(make_cluster(config, metrics)) as cluster:
        return StatusSyncRoom(
            cluster=cluster,
            feed=VolumesClient(config.node_socket_path),
            files=VolumeReader(),
            rules=secret_rules(allow_privileged_types=config.allow_privileged_types),
            metrics=metrics,
            run_directory=config.run_directory,
            node_id=config.node_id,
            stop_grace_seconds=config.stop_grace_seconds,
        ).run(stop)


def main() -> int:
    """Entry point of the console script."""
    return run.room("statussync", parse, serve)


if __name__ == "__main__":
    sys.exit(main())
