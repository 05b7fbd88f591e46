"""docs/tutorial.md is run: its first part as it stands, the second one's manifests by kubectl and a real API server."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from typing import Any

import pytest
import yaml

from tests.deploy.test_manifests_applied import kubectl
from tests.kubeapi.kube_api import KubeApi
from tests.support.checkout import ROOT
from tests.support.doc_tables import page

SECONDS = 120
FIRST, _, SECOND = page("tutorial.md").partition("\n## 2. ")


def blocks(kind: str, text: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def manifests() -> list[Any]:
    _, shop = blocks("yaml", SECOND)
    return list(yaml.safe_load_all(shop))


def run(script: str, directory: str) -> tuple[int, str]:
    """Exit code and output of a script in `directory`; nothing that it started goes on."""
    path = f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"
    with open(os.path.join(directory, "output"), "w+", encoding="utf-8") as output:
        process = subprocess.Popen(
            ["bash", "-e", "-c", script],
            cwd=directory,
            env={"PATH": path, "HOME": directory},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            code = process.wait(SECONDS)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        output.seek(0)
        return code, output.read()


@pytest.mark.root
def test_the_first_part_does_what_it_says() -> None:
    with tempfile.TemporaryDirectory(prefix="sscsi-", dir="/tmp") as directory:
        code, told = run("".join(blocks("sh", FIRST)), directory)
    assert code == 0, told
    promised = re.findall(r"^(?:It prints|The first line is the verdict:) `([^`]+)`", FIRST, re.MULTILINE)
    assert len(promised) == 2
    assert [text for text in promised if text not in told] == []
    assert "'correct horse'" in told
    doctor = re.findall(r"^(\w+) +(?:configuration|kubelet-root|providers) ", told, re.MULTILINE)
    assert doctor == ["ok", "skip", "ok"]


def test_both_parts_have_the_same_class() -> None:
    (written,) = re.findall(r"<<'END'\n(.*?)^END$", FIRST, re.MULTILINE | re.DOTALL)
    (second,) = (found for found in manifests() if found["kind"] == "SecretProviderClass")
    assert yaml.safe_load(written) == second


def test_the_kustomization_is_the_driver_with_the_file_provider() -> None:
    kustomization, _ = blocks("yaml", SECOND)
    with tempfile.TemporaryDirectory() as directory:
        os.symlink(ROOT, os.path.join(directory, "sscsi"))
        os.mkdir(os.path.join(directory, "mine"))
        # kubectl follows the link, and finds by the real path what is beside it.
        real = os.path.relpath(os.path.realpath(ROOT), os.path.realpath(os.path.join(directory, "mine")))
        with open(os.path.join(directory, "mine", "kustomization.yaml"), "w", encoding="utf-8") as file:
            file.write(kustomization.replace("../sscsi", real))
        objects = list(yaml.safe_load_all(kubectl("kustomize", os.path.join(directory, "mine"))))
    (pod,) = (found["spec"]["template"]["spec"] for found in objects if found["kind"] == "DaemonSet")
    assert {"name": "SSCSI_FILE_PROVIDER_ROOT", "value": "/secrets"} in pod["containers"][0]["env"]


def test_the_api_server_takes_the_class_and_the_pod(kube_api: KubeApi) -> None:
    for found in manifests():
        if found["kind"] != "Namespace":
            # Of a namespace that is there, as the tutorial's own would be by then.
            found["metadata"]["namespace"] = "default"
            kubectl("apply", "--dry-run=server", "--filename=-", kube_api=kube_api, stdin=json.dumps(found))
