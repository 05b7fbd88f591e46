"""The Secrets that classes will make: by status-sync's own rules and plan."""

import re
from collections.abc import Iterator, Mapping, Sequence

from sidecars.statussync.secret_plan import find_wishes, plan_secret
from sidecars.statussync.secret_rules import secret_rules
from sscsi.cli.lint_finding import Check, Finding, LintedClass, Severity, field_path
from sscsi.core.provider_class import SecretProviderClass
from sscsi.core.published_volume import PublishedVolume
from sscsi.core.secret_data import KIND, check_secret_object, keys_from, object_names, secret_name
from sscsi.errors import SecretDataError
from sscsi.ports import ClassName, ObjectKey

Classes = Mapping[ClassName, tuple[LintedClass, SecretProviderClass]]
_ENTRY = re.compile(r"spec\.secretObjects\[(\d+)\]")


def check_secrets(
    linted: LintedClass,
    spc: SecretProviderClass,
    files: Sequence[str] | None,
    *,
    allow_privileged_types: bool,
) -> Iterator[Finding]:
    """The class's entries, each with the keys that its Secret gets; `files` are the volume's, None: nobody knows."""
    rules = secret_rules(allow_privileged_types=allow_privileged_types)
    for index in range(len(spc.secret_objects)):
        try:
            check_secret_object(spc, index, rules)
            yield from _twice(linted, spc, index)
            yield from _keys(linted, spc, index, files)
        except SecretDataError as error:
            yield _of_error(linted, spc, error)


def check_collisions(classes: Classes) -> Iterator[Finding]:
    """Secrets that several entries want: status-sync makes one of them, where both are mounted."""
    volumes = [_volume(name) for name in classes]
    parsed = {name: spc for name, (_, spc) in classes.items()}
    wanted = {
        (spc.namespace, secret_name(entry))
        for spc in parsed.values()
        for entry in spc.secret_objects
        if secret_name(entry)
    }
    for namespace, name in sorted(wanted):
        own = [volume for volume in volumes if volume.pod_namespace == namespace]
        key = ObjectKey(KIND, namespace, name)
        for conflict in plan_secret(key, find_wishes(name, own, parsed)).conflicts:
            linted, _ = classes[conflict.class_name]
            entry = _ENTRY.search(conflict.text)
            index = int(entry[1]) if entry else 0
            path = ("spec", "secretObjects", index, "secretName")
            message = f"where pods with both are on one node: {conflict.text}"
            yield linted.finding(path, Severity.ERROR, Check.SAME_SECRET, message)


def _twice(linted: LintedClass, spc: SecretProviderClass, index: int) -> Iterator[Finding]:
    seen: set[str] = set()
    for position, item in enumerate(spc.secret_objects[index].data):
        key = item.key.strip()
        if key in seen:
            path = ("spec", "secretObjects", index, "data", position, "key")
            message = f"{key!r} is there already: the last of them wins, the others are lost"
            yield linted.finding(path, Severity.WARNING, Check.SAME_KEY, message)
        seen.add(key)


def _keys(
    linted: LintedClass, spc: SecretProviderClass, index: int, files: Sequence[str] | None
) -> Iterator[Finding]:
    path = ("spec", "secretObjects", index)
    data = spc.secret_objects[index].data
    where = f"{KIND} {spc.namespace}/{secret_name(spc.secret_objects[index])}"
    missing = [] if files is None else [item for item in data if item.object_name.strip() not in files]
    for item in missing:
        message = f"no object of this class becomes a file {item.object_name.strip()!r}; there are {', '.join(sorted(set(files or ())))}"
        position = (*path, "data", data.index(item), "objectName")
        yield linted.finding(position, Severity.ERROR, Check.SECRET_FILE, message)
    if missing:
        return
    names = object_names(spc, index)
    if names is None and files is None:
        message = f"{where} gets every file of the volume, each under its own name with dots for slashes"
    else:
        sources = keys_from(spc, index, names if names is not None else files or ())
        shown = ", ".join(f"{key} (from {name})" for key, name in sorted(sources.items()))
        message = f"{where} gets {shown}"
    yield linted.finding(path, Severity.INFO, Check.KEYS, message)


def _of_error(linted: LintedClass, spc: SecretProviderClass, error: SecretDataError) -> Finding:
    text = str(error).removeprefix(f"SecretProviderClass {spc.namespace}/{spc.name}: ")
    field, _, message = text.partition(": ")
    return linted.finding(field_path(field), Severity.ERROR, Check.SECRET, message)


def _volume(name: ClassName) -> PublishedVolume:
    """As a pod would have it that mounts the class; the plan goes by target paths."""
    namespace, class_name = name
    return PublishedVolume(
        target_path=f"/{namespace}/{class_name}",
        pod_name=class_name,
        pod_namespace=namespace,
        pod_uid=class_name,
        class_name=class_name,
        object_versions=(),
        data_directory="",
        last_attempt_time=0.0,
        last_success_time=0.0,
        last_error="",
        adopted=False,
    )
