"""`sscsi lint FILE...`: are these SecretProviderClasses right, as far as that can be told without a cluster.

What status-sync and the file provider check is checked by their own code. No secret is read, nobody is asked.
"""

import dataclasses
import json
import os
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence

from sidecars.statussync.class_documents import Definition, read_with_nodes
from sidecars.statussync.class_files import MAX_FILE_BYTES, class_files_in, content_of, problem_of
from sscsi.cli import command
from sscsi.cli.lint_class import check_annotations, check_fields, check_names
from sscsi.cli.lint_finding import Check, Finding, LintedClass, Severity, of_problem
from sscsi.cli.lint_provider import ProviderLint
from sscsi.cli.lint_secrets import check_collisions, check_secrets
from sscsi.cli.status_layout import plain
from sscsi.cli.status_units import counted
from sscsi.core.provider_class import SecretProviderClass
from sscsi.errors import ConfigError
from sscsi.ports import ClassName
from sscsi.process.flags import Argument, Flag

PROGRAM = "sscsi lint"
JSON_VERSION = 1
STDIN = "-"
_STDIN_NAME = "<stdin>"
FLAGS = (
    Flag(name="json", default=False, help="Print everything as one JSON document (docs/lint.md)."),
    Flag(
        name="allow-privileged-secret-types",
        default=False,
        help="Do not object to types of Secrets that give rights; for where status-sync has this flag.",
    ),
)
FILE = Argument(
    name="FILE",
    help="A file of YAML or JSON, a directory (its *.yaml, *.yml and *.json, without those below), or - for standard "
    "input. Documents of other kinds are passed over.",
    repeats=True,
)
_ABOUT = (
    "Checks SecretProviderClasses without a cluster: fields, names, the parameters of known providers, and which keys "
    "each Secret will get. A line for each finding: FILE:LINE: SEVERITY: FIELD: MESSAGE. No secret is read. Code 0: no "
    "error (there may be warnings); 1: errors; 2: wrong flags, or a file that can't be read."
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LintReport:
    """The whole answer; `sscsi lint --json` is these fields by their names."""

    classes: int
    errors: int
    warnings: int
    findings: tuple[Finding, ...]


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Check, print, tell by the code. Raises ConfigError, HelpRequestedError."""
    parsed = command.parse(PROGRAM, _ABOUT, FLAGS, argv, environ, argument=FILE)
    if not parsed.words:
        raise ConfigError("which files? Give FILE..., or - for standard input; see --help")
    contents = [content for path in parsed.words for content in _read(path)]
    report = lint(contents, allow_privileged_types=parsed.boolean("allow-privileged-secret-types"))
    if parsed.boolean("json"):
        document = {"version": JSON_VERSION, **dataclasses.asdict(report)}
        command.print_report(json.dumps(document, indent=2, allow_nan=False))
    else:
        command.print_report("\n".join(map(plain, _lines(report))))
    return 1 if report.errors else 0


def lint(contents: Iterable[tuple[str, bytes]], *, allow_privileged_types: bool) -> LintReport:
    """Check what is in the files, each by its name and content, together."""
    findings: list[Finding] = []
    by_name: dict[ClassName, list[tuple[LintedClass, Definition]]] = {}
    classes: dict[ClassName, tuple[LintedClass, SecretProviderClass]] = {}
    number = 0
    for file, content in contents:
        for definition, node in read_with_nodes(file, content):
            if definition.problem:
                check = Check.YAML if node is None else Check.SCHEMA
                findings.append(of_problem(file, definition.problem, check))
            if node is None:
                continue
            number += 1
            linted = LintedClass(file=file, definition=definition, node=node)
            findings += check_fields(linted)
            if definition.class_name is not None:
                by_name.setdefault(definition.class_name, []).append((linted, definition))
            if definition.spc is not None:
                classes[definition.spc.namespace, definition.spc.name] = (linted, definition.spc)
                findings += _check(linted, definition.spc, allow_privileged_types=allow_privileged_types)
    findings += _defined_twice(by_name)
    findings += check_collisions(classes)
    return _report(number, findings)


def _check(
    linted: LintedClass, spc: SecretProviderClass, *, allow_privileged_types: bool
) -> Iterator[Finding]:
    provider = ProviderLint(linted, spc)
    yield from check_names(linted, spc)
    yield from check_annotations(linted, spc)
    yield from provider.findings
    yield from check_secrets(linted, spc, provider.files, allow_privileged_types=allow_privileged_types)


def _defined_twice(by_name: Mapping[ClassName, list[tuple[LintedClass, Definition]]]) -> Iterator[Finding]:
    for same in by_name.values():
        if len(same) > 1:
            problem = problem_of([definition for _, definition in same])
            for linted, _ in same[1:]:
                yield linted.finding(("metadata", "name"), Severity.ERROR, Check.DEFINED_TWICE, problem)


def _report(number: int, findings: Iterable[Finding]) -> LintReport:
    ordered = sorted(set(findings), key=lambda one: (one.file, one.line, one.field, one.message))
    severities = [finding.severity for finding in ordered]
    return LintReport(
        classes=number,
        errors=severities.count(Severity.ERROR),
        warnings=severities.count(Severity.WARNING),
        findings=tuple(ordered),
    )


def _lines(report: LintReport) -> Iterator[str]:
    for finding in report.findings:
        place = f"{finding.file}:{finding.line}" if finding.line else finding.file
        field = f"{finding.field}: " if finding.field else ""
        yield f"{place}: {finding.severity}: {field}{finding.message}"
    if not report.classes:
        yield "There is no SecretProviderClass in it."
    classes = counted(report.classes, "class").replace("classs", "classes")
    yield f"{classes}, {counted(report.errors, 'error')}, {counted(report.warnings, 'warning')}"


def _read(path: str) -> Iterator[tuple[str, bytes]]:
    """Name and content of each file. Raises ConfigError."""
    if path == STDIN:
        yield _STDIN_NAME, _bounded(_STDIN_NAME, sys.stdin.buffer.read(MAX_FILE_BYTES + 1))
        return
    try:
        if os.path.isdir(path):
            for name, _ in sorted(class_files_in(path), key=lambda entry: entry[0]):
                yield from _read(os.path.join(path, name))
            return
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError(f"{path!r} is neither a file nor a directory")
        if status.st_size > MAX_FILE_BYTES:
            raise ConfigError(_too_large(path))
        yield path, content_of(path)
    except OSError as error:
        raise ConfigError(f"{path!r} can't be read: {error.strerror}") from error


def _bounded(name: str, content: bytes) -> bytes:
    if len(content) > MAX_FILE_BYTES:
        raise ConfigError(_too_large(name))
    return content


def _too_large(name: str) -> str:
    return f"{name}: larger than {MAX_FILE_BYTES} bytes, which status-sync does not read either; split it"
