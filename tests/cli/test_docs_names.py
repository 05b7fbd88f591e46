"""Names in the docs are names that there are: flags, variables, values of the chart, files; and what install.md patches."""

import itertools
import os
import re
from typing import Any

import pytest
import yaml

from sidecars.livenessprobe import config as livenessprobe_config
from sidecars.registrar import config as registrar_config
from sidecars.statussync import config as statussync_config
from sidecars.watchdog import config as watchdog_config
from sscsi.cli import demo_options, doctor, lint, refresh, run, status, who
from sscsi.cli.settings import SETTINGS
from sscsi.node import config as node_config
from sscsi.process import launch
from sscsi.provider_file import config as provider_file_config
from tests.deploy.test_manifests import DAEMON_SET
from tests.kubeapi.manifests import documents
from tests.support.checkout import ROOT
from tests.support.doc_tables import page, table

PAGES = ("codes.md", "install.md", "limits.md", "threat-model.md", "troubleshooting.md", "tutorial.md")
CHART = os.path.join(ROOT, "deploy", "charts", "secrets-store-csi-driver", "values.yaml")
FLAGS = itertools.chain(
    node_config.flags_for({}),
    *(
        module._FLAGS
        for module in (
            livenessprobe_config,
            registrar_config,
            statussync_config,
            watchdog_config,
            provider_file_config,
            launch,
        )
    ),
    *(module.FLAGS for module in (demo_options, doctor, lint, refresh, status, who)),
)
OWN_FLAGS = {flag.name for flag in FLAGS} | {word.lstrip("-") for word in run.PRINT_ENV} | {"help", "version"}
# Of kubelet, kubectl, helm, mount, k0s, and a provider.
FLAGS_OF_OTHERS = {
    "root-dir",
    "data-dir",
    "kubelet-root-dir",
    "driver-writes-secrets",
    "make-rshared",
    "namespace",
    "all-namespaces",
    "set",
    "type",
    "server-side",
    "force-conflicts",
    "ignore-not-found",
    "for",
    "condition",
}
OWN_VARIABLES = {setting.variable for setting in SETTINGS}


def values() -> dict[str, Any]:
    with open(CHART, encoding="utf-8") as file:
        document: dict[str, Any] = yaml.safe_load(file)
    return document


@pytest.mark.parametrize("name", PAGES)
def test_a_flag_is_one_of_a_program(name: str) -> None:
    found = set(re.findall(r"(?<![\w-])--([a-z][a-z-]+)", page(name)))
    assert found - OWN_FLAGS - FLAGS_OF_OTHERS == set()


@pytest.mark.parametrize("name", PAGES)
def test_a_variable_is_one_of_sscsi_run(name: str) -> None:
    assert set(re.findall(r"\bSSCSI_[A-Z_]+\b", page(name))) <= OWN_VARIABLES


@pytest.mark.parametrize("name", PAGES)
def test_a_value_is_one_of_the_chart(name: str) -> None:
    top = "|".join(values())
    for path in set(re.findall(rf"[`\s]((?:{top})(?:\.[a-zA-Z]+)+)", page(name))):
        found: Any = values()
        for part in path.split("."):
            assert isinstance(found, dict) and part in found, path
            found = found[part]


@pytest.mark.parametrize("name", PAGES)
def test_a_file_of_the_checkout_is_there(name: str) -> None:
    paths = set(re.findall(r"[`\s](?:-[fk] )?((?:deploy|docs|tests|sscsi|core)/[\w./-]*\w)", page(name)))
    places = {path: (ROOT, os.path.join(ROOT, "sscsi")) for path in paths}
    missing = [
        path
        for path, roots in places.items()
        if not any(os.path.exists(os.path.join(root, path)) for root in roots)
    ]
    assert missing == []


def test_the_patch_for_rotation_changes_that_argument() -> None:
    (container,) = [
        document["spec"]["template"]["spec"]["containers"][0] for document in documents(DAEMON_SET)
    ]
    for name in ("install.md", "migrate.md"):
        (index,) = re.findall(r"containers/0/args/(\d+)", page(name))
        assert container["args"][int(index)] == "--enable-secret-rotation=false"


def test_the_other_roots_are_those_of_the_chart_and_of_the_doctor() -> None:
    roots = [re.findall("`(/var[^`]*)`", root)[0] for _, root in table("install.md", "## Kubelet's root")]
    with open(CHART, encoding="utf-8") as file:
        chart = file.read()
    assert roots[0] == values()["linux"]["kubeletRootDir"]
    for root in roots[1:]:
        assert root in chart and root in page("doctor.md")


def test_nothing_is_below_the_usual_root_when_it_was_replaced() -> None:
    (old, new), *_ = re.findall(r"sed 's#([^#]+)#([^#]+)#'", page("install.md"))
    (document,) = documents(DAEMON_SET)
    # One path a line, as kubectl writes it: the command replaces the first of each line.
    lines = [line.replace(old, new, 1) for line in yaml.safe_dump(document).splitlines()]
    assert not any(re.search(rf"{old}(/|$)", line) for line in lines)
    paths = {
        volume["hostPath"]["path"]
        for volume in yaml.safe_load("\n".join(lines))["spec"]["template"]["spec"]["volumes"]
        if "hostPath" in volume
    }
    assert {f"{new}/pods", f"{new}/plugins_registry/", f"{new}/plugins/csi-secrets-store/"} <= paths
