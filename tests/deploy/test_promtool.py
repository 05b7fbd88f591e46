"""Prometheus' own promtool on the rules: they are valid, and on the same series it gets what our evaluator gets."""

import json
import math
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy import promql
from tests.deploy.faults import FAULTS, scrapes_of
from tests.deploy.promql_values import evaluate
from tests.deploy.rule_file import STEP, Scrapes, document, firing, known, rules
from tests.deploy.test_names import EXPRESSIONS
from tests.support.require import require

_EVERY = 5 * STEP
_ALERTS = 'ALERTS{alertstate="firing"}'


@pytest.fixture
def rule_file(tmp_path: Path) -> Path:
    """The rules as deploy/README.md has them for Prometheus alone: what is below `spec`."""
    require("promtool")
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump(document()["spec"]), encoding="utf-8")
    return path


def promtool(*arguments: str) -> str:
    done = subprocess.run(
        [require("promtool"), *arguments], capture_output=True, text=True, check=False, timeout=100
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_rules_are_valid(rule_file: Path) -> None:
    assert f"{len(rules())} rules found" in promtool(
        "check", "rules", "--lint=all", "--lint-fatal", str(rule_file)
    )


def test_the_dashboards_expressions_are_promql(tmp_path: Path) -> None:
    recorded = [
        {"record": f"panel:{number}", "expr": text.replace("$__rate_interval", "5m")}
        for number, text in enumerate(EXPRESSIONS.values())
    ]
    path = tmp_path / "panels.yaml"
    path.write_text(json.dumps({"groups": [{"name": "panels", "rules": recorded}]}), encoding="utf-8")
    assert f"{len(EXPRESSIONS)} rules found" in promtool("check", "rules", "--lint=none", str(path))


@pytest.mark.parametrize("name", FAULTS)
def test_promtool_gets_the_same_alerts_and_values(name: str, rule_file: Path) -> None:
    tests = rule_file.with_name("tests.yaml")
    # JSON is YAML, and quicker.
    tests.write_text(json.dumps(unit_tests(rule_file, scrapes_of(name))), encoding="utf-8")
    promtool("test", "rules", str(tests))


def test_promtool_refuses_what_is_not_so(rule_file: Path) -> None:
    wrong = unit_tests(rule_file, scrapes_of("queue stands"))
    (group,) = wrong["tests"]
    samples = next(test["exp_samples"] for test in reversed(group["promql_expr_test"]) if test["exp_samples"])
    samples[0]["value"] += 1
    tests = rule_file.with_name("tests.yaml")
    tests.write_text(json.dumps(wrong), encoding="utf-8")
    with pytest.raises(AssertionError, match="FAILED"):
        promtool("test", "rules", str(tests))


def unit_tests(rule_file: Path, scrapes: Scrapes) -> Any:
    """What promtool shall find: the firing alerts at each scrape, and each expression's values now and then."""
    all_rules = rules().values()
    series = {key: points for rule in all_rules for key, points in known(rule, scrapes).items()}
    fired = {rule.name: firing(rule, scrapes) for rule in all_rules}
    expected = []
    for at in scrapes.times:
        alerts = [
            _sample(
                "ALERTS",
                {*labels, *rule.labels.items(), ("alertname", rule.name), ("alertstate", "firing")},
                1,
            )
            for rule in all_rules
            for labels in fired[rule.name].get(at, {})
        ]
        expected.append({"expr": _ALERTS, "eval_time": f"{at}s", "exp_samples": alerts})
        if at % _EVERY == 0:
            for rule in all_rules:
                vector = evaluate(rule.expression, known(rule, scrapes), at)
                # Around it, a name stays or goes as the expression has it; names are not compared.
                samples = [_sample("", set(labels), value) for labels, value in vector.items()]
                text = f'label_replace({rule.text}, "__name__", "", "job", ".*")'
                expected.append({"expr": text, "eval_time": f"{at}s", "exp_samples": samples})
    return {
        "rule_files": [str(rule_file)],
        "evaluation_interval": f"{STEP}s",
        "fuzzy_compare": True,
        "tests": [
            {
                "interval": f"{STEP}s",
                "input_series": [
                    {"series": _text(name, set(labels)), "values": _values(points, scrapes)}
                    for (name, labels), points in series.items()
                ],
                "promql_expr_test": expected,
            }
        ],
    }


def _values(points: promql.Points, scrapes: Scrapes) -> str:
    by_time = dict(points)
    words = [by_time.get(float(at)) for at in scrapes.times]
    return " ".join(
        "_" if value is None else "stale" if math.isnan(value) else repr(float(value)) for value in words
    )


def _sample(name: str, labels: set[tuple[str, str]], value: float) -> dict[str, Any]:
    return {"labels": _text(name, labels), "value": value}


def _text(name: str, labels: set[tuple[str, str]]) -> str:
    # As in PromQL, whose quoting JSON's is.
    return name + "{" + ",".join(f"{label}={json.dumps(value)}" for label, value in sorted(labels)) + "}"
