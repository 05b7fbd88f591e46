"""YAML with its places: documents as node trees, which know the line of every field.

Values are as Kubernetes reads them: no dates (they stay strings), no key twice. Nesting is bounded before
anything recurses, as libyaml's composer overruns its stack on a deep document; so is what aliases expand to.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import yaml

# libyaml where PyYAML was built with it: twenty times as quick, the same nodes.
_BASE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MAX_DEPTH = 64
_MAX_NODES = 100_000
_MERGE_TAG = "tag:yaml.org,2002:merge"
_STRING_TAG = "tag:yaml.org,2002:str"
# `=` is a value of its own in YAML 1.1, that no constructor knows.
_PLAIN_STRINGS = frozenset({"tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:value"})


class DocumentError(ValueError):
    """What is wrong with a document, with its place; line and column count from 1, 0 when nobody knows."""

    def __init__(self, message: str, *, line: int = 0, column: int = 0) -> None:
        self.line = line
        self.column = column
        super().__init__(message)


def _construct_string(loader: Any, node: yaml.ScalarNode) -> str:
    """PyYAML without libyaml lets half of a surrogate pair through, which no message can carry."""
    text = str(loader.construct_scalar(node))
    try:
        text.encode()
    except UnicodeEncodeError:
        raise yaml.constructor.ConstructorError(None, None, "half a character", node.start_mark) from None
    return text


_Loader: Any = type(
    "_Loader",
    (_BASE,),
    {
        "yaml_implicit_resolvers": {
            first: [entry for entry in entries if entry[0] not in _PLAIN_STRINGS]
            for first, entries in _BASE.yaml_implicit_resolvers.items()
        }
    },
)
_Loader.add_constructor(_STRING_TAG, _construct_string)


def documents(text: str) -> Iterator[yaml.Node]:
    """The documents of a file, one after the other; empty ones are left out. Raises DocumentError."""
    try:
        _check_depth(text)
        loader = _Loader(text)
        try:
            while loader.check_node():
                node = loader.get_node()
                _check_size(node)
                yield node
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        raise _document_error(error, text) from error


def construct(node: yaml.Node) -> object:
    """The value of a node. Raises DocumentError for a key given twice and for tags of no plain value."""
    _check_keys(node)
    loader = _Loader("")
    try:
        return loader.construct_document(node)
    except yaml.YAMLError as error:
        raise _document_error(error, "") from error
    except ValueError as error:
        # A tag like !!int before something else.
        raise _at(node, "a value does not fit its tag") from error
    finally:
        loader.dispose()


def place(node: yaml.Node) -> tuple[int, int]:
    """Line and column of a node, from 1."""
    return node.start_mark.line + 1, node.start_mark.column + 1


def child(node: yaml.Node, key: str) -> yaml.Node | None:
    """The value of `key` in a mapping."""
    if isinstance(node, yaml.MappingNode):
        for key_node, value_node in node.value:
            if isinstance(key_node, yaml.ScalarNode) and key_node.value == key:
                return value_node  # type: ignore[no-any-return]  # a node's value is untyped
    return None


def scalar(node: yaml.Node | None) -> str:
    """The text of a string node, empty for anything else."""
    return str(node.value) if isinstance(node, yaml.ScalarNode) and node.tag == _STRING_TAG else ""


def items(node: yaml.Node | None) -> list[yaml.Node]:
    """The entries of a list node, none for anything else."""
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def find(node: yaml.Node, path: tuple[str | int, ...]) -> yaml.Node:
    """The node at a field path, or the innermost that is there."""
    for part in path:
        found = child(node, part) if isinstance(part, str) else None
        if isinstance(part, int) and part < len(items(node)):
            found = items(node)[part]
        if found is None:
            break
        node = found
    return node


def _check_depth(text: str) -> None:
    """Events come without recursion. A syntax error ends them here and, in its turn, the composer."""
    depth = 0
    with contextlib.suppress(yaml.YAMLError):
        for event in yaml.parse(text, Loader=_Loader):
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
            if depth > _MAX_DEPTH:
                raise _marked(event.start_mark, f"nested deeper than {_MAX_DEPTH} levels")


def _check_size(root: yaml.Node) -> None:
    """Refuse a document whose aliases lead to themselves, or to more than anybody writes."""
    sizes: dict[int, int] = {}
    open_nodes: set[int] = set()

    def size(node: yaml.Node) -> int:
        if id(node) in sizes:
            return sizes[id(node)]
        if id(node) in open_nodes or len(open_nodes) > _MAX_DEPTH:
            raise _at(node, "an alias leads to itself, or too deep")
        open_nodes.add(id(node))
        total = 1 + sum(size(inner) for inner in _inner(node))
        open_nodes.discard(id(node))
        if total > _MAX_NODES:
            raise _at(node, f"expands to more than {_MAX_NODES} values")
        sizes[id(node)] = total
        return total

    size(root)


def _check_keys(root: yaml.Node) -> None:
    seen: set[int] = set()
    pending = [root]
    while pending:
        node = pending.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            _check_mapping(node)
        pending.extend(_inner(node))


def _check_mapping(node: yaml.MappingNode) -> None:
    lines: dict[str, int] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise _at(key, "a key must be a string")
        if key.tag == _MERGE_TAG:
            continue
        if key.value in lines:
            raise _at(key, f"key {key.value!r} is given twice, first in line {lines[key.value]}")
        lines[key.value] = place(key)[0]


def _inner(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.SequenceNode):
        yield from node.value
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield key
            yield value


def _at(node: yaml.Node, message: str) -> DocumentError:
    return _marked(node.start_mark, message)


def _marked(mark: Any, message: str) -> DocumentError:
    return (
        DocumentError(message, line=mark.line + 1, column=mark.column + 1) if mark else DocumentError(message)
    )


def _document_error(error: yaml.YAMLError, text: str) -> DocumentError:
    """The parser's words and place, without the piece of the file that it would quote."""
    if isinstance(error, yaml.MarkedYAMLError):
        words = error.problem or error.context or "cannot be read"
        return _marked(error.problem_mark or error.context_mark, f"not YAML or JSON: {words}")
    if isinstance(error, yaml.reader.ReaderError):
        before = text[: error.position]
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        return DocumentError("not YAML or JSON: a control character", line=line, column=column)
    return DocumentError("not YAML or JSON")
