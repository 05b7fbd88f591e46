"""What the chart's templates refuse, because it takes two values to be wrong or is without effect."""

from typing import Any

import pytest

from tests.deploy.chart import refused, render
from tests.deploy.test_chart import arguments, completed


class TestChecks:
    @pytest.mark.parametrize(
        ("values", "texts"),
        [
            (
                {
                    "windows": {"enabled": True},
                    "linux": {
                        "env": [{"name": "CSI_ENDPOINT", "value": "x"}, {"name": "SSCSI_REGISTRAR_ARGS"}],
                        "registrar": {"logVerbosity": 5},
                        "podLabels": {"app": "other"},
                        "metricsAddr": "off",
                    },
                    "commonLabels": {"app.kubernetes.io/name": "other"},
                    "podMonitor": {"enabled": True},
                    "serviceMonitor": {"enabled": True},
                    "serviceAccountTokenInSecrets": True,
                },
                [
                    "windows.enabled: there is no driver for Windows",
                    "linux.env: the chart sets CSI_ENDPOINT itself",
                    "linux.env: the chart sets SSCSI_REGISTRAR_ARGS itself: add --v to it",
                    "linux.podLabels: app is what pods are found by",
                    "commonLabels: app.kubernetes.io/name is what pods are found by",
                    "podMonitor.enabled: there is no metrics page",
                    "serviceMonitor.enabled: there is no metrics page",
                    "every figure would be counted twice",
                    "serviceAccountTokenInSecrets: it goes only with tokenRequests",
                    "Kubernetes v1.34.0 does not know it",
                ],
            ),
            (
                {
                    "linux": {
                        "metricsAddr": ":9808",
                        "env": [
                            {"name": "SSCSI_FILE_PROVIDER_ROOT", "value": "/x"},
                            {"name": "SSCSI_FILE_PROVIDER_MAX_RESPONSE_BYTES", "value": "1"},
                            {"name": "SSCSI_LIVENESSPROBE_ARGS", "value": "--v=1"},
                        ],
                    },
                    "livenessProbe": {"logLevel": 2},
                    "fileProvider": {"enabled": True},
                    "maxCallRecvMsgSize": 5,
                },
                [
                    "linux.env: the chart sets SSCSI_FILE_PROVIDER_ROOT itself: set fileProvider.hostDir",
                    "linux.env: the chart sets SSCSI_FILE_PROVIDER_MAX_RESPONSE_BYTES itself: set maxCall",
                    "linux.env: the chart sets SSCSI_LIVENESSPROBE_ARGS itself: add --v to it",
                    "both are port 9808",
                ],
            ),
            (
                {
                    "linux": {
                        "metricsAddr": "127.0.0.1:8095",
                        "env": [
                            {"name": "SSCSI_METRICS_ADDR", "value": ":9095"},
                            {"name": "SSCSI_RUN_DIR", "value": "/x"},
                            {"name": "SSCSI_REGISTRATION_DIR", "value": "/x"},
                            {"name": "SSCSI_PROVIDER_DIRS", "value": "/x"},
                            {"name": "SSCSI_LOG_VERBOSITY", "value": "9"},
                            {"name": "SSCSI_LOG_FORMAT_JSON", "value": "false"},
                        ],
                    },
                    "logVerbosity": 2,
                    "logFormatJSON": True,
                    "podMonitor": {"enabled": True},
                    "tokenRequests": [{"audience": "a"}, {"audience": "b"}, {"audience": "a"}],
                },
                [
                    "linux.env: the chart sets SSCSI_METRICS_ADDR itself: set linux.metricsAddr",
                    "linux.env: the chart sets SSCSI_RUN_DIR itself: it is the same",
                    "linux.env: the chart sets SSCSI_REGISTRATION_DIR itself: set linux.kubeletRootDir",
                    "linux.env: the chart sets SSCSI_PROVIDER_DIRS itself: set linux.providersDir",
                    "linux.env: the chart sets SSCSI_LOG_VERBOSITY itself: set logVerbosity",
                    "linux.env: the chart sets SSCSI_LOG_FORMAT_JSON itself: set logFormatJSON",
                    "podMonitor.enabled: the metrics page at 127.0.0.1:8095 is for the pod itself only; set linux.metricsAddr to :8095",
                    'tokenRequests: the audience "a" is there twice',
                ],
            ),
        ],
    )
    def test_what_does_not_go_together_is_said_at_once(
        self, values: dict[str, Any], texts: list[str]
    ) -> None:
        error = refused(values)
        missing = [text for text in texts if text not in error]
        assert not missing, error
        assert error.count("\n- ") == len(texts)

    @pytest.mark.parametrize("address", ["127.0.0.2:80", "localhost:80", "[::1]:80"])
    @pytest.mark.parametrize("name", ["podMonitor", "serviceMonitor"])
    def test_nobody_reads_a_page_that_is_for_the_pod_only(self, name: str, address: str) -> None:
        error = refused({"linux": {"metricsAddr": address}, name: {"enabled": True}})
        assert f"{name}.enabled: the metrics page at {address} is for the pod itself only" in error
        assert render({"linux": {"metricsAddr": address}}).container["args"]

    def test_every_flag_that_the_chart_gives_is_refused_among_the_node_rooms_own(self) -> None:
        """For the container's arguments go before them."""
        values: dict[str, Any] = {
            "rotationPollInterval": "1m",
            "providerHealthCheckInterval": "1m",
            "maxCallRecvMsgSize": 5,
            "logVerbosity": 1,
            "logFormatJSON": True,
        }
        given = arguments(render(values))
        words = " ".join(f"{flag}=x" for flag in given)
        error = refused({**values, "linux": {"env": [{"name": "SSCSI_NODE_ARGS", "value": words}]}})
        missing = [flag for flag in given if f"SSCSI_NODE_ARGS' flag {flag} itself: " not in error]
        assert not missing, error
        assert error.count("\n- ") == len(given)

    @pytest.mark.parametrize(
        ("words", "text"),
        [
            ("--enable-secret-rotation", "--enable-secret-rotation itself: set enableSecretRotation"),
            ("--v=2 -rotation-poll-interval 1m", "--rotation-poll-interval itself: set rotationPollInterval"),
            ("'--provider-health-check'", "--provider-health-check itself: set providerHealthCheck"),
            ("--run-dir /x", "--run-dir itself: it is the same in every pod"),
            ("--provider-dirs=/x", "--provider-dirs itself: set linux.providersDir"),
        ],
    )
    def test_a_flag_is_found_however_it_is_written(self, words: str, text: str) -> None:
        error = refused({"linux": {"env": [{"name": "SSCSI_NODE_ARGS", "value": words}]}})
        assert text in error
        assert error.count("\n- ") == 1

    def test_other_flags_and_variables_are_taken(self) -> None:
        words = "--v=3 --log-format-json --max-call-recv-msg-size=5 --rotation-poll-interval-floor=20s"
        env = [
            {"name": "SSCSI_NODE_ARGS", "value": words},
            {"name": "SSCSI_POD_ANNOTATIONS", "value": "false"},
        ]
        made = completed(render({"linux": {"env": env}}))
        told = made.variables
        assert (told["SSCSI_LOG_VERBOSITY"], told["SSCSI_LOG_FORMAT_JSON"]) == ("3", "true")
        assert told["SSCSI_POD_ANNOTATIONS"] == "false"
        assert "--rotation-poll-interval-floor=20s" in told["SSCSI_NODE_ARGS"]

    def test_an_older_kubernetes_is_refused(self) -> None:
        assert "requires kubeVersion: >=1.30.0-0" in refused({}, kube_version="1.29.9")
