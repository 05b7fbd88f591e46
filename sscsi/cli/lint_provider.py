"""What the class asks of its provider: parameters, and the YAML list of objects within one of them."""

import re
from collections.abc import Iterator, Mapping

import yaml

from sidecars.statussync import yaml_nodes
from sidecars.statussync.yaml_nodes import DocumentError
from sscsi.cli.lint_finding import Check, FieldPath, Finding, LintedClass, Severity
from sscsi.core.file_plan import check_path
from sscsi.core.nearest_name import did_you_mean
from sscsi.core.object_spec import parse_objects, volume_path
from sscsi.core.provider_class import SecretProviderClass
from sscsi.core.provider_parameters import PROVIDERS, ObjectFields, ProviderParameters, file_names
from sscsi.errors import InvalidRequestError, ProviderAnswerError
from sscsi.provider_file.objects_yaml import load_objects

_PARAMETERS: FieldPath = ("spec", "parameters")
_FILE_PROVIDER = "file"
_OCTAL = re.compile("[0-7]{4}")
# A block's text begins in the line after its `|`.
_BLOCK_STYLES = frozenset("|>")


class ProviderLint:
    """The findings of one class, and afterwards the files that its volume will have.

    `files` are paths in the volume; None when they can't be told beforehand.
    """

    def __init__(self, linted: LintedClass, spc: SecretProviderClass) -> None:
        self._linted = linted
        self._spc = spc
        self._files: list[str] | None = None
        self.findings = list(self._check())
        self.files: tuple[str, ...] | None = None if self._files is None else tuple(self._files)

    def _check(self) -> Iterator[Finding]:
        known = PROVIDERS.get(self._spc.provider)
        if known is not None:
            yield from self._parameters(known)
            if self._spc.parameters.get(known.objects, "").strip():
                yield from self._objects(known)
        elif self._spc.provider == _FILE_PROVIDER:
            yield from self._file_provider()
        yield from self._same_files()

    def _parameters(self, known: ProviderParameters) -> Iterator[Finding]:
        parameters = self._spc.parameters
        for name, value in parameters.items():
            path = (*_PARAMETERS, name)
            if name not in known.known:
                hint = did_you_mean(name, known.known)
                message = f"provider {self._spc.provider} is not known to read this{hint}"
                yield self._at(path, Severity.WARNING, Check.PARAMETER, message)
            elif name in known.values and value and value not in known.values[name]:
                message = f"must be {' or '.join(sorted(known.values[name]))}"
                yield self._at(path, Severity.ERROR, Check.PARAMETER, message)
        for group in known.required:
            if not any(parameters.get(name, "").strip() for name in group):
                message = f"provider {self._spc.provider} needs {' or '.join(group)}"
                yield self._at((*_PARAMETERS, group[0]), Severity.ERROR, Check.PARAMETER, message)
        for group in known.exclusive:
            if sum(bool(parameters.get(name)) for name in group) > 1:
                message = f"{' and '.join(group)} exclude each other; leave one out"
                yield self._at((*_PARAMETERS, group[0]), Severity.ERROR, Check.PARAMETER, message)

    def _objects(self, known: ProviderParameters) -> Iterator[Finding]:
        path = (*_PARAMETERS, known.objects)
        self._files = []
        try:
            root = _document(self._spc.parameters[known.objects])
            nodes = list(self._entries(root, known))
        except DocumentError as error:
            self._files = None
            yield self._inside(path, error.line, str(error))
            return
        for index, (node, shift) in enumerate(nodes):
            line = yaml_nodes.place(node)[0] + shift
            yield from self._entry((*path, index), node, shift, known.fields)
            value = yaml_nodes.construct(node)
            entry = value if isinstance(value, dict) else {}
            if self._spc.provider == "aws":
                yield from self._aws_type((*path, index), entry, line)
            self._add_files(file_names(self._spc.provider, self._spc.parameters, entry))

    def _entries(self, root: yaml.Node | None, known: ProviderParameters) -> Iterator[tuple[yaml.Node, int]]:
        """Each entry, and how many lines of the parameter's text come before its own text. Raises DocumentError."""
        array = yaml_nodes.child(root, "array") if root is not None and known.is_array else None
        if known.is_array and not isinstance(array, yaml.SequenceNode):
            raise DocumentError(
                "must be a mapping whose array is a list of texts, each an object in YAML", line=1
            )
        listed = array if known.is_array else root
        if listed is not None and not isinstance(listed, yaml.SequenceNode):
            raise DocumentError("must be a YAML list of entries", line=yaml_nodes.place(listed)[0])
        for node in yaml_nodes.items(listed):
            line = yaml_nodes.place(node)[0]
            if known.is_array and isinstance(node, yaml.ScalarNode):
                try:
                    inner = _document(str(node.value))
                except DocumentError as error:
                    raise DocumentError(str(error), line=line) from error
                if inner is not None:
                    yield inner, line if node.style in _BLOCK_STYLES else line - 1
            else:
                yaml_nodes.construct(node)
                yield node, 0

    def _entry(self, path: FieldPath, node: yaml.Node, shift: int, fields: ObjectFields) -> Iterator[Finding]:
        line = yaml_nodes.place(node)[0] + shift
        value = yaml_nodes.construct(node)
        if not isinstance(value, dict):
            yield self._inside(path, line, f"must be a mapping with {', '.join(sorted(fields.required))}")
            return
        for name in sorted(fields.required):
            if value.get(name) in (None, ""):
                yield self._inside((*path, name), line, "is missing or empty")
        for name, field in value.items():
            inner = yaml_nodes.child(node, str(name))
            yield from self._field((*path, str(name)), field, inner or node, shift, fields)

    def _field(
        self, path: FieldPath, value: object, node: yaml.Node, shift: int, fields: ObjectFields
    ) -> Iterator[Finding]:
        line = yaml_nodes.place(node)[0] + shift
        name = str(path[-1])
        if name not in fields.known:
            message = (
                f"provider {self._spc.provider} is not known to read this{did_you_mean(name, fields.known)}"
            )
            yield self._inside(path, line, message, Severity.WARNING)
        elif name in fields.values and value not in ("", None) and not _is_taken(value, fields.values[name]):
            yield self._inside(path, line, f"must be {' or '.join(sorted(fields.values[name]))}")
        elif name in fields.octal and not (isinstance(value, str) and _OCTAL.fullmatch(value)):
            yield self._inside(path, line, 'must be four octal digits in quotes, like "0400"')
        elif name in fields.nested:
            inner = yaml_nodes.items(node) or [node]
            for index, one in enumerate(inner):
                yield from self._entry((*path, index), one, shift, fields.nested[name])

    def _aws_type(self, path: FieldPath, entry: Mapping[str, object], line: int) -> Iterator[Finding]:
        name = entry.get("objectName")
        if isinstance(name, str) and name and not name.startswith("arn:") and not entry.get("objectType"):
            yield self._inside((*path, "objectType"), line, "is missing; only an ARN tells it by itself")

    def _file_provider(self) -> Iterator[Finding]:
        """By the code of the provider itself."""
        path = (*_PARAMETERS, "objects")
        text = self._spc.parameters.get("objects", "")
        if not text.strip():
            yield self._at(path, Severity.ERROR, Check.PARAMETER, f"provider {_FILE_PROVIDER} needs objects")
            return
        try:
            specs = parse_objects(load_objects(text))
        except InvalidRequestError as error:
            yield self._at(path, Severity.ERROR, Check.OBJECTS, str(error).removeprefix("objects: "))
            return
        if not any(spec.is_glob or spec.explodes for spec in specs):
            self._files = [volume_path(spec, spec.object_name) for spec in specs]

    def _add_files(self, names: tuple[str, ...]) -> None:
        if not names:
            self._files = None
        elif self._files is not None:
            self._files += names

    def _same_files(self) -> Iterator[Finding]:
        known = PROVIDERS.get(self._spc.provider)
        path = (*_PARAMETERS, known.objects if known else "objects")
        seen = set()
        for name in self._files or ():
            try:
                check_path(name)
            except ProviderAnswerError as error:
                yield self._at(path, Severity.ERROR, Check.OBJECTS, f"the driver refuses the file: {error}")
            if name in seen:
                message = (
                    f"two objects become one file of the volume, {name!r}; give one of them another name"
                )
                yield self._at(path, Severity.ERROR, Check.SAME_FILE, message)
            seen.add(name)

    def _at(self, path: FieldPath, severity: Severity, check: Check, message: str) -> Finding:
        return self._linted.finding(path, severity, check, message)

    def _inside(
        self, path: FieldPath, line: int | None, message: str, severity: Severity = Severity.ERROR
    ) -> Finding:
        """A finding within the text of a parameter, at `line` of that text."""
        finding = self._at(path, severity, Check.OBJECTS, message)
        node = yaml_nodes.find(self._linted.node, path[: len(_PARAMETERS) + 1])
        if not line or not isinstance(node, yaml.ScalarNode) or node.style not in _BLOCK_STYLES:
            return finding
        return Finding(
            file=finding.file,
            line=yaml_nodes.place(node)[0] + line,
            severity=severity,
            check=finding.check,
            field=finding.field,
            message=message,
        )


def _is_taken(value: object, taken: frozenset[str]) -> bool:
    """Providers differ in whether the case counts; what one of them might take is no error."""
    return isinstance(value, str) and value.lower() in taken


def _document(text: str) -> yaml.Node | None:
    """The one document of a text. Raises DocumentError."""
    roots = list(yaml_nodes.documents(text))
    if len(roots) > 1:
        raise DocumentError(f"has {len(roots)} YAML documents; write one", line=yaml_nodes.place(roots[1])[0])
    for root in roots:
        yaml_nodes.construct(root)
    return roots[0] if roots else None
