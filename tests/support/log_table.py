"""docs/logs.md as data, and every log call of the code."""

import ast
import dataclasses
import functools
import os
import re
from collections.abc import Iterator

from sscsi.core import log_keys, log_levels
from tests.support.checkout import ROOT

_KEY = re.compile(r"\| `(\w+)` \| (string|number|boolean|object) \| .* \| ([\w, -]+) \|")
_MESSAGE = re.compile(r"\| `([^`]+)` \| ([^|]+) \| ([\w-]+) \| .*\|")
_VERBOSITY = re.compile(r"\| (\d+) \| .* \|")
TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "number": (int, float),
    "boolean": (bool,),
    "object": (dict,),
}
LEVELS = {"-v=2": log_levels.CALLS, "-v=4": log_levels.DECISIONS, "-v=5": log_levels.REQUESTS} | {
    "info": log_levels.INFO,
    "warning": 30,
    "error": log_levels.ERROR,
}
_BY_METHOD = {"info": {20}, "warning": {30}, "error": {40}, "exception": {40}, "critical": {50}}
ALL = "all"


@dataclasses.dataclass(frozen=True, slots=True)
class Key:
    """A row of the table of fields."""

    kind: str
    programs: frozenset[str]


@dataclasses.dataclass(frozen=True, slots=True)
class Call:
    """A log call in the code: the constant texts that may be its message, the levels, the program."""

    texts: frozenset[str]
    levels: frozenset[int]
    program: str
    place: str


def text() -> str:
    with open(os.path.join(ROOT, "docs", "logs.md"), encoding="utf-8") as file:
        return file.read()


@functools.cache
def keys() -> dict[str, Key]:
    """The table of fields, by key."""
    rows = _KEY.findall(text())
    found = {key: Key(kind, frozenset(programs.split(", "))) for key, kind, programs in rows}
    assert len(found) == len(rows), "a key is there twice"
    return found


def messages() -> dict[str, tuple[frozenset[int], str]]:
    """The table of messages: levels and program."""
    part = text().partition("## Messages to look for")[2].partition("\n## ")[0]
    rows = [match.groups() for line in part.splitlines() if (match := _MESSAGE.fullmatch(line))]
    return {
        message: (frozenset(LEVELS[level.strip(" `")] for level in levels.split(",")), program)
        for message, levels, program in rows
    }


def verbosities() -> set[int]:
    """The table of verbosities."""
    part = text().partition("## Verbosity")[2].partition("\n## ")[0]
    return {int(number) for number in _VERBOSITY.findall(part)}


def misfits(line: dict[str, object]) -> list[str]:
    """What in a line of JSON is not as the tables have it."""
    table = keys()
    wrong = []
    for key, value in line.items():
        if key in {"level", "timestamp", "caller", "message"}:
            continue
        kind = table[key].kind if key in table else ""
        is_fit = isinstance(value, TYPES.get(kind, ())) and (kind == "boolean" or not isinstance(value, bool))
        if not is_fit:
            wrong.append(f"{line['message']}: {key}={value!r}")
    return wrong


def modules() -> Iterator[tuple[str, str]]:
    """Every file of the product, and the program that it is of; `all` for what programs share."""
    for top in ("sscsi", "sidecars"):
        for directory, _, names in os.walk(os.path.join(ROOT, top)):
            for name in names:
                path = os.path.join(directory, name)
                if name.endswith(".py") and "/pb/" not in path and name != "log_keys.py":
                    yield path, _program(os.path.relpath(path, ROOT))


def _program(path: str) -> str:
    _, room, *rest = path.split("/")
    if not rest or room in {"edges", "process", "core"}:
        return ALL
    return {"cli": "supervisord", "provider_file": "provider-file"}.get(room, room)


def parsed(path: str) -> ast.Module:
    with open(path, encoding="utf-8") as file:
        return ast.parse(file.read())


@functools.cache
def written_keys() -> dict[str, set[str]]:
    """The programs in whose code each key is named."""
    by_name = {name: value for name, value in vars(log_keys).items() if isinstance(value, str)}
    found: dict[str, set[str]] = {key: set() for key in log_keys.ALL}
    for path, program in modules():
        tree = parsed(path)
        imported = {
            name.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module == "sscsi.core.log_keys"
            for name in node.names
        }
        for node in ast.walk(tree):
            name = ""
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "log_keys":
                name = node.attr
            elif isinstance(node, ast.Name) and node.id in imported:
                name = node.id
            if name and name != "ALL":
                found[by_name[name]].add(program)
    return found


@functools.cache
def calls() -> tuple[Call, ...]:
    """Every call of a module's `log`."""
    return tuple(_calls())


def _calls() -> Iterator[Call]:
    for path, program in modules():
        for node in ast.walk(parsed(path)):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            method = node.func.attr
            if ast.unparse(node.func.value) == "log" and method in {*_BY_METHOD, "debug", "log"}:
                place = f"{os.path.relpath(path, ROOT)}:{node.lineno}"
                yield _call(node, method, program, place)


def _call(node: ast.Call, method: str, program: str, place: str) -> Call:
    levels, message = _BY_METHOD.get(method, set()), node.args[0]
    if method == "log":
        names = re.findall(r"log_levels\.(\w+)", ast.unparse(node.args[0]))
        levels, message = {getattr(log_levels, name) for name in names}, node.args[1]
    texts = {
        part.value
        for part in ast.walk(message)
        if isinstance(part, ast.Constant) and isinstance(part.value, str)
    }
    return Call(frozenset(texts), frozenset(levels), program, place)
