"""deploy/prometheus-rules.yaml as data, and what Prometheus would make of it: which alerts fire, on which series."""

import dataclasses
import math
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from tests.deploy import promql
from tests.deploy.promql_values import evaluate
from tests.livenessprobe.metrics_text import parse
from tests.support.checkout import ROOT

JOB = "secrets-store-csi"
TARGET = {"job": JOB, "instance": "10.0.0.1:8095", "node": "worker-1"}
STEP = 60
"""Seconds between two scrapes and between two evaluations."""


@dataclasses.dataclass(frozen=True, slots=True)
class Rule:
    """One alert; `hold` is its `for` in seconds."""

    name: str
    text: str
    expression: promql.Expression
    hold: float
    labels: Mapping[str, str]
    annotations: Mapping[str, str]


class Scrapes:
    """Pages as Prometheus keeps them: each sample with the target's labels, and `up`."""

    def __init__(self) -> None:
        self.series: dict[tuple[str, promql.Labels], list[tuple[float, float]]] = {}
        self.times: list[int] = []

    def add(self, page: str | None) -> None:
        """The next scrape, STEP after the one before; None for one that failed."""
        samples = dict(parse(page)) if page is not None else {}
        samples["up", frozenset()] = float(page is not None)
        self._add(samples)

    def add_nothing(self) -> None:
        """A scrape for which no target was there."""
        self._add({})

    def _add(self, samples: Mapping[tuple[str, promql.Labels], float]) -> None:
        at = len(self.times) * STEP
        self.times.append(at)
        here = {
            (name, labels | frozenset(TARGET.items())): value for (name, labels), value in samples.items()
        }
        for key, points in self.series.items():
            if key not in here and not math.isnan(points[-1][1]):
                points.append((float(at), math.nan))
        for key, value in here.items():
            self.series.setdefault(key, []).append((float(at), value))


def document() -> Any:
    with open(os.path.join(ROOT, "deploy", "prometheus-rules.yaml"), encoding="utf-8") as file:
        return yaml.safe_load(file)


def rules() -> dict[str, Rule]:
    """By name; fails for one that is there twice."""
    found: dict[str, Rule] = {}
    for group in document()["spec"]["groups"]:
        for rule in group["rules"]:
            name = rule["alert"]
            assert name not in found, f"{name} is there twice"
            found[name] = Rule(
                name=name,
                text=rule["expr"],
                expression=promql.parse(rule["expr"]),
                hold=_seconds(rule["for"]),
                labels=rule["labels"],
                annotations=rule["annotations"],
            )
    return found


def firing(rule: Rule, scrapes: Scrapes) -> dict[int, promql.Vector]:
    """By time of evaluation: the series that the alert fires for, with their values. Times without any are left out."""
    active: dict[promql.Labels, int] = {}
    found: dict[int, promql.Vector] = {}
    for at in scrapes.times:
        vector = evaluate(rule.expression, known(rule, scrapes), at)
        active = {labels: active.get(labels, at) for labels in vector}
        if fires := {labels: vector[labels] for labels, since in active.items() if at - since >= rule.hold}:
            found[at] = fires
    return found


def known(rule: Rule, scrapes: Scrapes) -> promql.Series:
    """The series of the metrics that the rule names."""
    names = {selector.name for selector in selectors(rule.expression)}
    return {key: points for key, points in scrapes.series.items() if key[0] in names}


def selectors(expression: promql.Expression) -> Iterable[promql.Selector]:
    return [part for part in promql.parts(expression) if isinstance(part, promql.Selector)]


def _seconds(duration: str) -> float:
    match = re.fullmatch(r"(\d+)([smh])", duration)
    assert match, duration
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]]
