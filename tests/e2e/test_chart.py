"""The Helm chart on a real node: in the place of the plain manifests, upgraded, and taken down again."""

import contextlib
import os
import subprocess
from collections.abc import Iterator

import pytest

from tests.cluster.figures import Figures
from tests.cluster.real_cluster import RealCluster
from tests.e2e.driver import DAEMON_SET, DEPLOY, INTERVAL_SECONDS, NAMESPACE, Driver
from tests.e2e.workloads import Namespace, secret_object
from tests.support.require import require

CHART = os.path.join(DEPLOY, "charts", "secrets-store-csi-driver")
RELEASE = DAEMON_SET
# As docs/chart.md has it: the DaemonSet stays the one that it is.
_NAMES = f"--set=nameOverride={DAEMON_SET},fullnameOverride={DAEMON_SET}"
_VALUES = f"--set=syncSecret.enabled=true,enableSecretRotation=true,rotationPollInterval={INTERVAL_SECONDS}s"


class Helm:
    """helm, with the release's namespace."""

    def __init__(self, cluster: RealCluster, home: str) -> None:
        self._helm = require("helm")
        self._flags = [f"--kubeconfig={cluster.kubeconfig}", f"--namespace={NAMESPACE}"]
        self._environ = {"PATH": os.environ["PATH"], "HOME": home}

    def run(self, *arguments: str) -> str:
        """What it prints; fails with what it complains of."""
        result = subprocess.run(
            [self._helm, *self._flags, *arguments],
            env=self._environ,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        return result.stdout


@contextlib.contextmanager
def by_helm(helm: Helm, driver: Driver) -> Iterator[None]:
    """The driver is the chart's in here, and the plain manifests' afterwards."""
    helm.run("install", RELEASE, CHART, "--take-ownership", _NAMES, _VALUES)
    try:
        driver.wait_ready()
        yield
    finally:
        driver.wait_unused()
        helm.run("uninstall", RELEASE, "--wait")
        driver.wait_forgotten()
        driver.install()


def test_the_chart_takes_the_place_of_the_manifests_is_upgraded_and_goes(
    namespace: Namespace,
    cluster: RealCluster,
    driver: Driver,
    figures: Figures,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    helm = Helm(cluster, str(tmp_path_factory.mktemp("helm")))
    driver.wait_unused()
    namespace.add_class(secrets=[secret_object("mirror")])
    kept = namespace.add_pod("kept")
    uid = driver.manifest()["metadata"]["uid"]
    with by_helm(helm, driver):
        assert driver.manifest()["metadata"]["uid"] == uid
        assert kept.read() == "secret"
        pod = namespace.add_pod("pod")
        assert pod.read() == "secret"
        namespace.wait_secret("mirror", "secret")
        with figures.timed("an upgrade of the release"):
            helm.run("upgrade", RELEASE, CHART, "--reset-then-reuse-values", "--set=logFormatJSON=true")
            driver.wait_ready()
        assert driver.log().startswith("{")
        assert kept.read() == "secret"
        figures.add("deleted after that", pod.delete())
        assert kept.restarts() == 0
        kept.delete()
