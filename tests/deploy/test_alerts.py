"""Every alert fires of its fault, and of nothing else; none fires on a node that is well."""

import re

import pytest

from tests.deploy import promql
from tests.deploy.faults import FAULTS, HEALTHY_MINUTES, scrapes_of
from tests.deploy.promql_values import evaluate
from tests.deploy.rule_file import STEP, Rule, firing, rules

RULES = rules()
SERIES: promql.Series = {
    ("x_total", frozenset({("a", "1")})): [(0, 5), (60, 8), (120, 1), (180, 4)],
    ("x_total", frozenset({("a", "2")})): [(0, 0), (60, 0), (120, float("nan"))],
}
_FAULT_BEGINS = HEALTHY_MINUTES * STEP


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_makes_its_alerts_fire_and_no_other(name: str) -> None:
    scrapes = scrapes_of(name)
    fired = {rule.name: times for rule in RULES.values() if (times := firing(rule, scrapes))}
    assert fired.keys() == FAULTS[name].alerts
    for alert, times in fired.items():
        assert min(times) > _FAULT_BEGINS, f"{alert} before anything was wrong"
        assert max(times) == scrapes.times[-1], f"{alert} ended, but the fault did not"
        words = " ".join(RULES[alert].annotations.values())
        for labels in times[max(times)]:
            assert set(re.findall(r"\$labels\.(\w+)", words)) <= dict(labels).keys(), alert


def test_every_alert_has_a_fault() -> None:
    assert RULES.keys() == frozenset().union(*(fault.alerts for fault in FAULTS.values()))


@pytest.mark.parametrize("rule", RULES.values(), ids=list(RULES))
def test_an_alert_waits_and_says_what_to_do(rule: Rule) -> None:
    assert rule.hold >= 60
    assert rule.labels["severity"] in {"critical", "warning"}
    assert rule.annotations.keys() == {"summary", "description"}


class TestEvaluator:
    """Cases that no rule has now; test_promtool.py compares the rest."""

    def at_180(self, text: str) -> promql.Vector:
        return evaluate(promql.parse(text), SERIES, 180)

    def test_a_counter_that_began_anew_did_not_go_down(self) -> None:
        # 3, then from 0 to 1, then 3; the window is open on its left, and the value of 0 s is outside.
        (value,) = self.at_180('increase(x_total{a="1"}[3m])').values()
        assert value == pytest.approx(4 * 180 / 120)

    def test_a_series_that_a_scrape_missed_is_not_there(self) -> None:
        assert self.at_180("x_total") == {frozenset({("a", "1")}): 4}
        assert self.at_180('absent(x_total{a="2"})') == {frozenset(): 1}

    def test_precedence_is_that_of_prometheus(self) -> None:
        assert self.at_180("x_total + 1 * x_total > 2 * x_total - 1 and x_total < 5") == {
            frozenset({("a", "1")}): 8
        }
        assert self.at_180("2 * x_total - x_total * 2 == 0") == {frozenset({("a", "1")}): 0}

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "x >",
            "sum(x",
            'x{a="1"',
            "rate(x)",
            "x[5m] y",
            "increase(x[5])",
            "nonsense(x)",
            "x{a=1}",
            "a:b",
            "min_over_time(x[5y])",
        ],
    )
    def test_what_is_no_promql_is_refused(self, text: str) -> None:
        with pytest.raises(promql.PromqlError):
            promql.parse(text)
