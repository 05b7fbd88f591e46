"""The room's command line."""

import dataclasses
import os
from collections.abc import Mapping, Sequence

from sscsi.core import run_files
from sscsi.errors import ConfigError
from sscsi.process.flags import Flag, Flags
from sscsi.process.flags import parse as parse_flags
from sscsi.process.run import LOG_FLAGS

PROGRAM = "sscsi-statussync"
STATUS = "status"
KUBERNETES = "kubernetes"
_DIRECTORY_FORM = "dir:"
_SHORTEST_WATCH_SECONDS, _LONGEST_WATCH_SECONDS = 10.0, 86400.0
_FLAGS = (
    Flag(
        name="cluster",
        default=KUBERNETES,
        help="Where classes, status objects and Secrets are: kubernetes, the Kubernetes API, or dir:PATH, a directory "
        "of YAML files.",
        variable="SSCSI_CLUSTER",
    ),
    Flag(
        name="run-dir",
        default="/run/sscsi",
        help="Directory of the rooms' sockets.",
        variable="SSCSI_RUN_DIR",
    ),
    Flag(
        name="nodeid",
        default="",
        help="Name of this node, for the label of status objects.",
        variable="KUBE_NODE_NAME",
    ),
    Flag(
        name="kubeconfig",
        default="",
        help="Path of a kubeconfig file; without one, the credentials of the pod that this runs in, then "
        "~/.kube/config.",
        variable="KUBECONFIG",
    ),
    Flag(name="kube-api-qps", default=20, help="Requests a second to the API server, on average."),
    Flag(name="kube-api-burst", default=30, help="Requests to the API server at once, after a rest."),
    Flag(
        name="kube-watch-timeout",
        default=1800.0,
        help="How long a watch lasts at least before it is asked for anew; at most twice as long.",
    ),
    Flag(
        name="pod-annotations",
        default=True,
        help="Watch the metadata of this node's pods, while it has volumes, for the annotation by which a pod asks for a "
        "refresh.",
        variable="SSCSI_POD_ANNOTATIONS",
    ),
    Flag(
        name="allow-privileged-secret-types",
        default=False,
        help="Make Secrets of types bootstrap.kubernetes.io/token and kubernetes.io/service-account-token, which give "
        "rights to whoever may write a class.",
        variable="SSCSI_ALLOW_PRIVILEGED_SECRET_TYPES",
    ),
    Flag(name="stop-grace", default=2.0, help="How long calls under way may go on when asked to stop."),
    *LOG_FLAGS,
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What the room needs to know. A bad value raises ConfigError."""

    cluster_directory: str
    """PATH of `--cluster=dir:PATH`; empty: the Kubernetes API."""
    kubeconfig: str
    """Path, or several as KUBECONFIG has them; empty: in-cluster credentials, or the user's own file."""
    requests_per_second: int
    burst: int
    watch_seconds: float
    pod_annotations: bool
    """Hear of the annotations of pods, in the Kubernetes form."""
    run_directory: str
    """Directory of the rooms' sockets."""
    node_id: str
    """Value of the node label; empty where there is but one node."""
    allow_privileged_types: bool
    """Make Secrets of the types by which the API gives rights."""
    stop_grace_seconds: float
    log_as_json: bool
    log_verbosity: int
    flags: Flags

    def __post_init__(self) -> None:
        if not self.run_directory:
            raise ConfigError("flag --run-dir must not be empty")
        if self.stop_grace_seconds < 0:
            raise ConfigError("flag --stop-grace must not be negative")
        for name, value in (
            ("kube-api-qps", self.requests_per_second),
            ("kube-api-burst", self.burst),
        ):
            if value < 1:
                raise ConfigError(f"flag --{name} must be at least 1")
        if not _SHORTEST_WATCH_SECONDS <= self.watch_seconds <= _LONGEST_WATCH_SECONDS:
            raise ConfigError("flag --kube-watch-timeout must be between 10s and 24h")
        if not self.cluster_directory and not self.node_id:
            raise ConfigError(
                "flag --nodeid is required with --cluster=kubernetes: the node's name in the API, as KUBE_NODE_NAME"
            )

    @property
    def status_directory(self) -> str:
        """Where status objects and Secrets are written: with root's rights only, it must be there already."""
        return os.path.join(self.cluster_directory, STATUS)

    @property
    def node_socket_path(self) -> str:
        return os.path.join(self.run_directory, run_files.NODE)


def parse(argv: Sequence[str], environ: Mapping[str, str]) -> Config:
    """The configuration. Raises ConfigError, HelpRequestedError."""
    flags = parse_flags(PROGRAM, _FLAGS, argv, environ)
    return Config(
        cluster_directory=_cluster_directory(flags.text("cluster")),
        kubeconfig=flags.text("kubeconfig"),
        requests_per_second=flags.integer("kube-api-qps"),
        burst=flags.integer("kube-api-burst"),
        watch_seconds=flags.seconds("kube-watch-timeout"),
        pod_annotations=flags.boolean("pod-annotations"),
        run_directory=flags.text("run-dir"),
        node_id=flags.text("nodeid"),
        allow_privileged_types=flags.boolean("allow-privileged-secret-types"),
        stop_grace_seconds=flags.seconds("stop-grace"),
        log_as_json=flags.boolean("log-format-json"),
        log_verbosity=flags.integer("v"),
        flags=flags,
    )


def _cluster_directory(cluster: str) -> str:
    if cluster == KUBERNETES:
        return ""
    path = cluster.removeprefix(_DIRECTORY_FORM)
    if path == cluster or not path:
        raise ConfigError(f"--cluster={cluster} is neither kubernetes nor dir:PATH")
    return path
