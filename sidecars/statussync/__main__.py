"""The program `sscsi-statussync`: its real parts, wired."""

import contextlib
import os
import sys
import threading

from sidecars.statussync.config import Config, parse
from sidecars.statussync.credentials import kubeconfig_paths
from sidecars.statussync.directory_cluster import DirectoryCluster
from sidecars.statussync.metrics import SyncMetrics
from sidecars.statussync.room import StatusSyncRoom
from sidecars.statussync.secret_rules import secret_rules
from sscsi.edges.volume_reader import VolumeReader
from sscsi.edges.volumes_grpc import VolumesClient
from sscsi.ports import Cluster
from sscsi.process import run

# Pods wait for the node room and not for this one: where the processor is short, it goes second.
_NICENESS = 5


def serve(config: Config, stop: threading.Event) -> int:
    """Run the room; the exit code."""
    os.nice(_NICENESS)
    metrics = SyncMetrics()
    with contextlib.closing(_cluster(config, metrics)) as cluster:
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


def _cluster(config: Config, metrics: SyncMetrics) -> Cluster:
    if config.cluster_directory:
        return DirectoryCluster(config.cluster_directory, metrics)
    # The Kubernetes client is 20 MiB that the embedded form does without.
    from sidecars.statussync.kube.cluster import KubernetesCluster  # noqa: PLC0415
    from sidecars.statussync.kube.connection import loader  # noqa: PLC0415

    return KubernetesCluster(
        loader(kubeconfig_paths(config.kubeconfig, os.environ)),
        node_id=config.node_id,
        requests_per_second=config.requests_per_second,
        burst=config.burst,
        watch_seconds=config.watch_seconds,
        pod_annotations=config.pod_annotations,
        metrics=metrics,
    )


def main() -> int:
    """Entry point of the console script."""
    return run.room("statussync", parse, serve)


if __name__ == "__main__":
    sys.exit(main())
