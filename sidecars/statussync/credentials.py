"""Which credentials for the Kubernetes API, found without the client that reads them: that is 20 MiB."""

import os
from collections.abc import Mapping

from sscsi.errors import ConfigError

_HOME_KUBECONFIG = os.path.join(".kube", "config")
_IN_CLUSTER = "KUBERNETES_SERVICE_HOST"


def kubeconfig_paths(given: str, environ: Mapping[str, str]) -> str:
    """Path of a kubeconfig file, or several as KUBECONFIG has them; empty for the credentials of this pod.

    `given` (flag or KUBECONFIG) goes before the pod's credentials, these before ~/.kube/config: controller-runtime's
    order, which upstream has. Raises ConfigError when there is none of them.
    """
    if given:
        paths = [path for path in given.split(os.pathsep) if path]
        if not any(os.path.exists(path) for path in paths):
            raise ConfigError(
                f"there is no kubeconfig file {given!r}; see --kubeconfig, KUBECONFIG", exit_code=1
            )
        return given
    if environ.get(_IN_CLUSTER):
        return ""
    if home := environ.get("HOME"):
        path = os.path.join(home, _HOME_KUBECONFIG)
        if os.path.exists(path):
            return path
    raise ConfigError(
        "no way to the Kubernetes API: this is no pod, and there is no kubeconfig; give --kubeconfig or KUBECONFIG, or "
        "--cluster=dir:PATH (SSCSI_CLUSTER) to run without a cluster",
        exit_code=1,
    )
