"""As much of PromQL as deploy/ uses: parsed for all, evaluated for the rules.

Values follow Prometheus 3, with which test_promtool.py compares them: a range is open on its left, `rate` and `increase`
extrapolate, and a value is looked for in the last five minutes.
"""

import dataclasses
import itertools
import math
import re
from collections.abc import Callable, Mapping, Sequence

Labels = frozenset[tuple[str, str]]
Points = Sequence[tuple[float, float]]
Series = Mapping[tuple[str, Labels], Points]
"""By name and labels: times (seconds, rising) with values; NaN where a scrape missed the series, as Prometheus marks it."""
Vector = dict[Labels, float]

_LOOKBACK = 300.0
_TOKEN = re.compile(
    r'\s*(?:(?P<number>\d+(?:\.\d+)?)(?![\w.])|(?P<duration>\d+[smhd])\b|(?P<string>"[^"\\]*")'
    r"|(?P<word>[A-Za-z_][A-Za-z0-9_]*)|(?P<mark>==|!=|>=|<=|=~|!~|[-+*/<>=(){}\[\],]))"
)
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_AGGREGATIONS: Mapping[str, Callable[[list[float]], float]] = {"sum": sum, "max": max, "min": min}
_RANGE_FUNCTIONS = ("rate", "increase", "min_over_time", "max_over_time")
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
_BINDING = [{"or"}, {"and", "unless"}, set(_COMPARISONS), {"+", "-"}, {"*", "/"}]


class PromqlError(ValueError):
    """The text is no PromQL, or more of it than this knows."""


@dataclasses.dataclass(frozen=True)
class Number:
    value: float


@dataclasses.dataclass(frozen=True)
class Selector:
    """`matchers`: label, operator, value. `window` in seconds, 0 for an instant."""

    name: str
    matchers: tuple[tuple[str, str, str], ...]
    window: float = 0.0

    def takes(self, name: str, labels: Labels) -> bool:
        own = dict(labels)
        return name == self.name and all(_matches(own.get(m[0], ""), m[1], m[2]) for m in self.matchers)


@dataclasses.dataclass(frozen=True)
class Call:
    function: str
    arguments: tuple["Expression", ...]


@dataclasses.dataclass(frozen=True)
class Aggregation:
    function: str
    grouping: str
    labels: tuple[str, ...]
    argument: "Expression"


@dataclasses.dataclass(frozen=True)
class Binary:
    """`on`: the labels to match by, None for all."""

    operator: str
    left: "Expression"
    right: "Expression"
    on: tuple[str, ...] | None


Expression = Number | Selector | Call | Aggregation | Binary


def parse(text: str) -> Expression:
    """Raises PromqlError."""
    parser = _Parser(text)
    expression = parser.binary(0)
    parser.expect("")
    return expression


def parts(expression: Expression) -> list[Expression]:
    """The expression and everything in it."""
    inner: Sequence[Expression] = ()
    if isinstance(expression, Call):
        inner = expression.arguments
    elif isinstance(expression, Aggregation):
        inner = (expression.argument,)
    elif isinstance(expression, Binary):
        inner = (expression.left, expression.right)
    return [expression, *(part for each in inner for part in parts(each))]


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens: list[str] = []
        position = 0
        text = text.rstrip()
        while position < len(text):
            match = _TOKEN.match(text, position)
            if not match:
                raise PromqlError(f"what is {text[position:]!r} in {text!r}?")
            self._tokens.append(match[0].strip())
            position = match.end()
        self._text = text

    def binary(self, level: int) -> Expression:
        if level == len(_BINDING):
            return self._single()
        left = self.binary(level + 1)
        while (operator := self._next()) in _BINDING[level]:
            self._take()
            on = self._labels() if self._took("on") else None
            left = Binary(operator, left, self.binary(level + 1), on)
        return left

    def expect(self, token: str) -> None:
        if self._next() != token:
            raise PromqlError(f"{token or 'the end'!r} should be where {self._next()!r} is in {self._text!r}")
        self._take()

    def _single(self) -> Expression:
        token = self._take()
        if token == "(":
            inner = self.binary(0)
            self.expect(")")
            return inner
        if re.fullmatch(r"\d+(\.\d+)?", token):
            return Number(float(token))
        if token in _AGGREGATIONS or token == "count":
            grouping = self._next()
            labels: tuple[str, ...] = ()
            if self._took("by") or self._took("without"):
                labels = self._labels()
            else:
                grouping = "by"
            self.expect("(")
            argument = self.binary(0)
            self.expect(")")
            return Aggregation(token, grouping, labels, argument)
        if token in {*_RANGE_FUNCTIONS, "absent", "histogram_quantile"}:
            return self._call(token)
        if not re.fullmatch(r"[A-Za-z_]\w*", token) or self._next() == "(":
            raise PromqlError(f"{token!r} is not known, in {self._text!r}")
        return self._selector(token)

    def _call(self, function: str) -> Call:
        self.expect("(")
        arguments = [self.binary(0)]
        while self._took(","):
            arguments.append(self.binary(0))
        self.expect(")")
        last = arguments[-1]
        has_window = isinstance(last, Selector) and last.window > 0
        if has_window != (function in _RANGE_FUNCTIONS):
            raise PromqlError(f"{function} of {last}, in {self._text!r}")
        if len(arguments) != (2 if function == "histogram_quantile" else 1):
            raise PromqlError(f"{len(arguments)} arguments of {function}, in {self._text!r}")
        return Call(function, tuple(arguments))

    def _selector(self, name: str) -> Selector:
        matchers = []
        if self._took("{"):
            while not self._took("}"):
                label, operator, value = self._take(), self._take(), self._take()
                if operator not in {"=", "!=", "=~", "!~"} or not value.startswith('"'):
                    raise PromqlError(f"{label}{operator}{value} matches nothing, in {self._text!r}")
                matchers.append((label, operator, value[1:-1]))
                if self._next() != "}":
                    self.expect(",")
        window = 0.0
        if self._took("["):
            duration = self._take()
            if not re.fullmatch(r"\d+[smhd]", duration):
                raise PromqlError(f"{duration!r} is no duration, in {self._text!r}")
            window = int(duration[:-1]) * _UNITS[duration[-1]]
            self.expect("]")
        return Selector(name, tuple(matchers), window)

    def _labels(self) -> tuple[str, ...]:
        self.expect("(")
        labels = [self._take()]
        while self._took(","):
            labels.append(self._take())
        self.expect(")")
        return tuple(labels)

    def _next(self) -> str:
        return self._tokens[0] if self._tokens else ""

    def _take(self) -> str:
        return self._tokens.pop(0) if self._tokens else ""

    def _took(self, token: str) -> bool:
        if self._next() != token:
            return False
        self._take()
        return True


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


def _matches(own: str, operator: str, value: str) -> bool:
    is_equal = bool(re.fullmatch(value, own)) if operator.endswith("~") else own == value
    return is_equal != operator.startswith("!")
