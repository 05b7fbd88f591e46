"""What `sscsi lint` finds: kinds of findings, and where each is."""

import dataclasses
import enum
import re

import yaml

from sidecars.statussync import yaml_nodes
from sidecars.statussync.class_documents import Definition
from sscsi.core.provider_class import format_path

FieldPath = tuple[str | int, ...]
_PROBLEM = re.compile(r"(?::(?P<line>\d+)(?::\d+)?)?: (?P<text>.*)", re.DOTALL)
_FIELD = re.compile(r"(?P<field>(?:apiVersion|kind|metadata|spec)[^ :]*): (?P<text>.*)", re.DOTALL)
_PART = re.compile(r"\[(\d+)\]|([^.\[\]]+)")


class Severity(enum.StrEnum):
    """How bad it is: an error does not work, a warning is likely not what is meant, information is neither."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


class Check(enum.StrEnum):
    """What was looked at; docs/lint.md has a line for each."""

    YAML = "yaml"
    SCHEMA = "schema"
    UNKNOWN_FIELD = "unknown-field"
    NAME = "name"
    DEFINED_TWICE = "defined-twice"
    DEPRECATED = "deprecated"
    ANNOTATION = "annotation"
    PROVIDER = "provider"
    PARAMETER = "parameter"
    OBJECTS = "objects"
    SAME_FILE = "same-file"
    SECRET = "secret"  # noqa: S105 - a word
    SECRET_FILE = "secret-file"  # noqa: S105 - a word
    SAME_KEY = "same-key"
    SAME_SECRET = "same-secret"  # noqa: S105 - a word
    KEYS = "keys"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the answer. `line` is 0 for a whole file, `field` empty for a whole document."""

    file: str
    line: int
    severity: Severity
    check: Check
    field: str
    message: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LintedClass:
    """One class in a file, and the document that knows the line of its fields."""

    file: str
    definition: Definition
    node: yaml.Node

    def finding(self, path: FieldPath, severity: Severity, check: Check, message: str) -> Finding:
        """A finding at a field of the class; at the innermost that is there."""
        return Finding(
            file=self.file,
            line=self.line(path),
            severity=severity,
            check=check,
            field=format_path(path) if path else "",
            message=message,
        )

    def line(self, path: FieldPath) -> int:
        """Where the field is, from 1."""
        return yaml_nodes.place(yaml_nodes.find(self.node, path))[0]


def field_path(text: str) -> FieldPath:
    """The path that `format_path` wrote; keys with dots in them come out as several."""
    return tuple(int(index) if index else name for index, name in _PART.findall(text))


def of_problem(file: str, problem: str, check: Check) -> Finding:
    """A problem as status-sync tells it, `FILE:LINE:COLUMN: FIELD: TEXT`, as a finding."""
    match = _PROBLEM.fullmatch(problem.removeprefix(file))
    line, text = (int(match["line"] or 0), match["text"]) if match else (0, problem)
    field = _FIELD.fullmatch(text)
    return Finding(
        file=file,
        line=line,
        severity=Severity.ERROR,
        check=check,
        field=field["field"] if field else "",
        message=field["text"] if field else text,
    )
