"""The environment variables of the appliance: one table for `sscsi run`, its help, the README and the tests."""

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One variable. `default` stands in for an unset or empty one; `shown_default` is it in words."""

    variable: str
    default: str
    about: str
    shown_default: str = ""


# Where upstream's manifests have the socket on the host.
KUBELET_REGISTRATION_PATH = "/var/lib/kubelet/plugins/csi-secrets-store/csi.sock"
SETTINGS = (
    Setting(
        variable="CSI_ENDPOINT",
        default="unix:///csi/csi.sock",
        about="Where kubelet calls: unix:///PATH or tcp://HOST:PORT. The socket's directory must exist.",
    ),
    Setting(
        variable="KUBE_NODE_NAME",
        default="",
        shown_default="the host's name",
        about="Name of the node, as the Kubernetes API has it.",
    ),
    Setting(
        variable="SSCSI_CLUSTER",
        default="kubernetes",
        about="Where classes come from and status goes to: `kubernetes`, or `dir:PATH` for a directory of YAML files.",
    ),
    Setting(
        variable="KUBECONFIG",
        default="",
        shown_default="the pod's own credentials",
        about="Path of a kubeconfig file, for `kubernetes` outside a pod.",
    ),
    Setting(
        variable="SSCSI_RUN_DIR",
        default="/run/sscsi",
        about="The rooms' sockets; made (mode 0750) when it is not there. Built-in providers are in `providers` below it.",
    ),
    Setting(
        variable="SSCSI_STATE_DIR",
        default="",
        shown_default="`records` beside the CSI socket",
        about="Records of published volumes. Keep it on the host: a restarted container finds its volumes by them.",
    ),
    Setting(
        variable="SSCSI_PROVIDER_DIRS",
        default="",
        shown_default="upstream's two: `/etc/kubernetes/secrets-store-csi-providers,/var/run/secrets-store-csi-providers`",
        about="Directories of provider sockets, comma separated, searched left to right after `$SSCSI_RUN_DIR/providers`.",
    ),
    Setting(
        variable="SSCSI_FILE_PROVIDER_ROOT",
        default="",
        shown_default="unset: no file provider",
        about="Directory that the built-in provider `file` serves.",
    ),
    Setting(
        variable="SSCSI_FILE_PROVIDER_BY_NAMESPACE",
        default="true",
        about="Serve a pod only what is below ROOT/<its namespace>; `false` is for `dir:PATH` only.",
    ),
    Setting(
        variable="SSCSI_FILE_PROVIDER_MAX_RESPONSE_BYTES",
        default="4194304",
        about="Largest answer of the file provider; sscsi-node takes answers up to its --max-call-recv-msg-size.",
    ),
    Setting(
        variable="SSCSI_NODE_ARGS",
        default="",
        about="More flags for sscsi-node, quoted as for a shell. Arguments of `sscsi run` come after them.",
    ),
    Setting(
        variable="SSCSI_STATUSSYNC_ARGS",
        default="",
        about="More flags for sscsi-statussync, quoted as for a shell.",
    ),
    Setting(
        variable="SSCSI_POD_ANNOTATIONS",
        default="true",
        about="Watch the metadata of this node's pods for the annotation that asks for a refresh, with `kubernetes`.",
    ),
    Setting(
        variable="SSCSI_LOG_FORMAT_JSON",
        default="false",
        about="Logs of every program as JSON, one object a line, instead of klog's text.",
    ),
    Setting(
        variable="SSCSI_LOG_VERBOSITY",
        default="0",
        about="Verbosity of every program's log: 2 each publish, 4 decisions, 5 every call, 10 libraries too.",
    ),
    Setting(
        variable="SSCSI_AUDIT_LOG",
        default="",
        about="Absolute path of a file, or `-` for stdout: one JSON line about each delivery and refresh; empty: none.",
    ),
    Setting(
        variable="SSCSI_KUBELET_REGISTRATION_PATH",
        default="",
        shown_default=f"with `kubernetes` `{KUBELET_REGISTRATION_PATH}`, else unset: no registrar",
        about="Path of the CSI socket on the host, as kubelet is told it. With it the driver is registered with kubelet.",
    ),
    Setting(
        variable="SSCSI_REGISTRATION_DIR",
        default="/registration",
        about="Directory of kubelet's plugin registration sockets (/var/lib/kubelet/plugins_registry on the host).",
    ),
    Setting(
        variable="SSCSI_HEALTH_ENDPOINT",
        default="0.0.0.0:9808",
        about="Address of the health pages, HOST:PORT; `off` for none.",
    ),
    Setting(
        variable="SSCSI_METRICS_ADDR",
        default=":8095",
        about="Address of the metrics page, HOST:PORT; `off` or `0` for none. The flag --metrics-addr goes before it.",
    ),
    Setting(
        variable="SSCSI_PROBE_USER",
        default="65532:65532",
        about="User and group, as numbers, of the liveness probe; the group may enter the run directory.",
    ),
    Setting(
        variable="SSCSI_MEMORY_BUDGETS",
        default="",
        shown_default="see sscsi-watchdog --help",
        about="Memory at which the watchdog starts a program anew: PROGRAM=SIZE, comma separated; SIZE may be `off`.",
    ),
    Setting(
        variable="SSCSI_REGISTRAR_ARGS",
        default="",
        about="More flags for sscsi-registrar, quoted as for a shell.",
    ),
    Setting(
        variable="SSCSI_LIVENESSPROBE_ARGS",
        default="",
        about="More flags for sscsi-livenessprobe, quoted as for a shell.",
    ),
    Setting(
        variable="SSCSI_WATCHDOG_ARGS",
        default="",
        about="More flags for sscsi-watchdog, quoted as for a shell.",
    ),
)
# Set by `sscsi run` from the settings, for what supervisord itself decides by; not for people.
AUTOSTART_FILE_PROVIDER = "SSCSI_PROVIDER_FILE_AUTOSTART"
AUTOSTART_REGISTRAR = "SSCSI_REGISTRAR_AUTOSTART"
AUTOSTART_LIVENESSPROBE = "SSCSI_LIVENESSPROBE_AUTOSTART"


def given(environ: Mapping[str, str]) -> dict[str, str]:
    """Every setting's value: the variable's, or the default for one that is unset or empty."""
    return {setting.variable: environ.get(setting.variable) or setting.default for setting in SETTINGS}
