"""Dashboard and rules name only metrics, labels and values that the rooms have, and are whole."""

import functools
import json
import os
import re
from typing import Any

import pytest

from tests.deploy import promql
from tests.deploy.faults import FAULTS, scrapes_of
from tests.deploy.rule_file import TARGET, rules, selectors
from tests.support.checkout import ROOT
from tests.support.metrics_table import of_the_code

VARIABLES = {"datasource", "node", "instance", "namespace", "class"}
ROWS = ["Health", "Volumes", "Publishes", "Providers", "Kubernetes API", "Programs"]
_SUFFIXES = {"histogram": ("_bucket", "_sum", "_count"), "gauge": ("",), "counter": ("",)}


def _dashboard() -> Any:
    with open(os.path.join(ROOT, "deploy", "grafana-dashboard.json"), encoding="utf-8") as file:
        return json.load(file)


DASHBOARD = _dashboard()
PANELS = {panel["title"]: panel for panel in DASHBOARD["panels"] if panel["type"] != "row"}
TARGETS = [(title, target) for title, panel in PANELS.items() for target in panel["targets"]]
EXPRESSIONS = {
    **{name: rule.text for name, rule in rules().items()},
    **{f"{title}: {target['refId']}": target["expr"] for title, target in TARGETS},
}


def parsed(text: str) -> promql.Expression:
    """A panel's expression as Grafana would send it."""
    return promql.parse(text.replace("$__rate_interval", "5m"))


@functools.cache
def label_names() -> dict[str, frozenset[str]]:
    """The labels of each series by its name, the target's among them."""
    found = {"up": frozenset(TARGET)}
    for name, row in of_the_code().items():
        for suffix in _SUFFIXES[row.kind]:
            own = row.labels | ({"le"} if suffix == "_bucket" else set())
            found[name + suffix] = own | frozenset(TARGET)
    return found


@functools.cache
def seen() -> frozenset[tuple[str, promql.Labels]]:
    """Every series of every simulated node."""
    return frozenset(key for name in FAULTS for key in scrapes_of(name).series)


def result_labels(expression: promql.Expression) -> frozenset[str]:
    """The labels that the result has; fails where one is grouped or matched by that is not there."""
    if isinstance(expression, promql.Number):
        return frozenset()
    if isinstance(expression, promql.Selector):
        assert expression.name in label_names(), f"no room has {expression.name}"
        labels = label_names()[expression.name]
        assert {label for label, _, _ in expression.matchers} <= labels, expression
        return labels
    if isinstance(expression, promql.Call):
        inner = result_labels(expression.arguments[-1])
        if expression.function == "absent":
            return frozenset()
        if expression.function == "histogram_quantile":
            assert "le" in inner, expression
            return inner - {"le"}
        return inner
    if isinstance(expression, promql.Aggregation):
        inner, named = result_labels(expression.argument), frozenset(expression.labels)
        assert named <= inner, expression
        return named if expression.grouping == "by" else inner - named
    left, right = result_labels(expression.left), result_labels(expression.right)
    if expression.on is not None:
        assert frozenset(expression.on) <= left & right, expression
    elif left and right:
        assert left == right, expression
    return left or right


@pytest.mark.parametrize("text", EXPRESSIONS.values(), ids=list(EXPRESSIONS))
def test_an_expression_names_what_the_rooms_have(text: str) -> None:
    expression = parsed(text)
    result_labels(expression)
    for selector in selectors(expression):
        own = tuple(matcher for matcher in selector.matchers if not matcher[2].startswith("$"))
        fixed = promql.Selector(selector.name, own)
        assert any(fixed.takes(*series) for series in seen()), f"no node has {fixed}"


@pytest.mark.parametrize(
    "text",
    [
        "sscsi_volume",
        "sum by (reason) (sscsi_volumes)",
        'sscsi_room_up{rooms="node"}',
        'rate(sscsi_provider_calls_total{result="Ok"}[5m])',
        "sscsi_volumes_late and on (provider) sscsi_provider_volumes",
        "histogram_quantile(0.5, sum by (result) (rate(sscsi_publish_duration_seconds_bucket[5m])))",
        "sscsi_publish_duration_seconds",
    ],
)
def test_a_slip_is_found(text: str) -> None:
    with pytest.raises(AssertionError):
        test_an_expression_names_what_the_rooms_have(text)


@pytest.mark.parametrize(("title", "target"), TARGETS)
def test_a_legend_names_labels_of_the_result(title: str, target: dict[str, str]) -> None:
    labels = re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])
    assert set(labels) <= result_labels(parsed(target["expr"]))


@pytest.mark.parametrize("panel", PANELS.values(), ids=list(PANELS))
def test_a_panel_has_a_unit_a_cure_and_the_chosen_data_source(panel: Any) -> None:
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert len(panel["description"].split()) > 5
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    for target in panel["targets"]:
        for selector in selectors(parsed(target["expr"])):
            chosen = {(label, value) for label, operator, value in selector.matchers if operator == "=~"}
            assert {("node", "$node"), ("instance", "$instance")} <= chosen, target["expr"]


def test_the_dashboard_is_whole() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len(PANELS) == len([panel for panel in panels if panel["type"] != "row"])
    assert [panel["title"] for panel in panels if panel["type"] == "row"] == ROWS
    places = [
        (panel["gridPos"]["x"] + x, panel["gridPos"]["y"] + y)
        for panel in panels
        for x in range(panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["h"])
    ]
    assert len(set(places)) == len(places), "panels lie on each other"
    assert max(x for x, _ in places) < 24


def test_variables_are_there_and_ask_for_what_the_rooms_have() -> None:
    variables = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
    assert variables.keys() == VARIABLES
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(DASHBOARD))) - {"__rate_interval", "__all"}
    assert used == VARIABLES
    for name in VARIABLES - {"datasource"}:
        match = re.fullmatch(r"label_values\((.*), (\w+)\)", variables[name]["query"]["query"])
        assert match, name
        assert match[2] == name
        assert name in result_labels(parsed(match[1]))


def test_every_alert_is_in_the_docs_with_its_severity_and_no_other() -> None:
    with open(os.path.join(ROOT, "docs", "alerts.md"), encoding="utf-8") as file:
        rows = re.findall(r"^\| `(Sscsi\w+)` \| (\w+) \|", file.read(), re.MULTILINE)
    assert rows == [(rule.name, rule.labels["severity"]) for rule in rules().values()]
