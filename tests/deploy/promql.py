"""As much of PromQL as deploy/ uses, parsed; promql_values.py evaluates what the rules have of it."""

import dataclasses
import re
from collections.abc import Mapping, Sequence

Labels = frozenset[tuple[str, str]]
Points = Sequence[tuple[float, float]]
Series = Mapping[tuple[str, Labels], Points]
"""By name and labels: times (seconds, rising) with values; NaN where a scrape missed the series, as Prometheus marks it."""
Vector = dict[Labels, float]

_TOKEN = re.compile(
    r'\s*(?:(?P<number>\d+(?:\.\d+)?)(?![\w.])|(?P<duration>\d+[smhd])\b|(?P<string>"[^"\\]*")'
    r"|(?P<word>[A-Za-z_][A-Za-z0-9_]*)|(?P<mark>==|!=|>=|<=|=~|!~|[-+*/<>=(){}\[\],]))"
)
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_RANGE_FUNCTIONS = ("rate", "increase", "min_over_time", "max_over_time")
_BINDING = [{"or"}, {"and", "unless"}, {"==", "!=", ">", "<", ">=", "<="}, {"+", "-"}, {"*", "/"}]


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
        if token in {"sum", "max", "min", "count"}:
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


def _matches(own: str, operator: str, value: str) -> bool:
    is_equal = bool(re.fullmatch(value, own)) if operator.endswith("~") else own == value
    return is_equal != operator.startswith("!")
