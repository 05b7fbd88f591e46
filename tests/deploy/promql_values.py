"""The values of the PromQL that the rules use.

They follow Prometheus 3, with which test_promtool.py compares them: a range is open on its left, `rate` and `increase`
extrapolate, and a value is looked for in the last five minutes.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping

from tests.deploy.promql import (
    Aggregation,
    Binary,
    Call,
    Expression,
    Labels,
    Number,
    Points,
    PromqlError,
    Selector,
    Series,
    Vector,
)

_LOOKBACK = 300.0
_AGGREGATIONS: Mapping[str, Callable[[list[float]], float]] = {"sum": sum, "max": max, "min": min}
_COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    ">": lambda a, b: a > b,
    "<": lambda a, b: a < b,
    ">=": lambda a, b: a >= b,
    "<=": lambda a, b: a <= b,
}
_ARITHMETIC: Mapping[str, Callable[[float, float], float]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b if b else float("nan"),
}


def evaluate(expression: Expression, series: Series, at: float) -> Vector:
    """The result at a time, without names. Raises PromqlError for what only dashboards use."""
    if isinstance(expression, Number):
        raise PromqlError("a number alone is no vector")
    if isinstance(expression, Selector):
        return _at(expression, series, at)
    if isinstance(expression, Call):
        return _called(expression, series, at)
    if isinstance(expression, Aggregation):
        return _aggregated(expression, evaluate(expression.argument, series, at))
    return _combined(expression, series, at)


def _at(selector: Selector, series: Series, at: float) -> Vector:
    found = _windows(dataclasses.replace(selector, window=_LOOKBACK), series, at)
    return {labels: points[-1][1] for labels, points in found.items() if not math.isnan(points[-1][1])}


def _windows(selector: Selector, series: Series, at: float) -> dict[Labels, list[tuple[float, float]]]:
    found = {}
    for (name, labels), points in series.items():
        if selector.takes(name, labels):
            inside = [point for point in points if at - selector.window < point[0] <= at]
            if inside:
                found[labels] = inside
    return found


def _called(call: Call, series: Series, at: float) -> Vector:
    (argument,) = call.arguments
    if call.function == "absent":
        return {} if evaluate(argument, series, at) else {frozenset(): 1.0}
    assert isinstance(argument, Selector)
    windows = {
        labels: kept
        for labels, points in _windows(argument, series, at).items()
        if (kept := [point for point in points if not math.isnan(point[1])])
    }
    if call.function in {"min_over_time", "max_over_time"}:
        best = min if call.function == "min_over_time" else max
        return {labels: best(value for _, value in points) for labels, points in windows.items()}
    divisor = argument.window if call.function == "rate" else 1.0
    return {
        labels: _increase(points, at - argument.window, at) / divisor
        for labels, points in windows.items()
        if len(points) > 1
    }


def _increase(points: Points, start: float, end: float) -> float:
    """What a counter went up by, extrapolated to the window's ends as Prometheus does it."""
    values = [value for _, value in points]
    resets = sum(before for before, after in itertools.pairwise(values) if after < before)
    result = values[-1] - values[0] + resets
    sampled = points[-1][0] - points[0][0]
    between = sampled / (len(points) - 1)
    to_start, to_end = points[0][0] - start, end - points[-1][0]
    if to_start >= between * 1.1:
        to_start = between / 2
    if result > 0:
        to_start = min(to_start, sampled * values[0] / result)
    if to_end >= between * 1.1:
        to_end = between / 2
    return result * (sampled + to_start + to_end) / sampled


def _aggregated(aggregation: Aggregation, vector: Vector) -> Vector:
    groups: dict[Labels, list[float]] = {}
    for labels, value in vector.items():
        is_by = aggregation.grouping == "by"
        key = frozenset(pair for pair in labels if (pair[0] in aggregation.labels) == is_by)
        groups.setdefault(key, []).append(value)
    function = _AGGREGATIONS[aggregation.function]
    return {labels: float(function(values)) for labels, values in groups.items()}


def _combined(binary: Binary, series: Series, at: float) -> Vector:
    left = _side(binary.left, series, at)
    right = _side(binary.right, series, at)
    if isinstance(left, float):
        if isinstance(right, float) or binary.operator not in _ARITHMETIC:
            raise PromqlError("only arithmetic may begin with a number")
        return {labels: _ARITHMETIC[binary.operator](left, value) for labels, value in right.items()}
    if isinstance(right, float):
        pairs = {labels: (value, right) for labels, value in left.items()}
    else:
        others = {_key(labels, binary.on): value for labels, value in right.items()}
        if binary.operator == "and":
            return {labels: value for labels, value in left.items() if _key(labels, binary.on) in others}
        if len(others) != len(right) or binary.on is not None:
            raise PromqlError("only `and` may match by some of the labels")
        pairs = {labels: (value, others[labels]) for labels, value in left.items() if labels in others}
    if binary.operator in _ARITHMETIC:
        return {labels: _ARITHMETIC[binary.operator](*pair) for labels, pair in pairs.items()}
    if binary.operator not in _COMPARISONS:
        raise PromqlError(f"{binary.operator} is only parsed")
    return {labels: pair[0] for labels, pair in pairs.items() if _COMPARISONS[binary.operator](*pair)}


def _side(expression: Expression, series: Series, at: float) -> Vector | float:
    return expression.value if isinstance(expression, Number) else evaluate(expression, series, at)


def _key(labels: Labels, on: tuple[str, ...] | None) -> Labels:
    return labels if on is None else frozenset(pair for pair in labels if pair[0] in on)
