"""Every text that the code can write, and which error class has it: what docs quote is looked for in here.

A text is one string of the source, a gap in the place of each value that is put into it. A quotation in the docs has
`...`, or a word in capitals, where the program puts a value.
"""

import ast
import dataclasses
import functools
import re

from tests.support.log_table import modules, parsed

GAP = "\0"
_PLACEHOLDER = re.compile(r"\.\.\.|\b[A-Z][A-Z_/]*[A-Z]\b|\bN\b")
# A quotation of a few letters is in some text anyhow.
_MIN_LETTERS = 8


@dataclasses.dataclass(frozen=True, slots=True)
class Text:
    """A string of the code; `error` is the class that is made with it, empty for any other string."""

    template: str
    error: str


@functools.cache
def texts() -> tuple[Text, ...]:
    """All of them."""
    return tuple(text for path, _ in modules() for text in _texts_of(parsed(path)))


def pattern(quotation: str) -> "re.Pattern[str]":
    """What finds `quotation` in a text: all of its parts, in their order."""
    parts = [part for part in _PLACEHOLDER.split(quotation) if part.strip(" '\":;,./()")]
    assert sum(map(len, parts)) >= _MIN_LETTERS, f"too little to be found: {quotation!r}"
    return re.compile(".*".join(map(re.escape, parts)), re.DOTALL)


def quoting(quotation: str) -> list[Text]:
    """The texts that `quotation` quotes."""
    searched = pattern(quotation)
    return [text for text in texts() if searched.search(text.template)]


def _texts_of(tree: ast.Module) -> list[Text]:
    errors: dict[int, str] = {}
    inside: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args and (name := _error_class(node.func)):
            for part in ast.walk(node.args[0]):
                errors[id(part)] = name
        if isinstance(node, ast.JoinedStr):
            inside |= {id(part) for part in node.values}
    return [
        Text(_template(node), errors.get(id(node), ""))
        for node in ast.walk(tree)
        if _is_string(node) and id(node) not in inside
    ]


def _error_class(function: ast.expr) -> str:
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    return name if name.endswith("Error") else ""


def _is_string(node: ast.AST) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def _template(node: ast.AST) -> str:
    if isinstance(node, ast.JoinedStr):
        return "".join(map(_template, node.values))
    return str(node.value) if isinstance(node, ast.Constant) else GAP
