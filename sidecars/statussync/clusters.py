"""Which cluster: a directory of YAML files, or the Kubernetes API, whose client is imported only then."""

import os

from sidecars.statussync.config import Config
from sidecars.statussync.credentials import kubeconfig_paths
from sidecars.statussync.directory_cluster import DirectoryCluster
from sidecars.statussync.metrics import SyncMetrics
from sscsi.ports import Cluster


def make_cluster(config: Config, metrics: SyncMetrics) -> Cluster:
    """The Cluster port as the configuration has it. Raises ConfigError."""
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
