"""A class by itself: its fields, names, annotations."""

import re
from collections.abc import Iterator

import yaml

from sidecars.statussync import yaml_nodes
from sscsi.cli.lint_finding import Check, FieldPath, Finding, LintedClass, Severity
from sscsi.core import annotations
from sscsi.core.class_fields import CLASS_FIELDS, METADATA_FIELDS
from sscsi.core.kubernetes_names import label_value
from sscsi.core.nearest_name import did_you_mean, nearest_name
from sscsi.core.provider_class import SecretProviderClass
from sscsi.core.refresh_interval import (
    DEFAULT_FLOOR_SECONDS,
    DEFAULT_SECONDS,
    NodeInterval,
    choose_interval,
)
from sscsi.edges.provider_sockets import is_provider_name

_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_QUALIFIED_NAME = re.compile(
    r"([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
)
_OURS = (annotations.INTERVAL, annotations.SHARED_CALLS, annotations.REFRESH_AT)
_PREFIX = annotations.INTERVAL.partition("/")[0] + "/"
_NODE_DEFAULTS = NodeInterval(seconds=DEFAULT_SECONDS, floor_seconds=DEFAULT_FLOOR_SECONDS)


def check_fields(linted: LintedClass) -> Iterator[Finding]:
    """Fields that the CRD has not; also of a class that can't be read to its end."""
    yield from _unknown(linted, linted.node, (), "")
    metadata = yaml_nodes.child(linted.node, "metadata")
    for name in _keys(metadata):
        if name not in METADATA_FIELDS:
            yield _unknown_field(linted, ("metadata", name), METADATA_FIELDS)
    version = yaml_nodes.scalar(yaml_nodes.child(linted.node, "apiVersion"))
    if version.endswith("/v1alpha1"):
        message = f"{version} is deprecated; write {version.removesuffix('alpha1')}"
        yield linted.finding(("apiVersion",), Severity.WARNING, Check.DEPRECATED, message)


def check_names(linted: LintedClass, spc: SecretProviderClass) -> Iterator[Finding]:
    """Names that the API server refuses, and the provider's."""
    if not _NAMESPACE.fullmatch(spc.namespace):
        message = f"{spc.namespace!r} can't name a namespace: letters a-z, digits and -, at most 63"
        yield linted.finding(("metadata", "namespace"), Severity.ERROR, Check.NAME, message)
    for key in spc.annotations:
        yield from _qualified(linted, ("metadata", "annotations"), key)
    for index, entry in enumerate(spc.secret_objects):
        path = ("spec", "secretObjects", index)
        for key in entry.annotations:
            yield from _qualified(linted, (*path, "annotations"), key)
        for key, value in entry.labels.items():
            yield from _qualified(linted, (*path, "labels"), key)
            if label_value(value) != value:
                message = "can't be a label's value: letters, digits, -, _ and ., at most 63"
                yield linted.finding((*path, "labels", key), Severity.ERROR, Check.NAME, message)
    yield from _provider(linted, spc)


def check_annotations(linted: LintedClass, spc: SecretProviderClass) -> Iterator[Finding]:
    """Annotations that steer the driver, where they make no sense."""

    def finding(name: str, message: str) -> Finding:
        return linted.finding(("metadata", "annotations", name), Severity.WARNING, Check.ANNOTATION, message)

    interval = choose_interval(_NODE_DEFAULTS, {}, spc.annotations.get(annotations.INTERVAL, ""))
    for problem in interval.problems:
        yield finding(annotations.INTERVAL, problem)
    if spc.annotations.get(annotations.SHARED_CALLS, "true") not in {"true", "false"}:
        yield finding(annotations.SHARED_CALLS, 'is neither "true" nor "false", and so counts as absent')
    if len(spc.annotations.get(annotations.REFRESH_AT, "")) > annotations.MAX_ASK:
        yield finding(annotations.REFRESH_AT, f"only its first {annotations.MAX_ASK} characters count")
    for name in spc.annotations:
        near = nearest_name(name, _OURS)
        if name not in _OURS and name.startswith(_PREFIX) and near:
            yield finding(name, f"means nothing to the driver; did you mean {near}?")


def _provider(linted: LintedClass, spc: SecretProviderClass) -> Iterator[Finding]:
    message = ""
    if not spc.provider:
        message = "is missing or empty: which provider shall be asked?"
    elif not is_provider_name(spc.provider):
        message = f"{spc.provider[:60]!r} can't name a provider: letters, digits, - and _, at most 30"
    if message:
        yield linted.finding(("spec", "provider"), Severity.ERROR, Check.PROVIDER, message)


def _qualified(linted: LintedClass, path: FieldPath, key: str) -> Iterator[Finding]:
    if not _QUALIFIED_NAME.fullmatch(key):
        message = f"{key[:100]!r} can't be a key here: PREFIX/NAME or NAME, of letters, digits, -, _ and ."
        yield linted.finding((*path, key), Severity.ERROR, Check.NAME, message)


def _unknown(linted: LintedClass, node: yaml.Node, path: FieldPath, pattern: str) -> Iterator[Finding]:
    if pattern == "metadata" or pattern + "{}" in CLASS_FIELDS:
        return
    for index, item in enumerate(yaml_nodes.items(node)):
        if f"{pattern}[]" in CLASS_FIELDS:
            yield from _unknown(linted, item, (*path, index), f"{pattern}[]")
    for name in _keys(node):
        inner = f"{pattern}.{name}" if pattern else name
        value = yaml_nodes.child(node, name)
        if inner not in CLASS_FIELDS:
            # What the status holds was written by no person.
            if pattern != "status":
                yield _unknown_field(linted, (*path, name), _siblings(pattern))
        elif value is not None:
            yield from _unknown(linted, value, (*path, name), inner)


def _siblings(pattern: str) -> set[str]:
    prefix = f"{pattern}." if pattern else ""
    names = {field.removeprefix(prefix) for field in CLASS_FIELDS if field.startswith(prefix)}
    return {name for name in names if name.isalnum()}


def _unknown_field(linted: LintedClass, path: FieldPath, known: set[str] | frozenset[str]) -> Finding:
    message = f"there is no such field, and the API server drops it{did_you_mean(str(path[-1]), known)}"
    return linted.finding(path, Severity.ERROR, Check.UNKNOWN_FIELD, message)


def _keys(node: yaml.Node | None) -> list[str]:
    if not isinstance(node, yaml.MappingNode):
        return []
    names = [str(key.value) for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
    # Merged mappings bring their fields with them.
    return [name for name in dict.fromkeys(names) if name != "<<"]
