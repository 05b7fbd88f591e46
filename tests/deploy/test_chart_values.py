"""What the chart's values do: upstream's own, all of them at once, and those of this chart."""

import json
import os
from typing import Any

import pytest
import yaml

from tests.deploy.chart import RELEASE, Rendered, render, schema, without_effect
from tests.deploy.test_chart import (
    EVERYTHING,
    FULL_NAME,
    OWN_LABELS,
    arguments,
    completed,
    variables,
    volume_paths,
)
from tests.kubeapi.manifests import DEPLOY, documents
from tests.support.checkout import ROOT

UPSTREAM_VALUES = os.path.join(ROOT, "tests", "deploy", "upstream-values.yaml")
# Upstream's own, at the node's root that its default has.
HOST_PATHS = {
    "mountpoint-dir": "{}/pods",
    "registration-dir": "{}/plugins_registry/",
    "plugin-dir": "{}/plugins/csi-secrets-store/",
}


def upstream_values() -> Any:
    (found,) = documents(UPSTREAM_VALUES)
    return found


@pytest.fixture(scope="module")
def upstream() -> Rendered:
    return render(upstream_values())


class TestUpstreamsValues:
    def test_names_and_labels(self, upstream: Rendered) -> None:
        daemon_set = upstream.of("DaemonSet")
        assert daemon_set["metadata"]["name"] == "secrets-on-nodes"
        assert daemon_set["metadata"]["annotations"] == {"example.com/owner": "platform"}
        assert daemon_set["spec"]["selector"] == {"matchLabels": {"app": "secrets-driver"}}
        assert daemon_set["spec"]["updateStrategy"]["rollingUpdate"] == {"maxUnavailable": "20%"}
        metadata = daemon_set["spec"]["template"]["metadata"]
        assert metadata["labels"] == {
            "app": "secrets-driver",
            "app.kubernetes.io/name": "secrets-driver",
            "app.kubernetes.io/instance": RELEASE,
            "team": "platform",
            "tier": "node",
        }
        assert metadata["annotations"] == {
            "kubectl.kubernetes.io/default-container": "secrets-store",
            "example.com/scrape": "true",
        }
        assert all(thing["metadata"]["labels"]["team"] == "platform" for thing in upstream.objects)

    def test_the_pod(self, upstream: Rendered) -> None:
        pod, values = upstream.pod, upstream_values()["linux"]
        assert pod["automountServiceAccountToken"] is False
        assert pod["priorityClassName"] == "system-cluster-critical"
        assert pod["imagePullSecrets"] == [{"name": "registry"}]
        assert pod["nodeSelector"] == {"kubernetes.io/os": "linux", "example.com/pool": "apps"}
        assert pod["affinity"] == values["affinity"]
        assert pod["tolerations"] == values["tolerations"]
        assert upstream.container["resources"] == values["driver"]["resources"]
        assert upstream.container["imagePullPolicy"] == "Always"
        image = values["image"]
        assert upstream.container["image"] == f"{image['repository']}@{image['digest']}"
        assert values["volumes"][0] in pod["volumes"]
        assert values["volumeMounts"][0] in upstream.container["volumeMounts"]

    def test_directories(self, upstream: Rendered) -> None:
        root = "/var/lib/k0s/kubelet"
        paths = volume_paths(upstream)
        assert {name: paths[name][0] for name in HOST_PATHS} == {
            name: path.format(root) for name, path in HOST_PATHS.items()
        }
        assert paths["mountpoint-dir"] == (f"{root}/pods", f"{root}/pods")
        # Each once, though one of them is named twice.
        assert {name: path for name, (path, _) in paths.items() if name.startswith("providers-dir")} == {
            "providers-dir": "/opt/providers",
            "providers-dir-0": "/etc/kubernetes/secrets-store-csi-providers",
            "providers-dir-1": "/opt/more",
        }
        assert all(
            inside == outside for name, (inside, outside) in paths.items() if name.startswith("providers")
        )
        registration = variables(upstream)["SSCSI_KUBELET_REGISTRATION_PATH"]
        assert registration == f"{root}/plugins/csi-secrets-store/csi.sock"

    def test_what_the_programs_are_told(self, upstream: Rendered) -> None:
        made = completed(upstream)
        told = made.variables
        assert told["SSCSI_LOG_VERBOSITY"] == "3"
        assert told["SSCSI_LOG_FORMAT_JSON"] == "true"
        assert told["SSCSI_REGISTRAR_ARGS"] == "--v=4"
        assert told["SSCSI_LIVENESSPROBE_ARGS"] == "--v=6"
        assert told["SSCSI_METRICS_ADDR"] == "0.0.0.0:9095"
        assert told["SSCSI_HEALTH_ENDPOINT"] == ":9909"
        assert told["SSCSI_PROVIDER_DIRS"] == (
            "/opt/providers,/etc/kubernetes/secrets-store-csi-providers,/opt/more"
        )
        assert variables(upstream)["HTTPS_PROXY"] == "http://proxy.example.com:3128"
        given = arguments(upstream)
        assert given["--enable-secret-rotation"] == "true"
        assert given["--rotation-poll-interval"] == "1h30m"
        assert given["--provider-health-check"] == "true"
        assert given["--provider-health-check-interval"] == "30s"
        assert given["--max-call-recv-msg-size"] == "16777216"

    def test_ports(self, upstream: Rendered) -> None:
        ports = {port["name"]: port["containerPort"] for port in upstream.container["ports"]}
        assert ports == {"healthz": 9909, "metrics": 9095}

    def test_the_cluster_wide_objects(self, upstream: Rendered) -> None:
        spec = upstream.of("CSIDriver")["spec"]
        assert spec["tokenRequests"] == [{"audience": "vault", "expirationSeconds": 3600000}]
        assert spec["requiresRepublish"] is True
        assert "serviceAccountTokenInSecrets" not in spec
        # rbac.install is off, syncSecret.enabled is a value of its own, as upstream has it.
        assert "ServiceAccount" not in upstream.kinds()
        assert [
            thing["metadata"]["name"] for thing in upstream.objects if thing["kind"] == "ClusterRole"
        ] == ["secretprovidersyncing-role"]

    def test_the_notes_name_what_has_no_effect_and_why(self, upstream: Rendered) -> None:
        for entry in without_effect():
            line = f"* {entry['name']}: no effect; {entry['why']}."
            # Not in upstream's chart v1.6.
            older = entry["name"] in {"filteredWatchSecret", "minimumProviderVersions"}
            assert (line in upstream.notes) != older
        assert "automountServiceAccountToken is false" in upstream.notes
        assert "localhost" not in upstream.notes

    def test_values_that_older_versions_had_are_taken_too(self) -> None:
        notes = render({"filteredWatchSecret": False, "minimumProviderVersions": "azure=0.1"}).notes
        assert "* filteredWatchSecret: no effect" in notes
        assert "* minimumProviderVersions: no effect" in notes

    def test_upstreams_defaults_are_taken_in_silence(self) -> None:
        """As in a copy of its whole values.yaml."""
        values: dict[str, Any] = {
            "linux": {
                "registrar": {"logVerbosity": 5},
                "priorityClassName": "",
                "volumes": None,
                "driver": {
                    "resources": {
                        "limits": {"cpu": "200m", "memory": "200Mi"},
                        "requests": {"cpu": "50m", "memory": "100Mi"},
                    }
                },
            },
            "livenessProbe": {"port": 9808, "logLevel": 2},
            "maxCallRecvMsgSize": 4194304,
            "rotationPollInterval": None,
        }
        for entry in without_effect():
            section = values
            *names, last = entry["name"].split(".")
            for name in names:
                section = section.setdefault(name, {})
            section[last] = entry["default"]
        rendered = render(values)
        assert "no meaning" not in rendered.notes
        assert "memory is 200Mi" in rendered.notes
        assert "priorityClassName" not in rendered.pod
        assert "--rotation-poll-interval" not in arguments(rendered)
        assert arguments(rendered)["--max-call-recv-msg-size"] == "4194304"
        assert completed(rendered).variables["SSCSI_REGISTRAR_ARGS"] == "--v=5"

    def test_every_name_in_the_file_is_upstreams_and_not_at_its_default(self) -> None:
        """The file would prove little if it set what is set anyway."""
        defaults = {entry["name"]: entry["default"] for entry in without_effect()}
        values = upstream_values()
        for path, default in defaults.items():
            found: Any = values
            for name in path.split("."):
                found = found.get(name, {}) if isinstance(found, dict) else {}
            if path not in {"filteredWatchSecret", "minimumProviderVersions"}:
                assert found != default, path
        assert set(values) == set(schema()["properties"]) - {
            *("global", "filteredWatchSecret", "minimumProviderVersions"),
            *("serviceAccountTokenInSecrets", "fileProvider", "podMonitor", "serviceMonitor"),
            *("prometheusRules", "grafanaDashboard", "networkPolicy", "extraObjects"),
        }
        assert set(values["linux"]) == set(schema()["properties"]["linux"]["properties"])


class TestDriver:
    def test_rotation_is_no_matter_of_the_csidriver_object(self) -> None:
        on, off = render({"enableSecretRotation": True}), render()
        assert arguments(on)["--enable-secret-rotation"] == "true"
        assert arguments(off)["--enable-secret-rotation"] == "false"
        assert on.of("CSIDriver") == off.of("CSIDriver")

    @pytest.mark.parametrize("address", ["", "0", "off"])
    def test_no_metrics_page(self, address: str) -> None:
        rendered = render({"linux": {"metricsAddr": address}, "networkPolicy": {"enabled": True}})
        assert [port["name"] for port in rendered.container["ports"]] == ["healthz"]
        assert completed(rendered).variables["SSCSI_METRICS_ADDR"] == "off"
        (rule,) = rendered.of("NetworkPolicy")["spec"]["ingress"]
        assert rule["ports"] == [{"port": "healthz", "protocol": "TCP"}]

    def test_no_additional_directories(self) -> None:
        rendered = render({"linux": {"additionalProvidersDirs": []}})
        assert set(volume_paths(rendered)) == {*HOST_PATHS, "providers-dir"}
        assert completed(rendered).node.provider_directories[1:] == ("/var/run/secrets-store-csi-providers",)

    def test_no_linux_leaves_the_cluster_wide_objects(self) -> None:
        rendered = render({"linux": {"enabled": False}})
        assert "DaemonSet" not in rendered.kinds()
        assert {"CSIDriver", "ServiceAccount", "ClusterRole"} <= rendered.kinds()
        assert "linux.enabled is false" in rendered.notes
        assert "rollout" not in rendered.notes

    def test_pull_secrets_may_be_names(self) -> None:
        assert render({"imagePullSecrets": ["a", {"name": "b"}]}).pod["imagePullSecrets"] == [
            {"name": "a"},
            {"name": "b"},
        ]

    def test_the_file_provider_is_the_overlays(self) -> None:
        path = os.path.join(DEPLOY, "overlays", "file-provider", "Kustomization")
        with open(path, encoding="utf-8") as file:
            (entry,) = yaml.safe_load(file)["patches"]
        wanted = yaml.safe_load(entry["patch"])["spec"]["template"]["spec"]
        with_provider, without = render({"fileProvider": {"enabled": True}}), render()

        def added(of: str) -> list[Any]:
            before = without.pod["volumes"] if of == "volumes" else without.container[of]
            after = with_provider.pod["volumes"] if of == "volumes" else with_provider.container[of]
            assert [entry for entry in after if entry in before] == before
            return [entry for entry in after if entry not in before]

        (container,) = wanted["containers"]
        assert added("env") == container["env"]
        assert added("volumeMounts") == container["volumeMounts"]
        assert added("volumes") == wanted["volumes"]

    def test_the_file_provider_gives_what_the_driver_takes(self) -> None:
        told = completed(render({"fileProvider": {"enabled": True}, "maxCallRecvMsgSize": 8388608})).variables
        assert told["SSCSI_FILE_PROVIDER_MAX_RESPONSE_BYTES"] == "8388608"

    @pytest.mark.parametrize(
        ("wanted", "version", "there"),
        [
            (None, "1.34.9", False),
            (None, "1.35.0", True),
            (False, "1.36.0", False),
            (True, "1.35.0-gke.1", True),
        ],
    )
    def test_tokens_come_as_secrets_where_kubernetes_can(
        self, wanted: bool | None, version: str, there: bool
    ) -> None:
        values = {"tokenRequests": [{"audience": ""}], "serviceAccountTokenInSecrets": wanted}
        spec = render(values, kube_version=version).of("CSIDriver")["spec"]
        assert spec.get("serviceAccountTokenInSecrets", False) is there
        assert spec["tokenRequests"] == [{"audience": ""}]

    def test_without_token_requests_nothing_is_said_of_tokens(self) -> None:
        spec = render(kube_version="1.36.0").of("CSIDriver")["spec"]
        assert not {"tokenRequests", "serviceAccountTokenInSecrets"} & set(spec)


class TestMonitoring:
    @pytest.mark.parametrize(
        ("name", "kind"), [("podMonitor", "PodMonitor"), ("serviceMonitor", "ServiceMonitor")]
    )
    def test_a_monitor_finds_the_pods_and_names_the_job_as_the_alerts_do(self, name: str, kind: str) -> None:
        values: dict[str, Any] = {
            "enabled": True,
            "labels": {"release": "prometheus"},
            "interval": "30s",
            "scrapeTimeout": "20s",
            "relabelings": [{"action": "labeldrop", "regex": "pod"}],
            "metricRelabelings": [{"action": "keep", "sourceLabels": ["__name__"], "regex": "sscsi_.*"}],
        }
        rendered = render({name: values})
        monitor = rendered.of(kind)
        assert monitor["metadata"]["labels"]["release"] == "prometheus"
        spec = monitor["spec"]
        (endpoint,) = spec["endpoints" if kind == "ServiceMonitor" else "podMetricsEndpoints"]
        assert endpoint == {
            "port": "metrics",
            "honorLabels": True,
            "interval": "30s",
            "scrapeTimeout": "20s",
            "relabelings": [
                {"targetLabel": "job", "replacement": "secrets-store-csi"},
                {"sourceLabels": ["__meta_kubernetes_pod_node_name"], "targetLabel": "node"},
                {"action": "labeldrop", "regex": "pod"},
            ],
            "metricRelabelings": values["metricRelabelings"],
        }
        assert spec["namespaceSelector"] == {"matchNames": ["kube-system"]}
        pods = rendered.of("DaemonSet")["spec"]["template"]["metadata"]["labels"]
        if kind == "PodMonitor":
            assert spec["selector"]["matchLabels"].items() <= pods.items()
        else:
            service = rendered.of("Service")
            assert spec["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
            assert service["spec"]["selector"].items() <= pods.items()
            assert service["spec"]["ports"][0]["port"] == 8095
            assert service["spec"]["clusterIP"] == "None"

    def test_the_job_is_the_one_that_alerts_and_dashboard_ask_for(self) -> None:
        rendered = render(EVERYTHING)
        (endpoint,) = rendered.of("PodMonitor")["spec"]["podMetricsEndpoints"]
        job = endpoint["relabelings"][0]["replacement"]
        assert f'job="{job}"' in json.dumps(rendered.of("PrometheusRule")["spec"]).replace("\\", "")

    def test_rules_and_dashboard_are_those_of_the_plain_manifests(self) -> None:
        rendered = render(EVERYTHING)
        (rules,) = documents(os.path.join(DEPLOY, "prometheus-rules.yaml"))
        assert rendered.of("PrometheusRule")["spec"] == rules["spec"]
        with open(os.path.join(DEPLOY, "grafana-dashboard.json"), encoding="utf-8") as file:
            dashboard = json.load(file)
        config_map = rendered.of("ConfigMap")
        assert config_map["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert json.loads(config_map["data"]["secrets-store-csi-driver.json"]) == dashboard

    def test_kinds_that_the_cluster_lacks_may_be_left_out(self) -> None:
        values = {
            name: {"enabled": True, "renderMode": "skipIfMissing"}
            for name in ("podMonitor", "prometheusRules")
        }
        assert not {"PodMonitor", "PrometheusRule"} & render(values).kinds()
        kinds = render(values, "--api-versions=monitoring.coreos.com/v1/PodMonitor").kinds()
        assert "PodMonitor" in kinds
        assert "PrometheusRule" not in kinds


class TestNetworkPolicy:
    def test_only_health_and_metrics_are_reached(self) -> None:
        rendered = render({"networkPolicy": {"enabled": True}})
        policy = rendered.of("NetworkPolicy")
        assert policy["metadata"]["name"] == FULL_NAME
        spec = policy["spec"]
        assert spec["podSelector"] == {"matchLabels": OWN_LABELS}
        assert spec["policyTypes"] == ["Ingress"]
        assert spec["ingress"] == [
            {"ports": [{"port": name, "protocol": "TCP"}]} for name in ("healthz", "metrics")
        ]

    def test_metrics_may_be_for_some_and_egress_for_few(self) -> None:
        peers = [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}]
        rules = [{"ports": [{"port": 6443}]}]
        spec = render({"networkPolicy": {"enabled": True, "metricsFrom": peers, "egress": rules}}).of(
            "NetworkPolicy"
        )["spec"]
        assert [rule.get("from") for rule in spec["ingress"]] == [None, peers]
        assert spec["policyTypes"] == ["Ingress", "Egress"]
        assert spec["egress"] == rules


class TestExtraObjects:
    def test_yaml_and_text_are_filled_in(self) -> None:
        text = "{apiVersion: v1, kind: ConfigMap, metadata: {name: '{{ .Release.Name }}-two'}}"
        values = [*EVERYTHING["extraObjects"], text]
        rendered = render({"extraObjects": values})
        assert rendered.of("Secret")["metadata"]["name"] == f"{RELEASE}-x"
        assert rendered.of("ConfigMap")["metadata"]["name"] == f"{RELEASE}-two"


@pytest.mark.parametrize(
    ("image", "named"),
    [
        (
            {"repository": "mirror.example.com/csi-secrets-store/driver", "tag": "v1.6.0"},
            "mirror.example.com/csi-secrets-store/driver:v1.6.0",
        ),
        ({"tag": "v1.5.6"}, "localhost/sscsi/sscsi:v1.5.6"),
    ],
)
def test_upstreams_image_in_a_values_file_gives_way_to_the_charts_and_the_notes_say_so(
    image: dict[str, str], named: str
) -> None:
    rendered = render({"linux": {"image": image}})
    assert rendered.container["image"] == render().container["image"]
    assert f"* linux.image: no effect; {named} is upstream's driver" in rendered.notes
    assert "linux.image: no effect" not in render().notes
