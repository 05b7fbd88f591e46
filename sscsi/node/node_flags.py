"""The node room's flags: upstream's in upstream's spelling, and ours."""

from sscsi.process.flags import Flag

_MIB = 1024 * 1024
_NO_GO = "it belongs to Go's profiler."
_STDERR = "logs go to stderr only."

UPSTREAM_FLAGS = (
    Flag(
        name="endpoint",
        default="unix://tmp/csi.sock",
        help="CSI endpoint to listen on: unix:// or tcp://.",
        variable="CSI_ENDPOINT",
    ),
    Flag(
        name="drivername",
        default="secrets-store.csi.k8s.io",
        help="Name of the driver, answered by GetPluginInfo.",
    ),
    Flag(
        name="nodeid",
        default="",
        help="Name of the node, answered by NodeGetInfo; without it the host name.",
        variable="KUBE_NODE_NAME",
    ),
    Flag(
        name="provider-volume",
        default="/var/run/secrets-store-csi-providers",
        help="Directory of provider sockets, searched last.",
    ),
    Flag(
        name="additional-provider-volume-paths",
        default="/etc/kubernetes/secrets-store-csi-providers",
        help="More directories of provider sockets, comma separated, searched first and in this order.",
    ),
    Flag(
        name="enable-secret-rotation",
        default=False,
        help="Fetch content again while pods run.",
    ),
    Flag(
        name="rotation-poll-interval",
        default="2m",
        help="Age of the content from which it is fetched again, where neither class nor volume says otherwise; 0: whenever "
        "kubelet republishes the volume.",
    ),
    Flag(name="max-call-recv-msg-size", default=4 * _MIB, help="Largest answer of a provider, in bytes."),
    Flag(name="version", default=False, help="Print the version as JSON and leave."),
    Flag(
        name="metrics-addr",
        default=":8095",
        help="Address of the appliance's metrics page, which `sscsi run` gives to sscsi-livenessprobe: the node room "
        "listens nowhere for it; 0 or off: no such page.",
        variable="SSCSI_METRICS_ADDR",
    ),
    Flag(
        name="metrics-backend",
        default="Prometheus",
        help="Kind of the metrics page; everything but Prometheus is refused.",
    ),
    Flag(
        name="provider-health-check",
        default=False,
        help="Ask every provider for its version now and then, and tell which do not answer.",
    ),
    Flag(name="provider-health-check-interval", default=120.0, help="How often that is done."),
    Flag(
        name="kubeconfig",
        default="",
        help="Path of a kubeconfig file, which `sscsi run` gives to status-sync: the node room does not talk to the API.",
        variable="KUBECONFIG",
    ),
    Flag(name="enable-pprof", default=False, help="Serve profiles.", no_effect=_NO_GO),
    Flag(name="pprof-port", default=6065, help="Port of the profiles.", no_effect=_NO_GO),
    Flag(
        name="vmodule",
        default="",
        help="Verbosity by Go source file.",
        no_effect="there are no Go source files.",
    ),
    Flag(name="logtostderr", default=True, help="Log to stderr.", no_effect=_STDERR),
    Flag(name="alsologtostderr", default=False, help="Log to stderr too.", no_effect=_STDERR),
    Flag(name="stderrthreshold", default="2", help="Least severity on stderr.", no_effect=_STDERR),
    Flag(name="log_dir", default="", help="Directory of log files.", no_effect=_STDERR),
    Flag(name="log_file", default="", help="Log file.", no_effect=_STDERR),
    Flag(name="log_file_max_size", default=1800, help="Largest log file, in MiB.", no_effect=_STDERR),
    Flag(
        name="add_dir_header",
        default=False,
        help="Directory in each line's header.",
        no_effect="the program's name is there.",
    ),
    Flag(name="skip_headers", default=False, help="No headers.", no_effect="every line has one."),
    Flag(name="one_output", default=False, help="One file a severity.", no_effect=_STDERR),
    Flag(name="skip_log_headers", default=False, help="No headers in files.", no_effect=_STDERR),
    Flag(
        name="log_backtrace_at",
        default="",
        help="Stack trace at a line.",
        no_effect="there are no Go source files.",
    ),
)
OWN_FLAGS = (
    Flag(
        name="run-dir",
        default="/run/sscsi",
        help="Directory of the appliance's own sockets.",
        variable="SSCSI_RUN_DIR",
    ),
    Flag(
        name="state-dir",
        default="",
        help="Directory of the records of published volumes; without it `records` beside the endpoint's socket.",
        variable="SSCSI_STATE_DIR",
    ),
    Flag(
        name="provider-dirs",
        default="",
        help="The whole list of provider directories, comma separated, searched left to right; without it "
        "--additional-provider-volume-paths, then --provider-volume. RUN_DIR/providers goes before either.",
        variable="SSCSI_PROVIDER_DIRS",
    ),
    Flag(
        name="content-limit",
        default=64 * _MIB,
        help="Largest content of one volume, in bytes; the tmpfs has twice that, for the swap.",
    ),
    Flag(
        name="provider-timeout",
        default=100.0,
        help="Longest call to a provider; the caller's deadline less 5s if that is sooner.",
    ),
    Flag(
        name="secret-wait",
        default=2.0,
        help="How long a first publish waits for the Secrets of its class; 0: not at all.",
    ),
    Flag(
        name="max-publishes-per-provider",
        default=128,
        help="Publishes that may be with one provider at once.",
    ),
    Flag(
        name="max-waiting-publishes",
        default=1000,
        help="Publishes that may wait for that, over all providers.",
    ),
    Flag(
        name="audit-log",
        default="",
        help="Absolute path of a file, or `-` for stdout, for one JSON line about each delivery and refresh; empty: none.",
        variable="SSCSI_AUDIT_LOG",
    ),
    Flag(name="stop-grace", default=10.0, help="How long calls in flight may go on after SIGTERM."),
    Flag(
        name="rotation-poll-interval-floor",
        default="10s",
        help="Smallest interval that a class or a volume may ask for; never above --rotation-poll-interval unless given.",
    ),
    Flag(
        name="refresh-between-republishes",
        default=True,
        help="Fetch what is due when it is due; false: only when kubelet republishes a volume, every 60 to 90 s.",
    ),
    Flag(
        name="max-refreshes-per-provider",
        default=16,
        help="Refreshes that may be with one provider at once.",
    ),
    Flag(
        name="max-refreshes-per-second",
        default=100,
        help="Refreshes of one provider that may begin in a second; as many may begin at once after a pause.",
    ),
    Flag(
        name="share-provider-calls",
        default="file",
        help="Providers, comma separated, whose calls are shared between pods of equal identity without the class asking for it.",
    ),
)
