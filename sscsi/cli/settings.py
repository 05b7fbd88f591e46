"""The environment variables of the appliance: one table for `sscsi run`, its help, the README and the tests."""

import dataclasses
from collections.abc import Mapping

_SIDECARS_LATER = "the registrar and the liveness probe come with a later release."


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One variable. `default` stands in for an unset or empty one; `shown_default` is it in words.

    `no_effect` says why a variable changes nothing yet; it is accepted, so that a manifest need not change.
    """

    variable: str
    default: str
    about: str
    shown_default: str = ""
    no_effect: str = ""


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
        variable="SSCSI_LOG_FORMAT_JSON",
        default="false",
        about="Logs of every program as JSON, one object a line, instead of klog's text.",
    ),
    Setting(
        variable="SSCSI_LOG_VERBOSITY",
        default="0",
        about="Verbosity of every program's log; 4 and up is everything.",
    ),
    Setting(
        variable="SSCSI_KUBELET_REGISTRATION_PATH",
        default="",
        shown_default="unset",
        about="Path of the CSI socket on the host, as kubelet is told it.",
        no_effect=_SIDECARS_LATER,
    ),
    Setting(
        variable="SSCSI_REGISTRATION_DIR",
        default="/registration",
        about="Directory of kubelet's plugin registration sockets.",
        no_effect=_SIDECARS_LATER,
    ),
    Setting(
        variable="SSCSI_HEALTH_ENDPOINT",
        default="0.0.0.0:9808",
        about="Address of the health pages.",
        no_effect=_SIDECARS_LATER,
    ),
    Setting(
        variable="SSCSI_METRICS_ADDR",
        default=":8095",
        about="Address of the metrics page.",
        no_effect=_SIDECARS_LATER,
    ),
)
# Set by `sscsi run` from the settings, for what supervisord itself decides by; not for people.
AUTOSTART_FILE_PROVIDER = "SSCSI_PROVIDER_FILE_AUTOSTART"


def given(environ: Mapping[str, str]) -> dict[str, str]:
    """Every setting's value: the variable's, or the default for one that is unset or empty."""
    return {setting.variable: environ.get(setting.variable) or setting.default for setting in SETTINGS}


def without_effect(environ: Mapping[str, str]) -> list[Setting]:
    """The settings that somebody made and that change nothing yet."""
    return [setting for setting in SETTINGS if setting.no_effect and environ.get(setting.variable)]
