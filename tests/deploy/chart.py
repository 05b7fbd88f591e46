"""The chart as helm renders it, and its values as their table in docs/chart.md has them."""

import dataclasses
import functools
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from typing import Any

import yaml

from tests.kubeapi.manifests import DEPLOY, documents
from tests.support.require import lacking, require

CHART = os.path.join(DEPLOY, "charts", "secrets-store-csi-driver")
VALUES = os.path.join(CHART, "values.yaml")
RELEASE = "csi-secrets-store"
KUBE_VERSION = "1.34.0"
# Another validator of schemas, and --take-ownership.
_OLDEST_HELM = (3, 18)


@dataclasses.dataclass(frozen=True)
class Rendered:
    """What a release would have: objects in helm's order, and what is told to whoever installs it. Not to be changed."""

    objects: tuple[Any, ...]
    notes: str

    def of(self, kind: str, name: str = "") -> Any:
        """The only object of the kind, or the one of that name."""
        (found,) = (
            thing
            for thing in self.objects
            if thing["kind"] == kind and name in {"", thing["metadata"]["name"]}
        )
        return found

    def kinds(self) -> set[str]:
        return {thing["kind"] for thing in self.objects}

    @property
    def pod(self) -> Any:
        return self.of("DaemonSet")["spec"]["template"]["spec"]

    @property
    def container(self) -> Any:
        (only,) = self.pod["containers"]
        return only


def render(
    values: dict[str, Any] | None = None, *arguments: str, kube_version: str = KUBE_VERSION
) -> Rendered:
    """The chart with these values. The test fails with what helm complains of."""
    return _rendered(json.dumps(values or {}), arguments, kube_version)


@functools.cache
def _rendered(values: str, arguments: tuple[str, ...], kube_version: str) -> Rendered:
    result = _template(json.loads(values), kube_version, arguments)
    assert result.returncode == 0, result.stderr
    objects = [found for found in yaml.safe_load_all(result.stdout) if found]
    # Helm shows the notes only to who has a cluster; the copy of the chart has them as an object too.
    (notes,) = (found for found in objects if found["metadata"]["name"] == "notes-of-the-chart")
    objects.remove(notes)
    return Rendered(tuple(objects), notes["data"]["notes"])


def refused(values: dict[str, Any], *, kube_version: str = KUBE_VERSION) -> str:
    """What helm complains of with these values. The test fails when it does not."""
    result = _template(values, kube_version, ())
    assert result.returncode != 0, f"the chart takes {values}"
    return result.stderr


def helm(*arguments: str, stdin: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
    """Run it; the test is skipped without one that words what it complains of as here."""
    return subprocess.run(
        [_new_enough_helm(), *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={"PATH": os.environ["PATH"], "HOME": os.path.dirname(_chart_with_notes()), **environ},
    )


def _template(
    values: dict[str, Any], kube_version: str, arguments: tuple[str, ...]
) -> subprocess.CompletedProcess[str]:
    return helm(
        *("template", RELEASE, _chart_with_notes(), "--namespace=kube-system"),
        *("--values=-", f"--kube-version={kube_version}", *arguments),
        # JSON is YAML.
        stdin=json.dumps(values),
    )


def _new_enough_helm() -> str:
    path, version = require("helm"), helm_version()
    if version < _OLDEST_HELM:
        words = ["helm on PATH is version", *map(str, version), "and the tests need", *map(str, _OLDEST_HELM)]
        lacking("helm", reason=" ".join(words))
    return path


@functools.cache
def helm_version() -> tuple[int, ...]:
    """Major and minor."""
    command = [require("helm"), "version", "--template={{.Version}}"]
    asked = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    found = re.match(r"v(\d+)\.(\d+)", asked.stdout)
    assert found, asked.stdout
    return tuple(map(int, found.groups()))


@functools.cache
def _chart_with_notes() -> str:
    """A copy of the chart that renders the notes as an object."""
    directory = tempfile.TemporaryDirectory(prefix="sscsi-chart-", dir="/tmp")
    _kept.append(directory)
    chart = shutil.copytree(CHART, os.path.join(directory.name, "chart"))
    with open(os.path.join(CHART, "templates", "NOTES.txt"), encoding="utf-8") as file:
        notes = file.read()
    with open(os.path.join(chart, "templates", "notes-of-the-chart.yaml"), "w", encoding="utf-8") as file:
        file.write('{{- define "notes" }}' + notes + "{{ end -}}\n")
        file.write('{{ dict "kind" "Notes" "metadata" (dict "name" "notes-of-the-chart")')
        file.write(' "data" (dict "notes" (include "notes" .)) | toYaml }}\n')
    return chart


_kept: list[tempfile.TemporaryDirectory[str]] = []


def schema() -> Any:
    with open(os.path.join(CHART, "values.schema.json"), encoding="utf-8") as file:
        return json.load(file)


def default_values() -> Any:
    (found,) = documents(VALUES)
    return found


def leaves(values: Any, node: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Path, default and schema of every value that stands for itself; a value that is Kubernetes' own is one."""
    for name, value in values.items():
        below = node["properties"][name]
        here = f"{path}{name}"
        if isinstance(value, dict) and "properties" in below and here != "linux.updateStrategy":
            yield from leaves(value, below, f"{here}.")
        else:
            yield here, value, below


def value_table() -> str:
    """The table of docs/chart.md: `python -c 'from tests.deploy.chart import *; print(value_table())'`."""
    rows = [
        f"| `{path}` | {_shown(default)} | {node['description']} |"
        for path, default, node in leaves(default_values(), schema())
    ]
    return "\n".join(["| value | default | meaning |", "|---|---|---|", *rows])


def no_effect_table() -> str:
    """The table of docs/chart.md with what is accepted for upstream's sake."""
    rows = [f"| `{entry['name']}` | {entry['why']} |" for entry in without_effect()]
    return "\n".join(["| value | why it has no effect |", "|---|---|", *rows])


def without_effect() -> Any:
    (found,) = documents(os.path.join(CHART, "files", "upstream-values.yaml"))
    return found["values"]


def _shown(default: Any) -> str:
    if default is None or default == "":
        return "unset" if default is None else "empty"
    text = default if isinstance(default, str) else json.dumps(default)
    return f"`{text}`"
