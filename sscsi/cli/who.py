"""`sscsi who OBJECT`: which pods on this node hold which version of an object of the store."""

import dataclasses
import fnmatch
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from sscsi.cli import command, node_socket
from sscsi.cli.status_units import age_text, counted
from sscsi.errors import ConfigError
from sscsi.pb import sscsi_pb2
from sscsi.process.flags import Argument, Flag, Flags

PROGRAM = "sscsi who"
JSON_VERSION = 1
# As long as `sscsi status` gives it.
ANSWER_SECONDS = 0.6
FLAGS = (
    command.RUN_DIR,
    Flag(
        name="match",
        default="",
        help="In place of OBJECT: objects whose id matches a pattern of *, ? and [...], as a shell has them; * also takes /.",
    ),
    Flag(name="version", default="", help="Only pods that hold this version."),
    Flag(name="json", default=False, help="Print everything as one JSON document (docs/refresh.md)."),
    Flag(
        name="timeout",
        default=ANSWER_SECONDS,
        help="How long node is given to answer. Give more where it is very busy.",
    ),
)
OBJECT = Argument(
    name="OBJECT",
    help="Id of an object, as its provider tells it, in full; after -- when it begins with a dash.",
)
_ABOUT = (
    "Tells which pods on this node hold which version of an object of the store, and how old what they hold is. "
    "Code 0: some pod holds it; 1: none does, or nobody answers; 2: wrong flags. Only root may ask. In a container: "
    "kubectl exec POD -c CONTAINER -- sscsi who OBJECT"
)
_COLUMNS = (
    "POD",
    "OBJECT",
    "VERSION",
    "FETCHED",
    "CLASS",
    "PROVIDER",
    "SERVICE ACCOUNT",
    "POD UID",
    "REFRESH",
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """One object in one volume of a pod. `last_success_seconds_ago`: since its provider last said that this is the version.

    `failing_since` is in seconds since the epoch; it is None, and `failure_reason` and `last_error` are empty, when the last
    refresh succeeded.
    """

    namespace: str
    pod: str
    pod_uid: str
    service_account: str
    class_name: str
    provider: str
    target_path: str
    object: str
    object_version: str
    last_success_seconds_ago: float | None
    failing_since: float | None
    failure_reason: str
    last_error: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WhoReport:
    """The whole answer; `sscsi who --json` is these fields by their names.

    Of `unknown_contents` volumes nobody knows what they hold until their next refresh, and of as many mounts as
    `unknown_mounts` not even that they are volumes. Both are None, as `volumes`, when nobody answers: `trouble` says why.
    """

    holders: tuple[Holder, ...]
    volumes: int | None
    unknown_contents: int | None
    unknown_mounts: int | None
    trouble: str


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Ask, print, tell by the code. Raises ConfigError, HelpRequestedError."""
    parsed = command.parse(PROGRAM, _ABOUT, FLAGS, argv, environ, argument=OBJECT)
    is_wanted = _filter(parsed)
    report = who(parsed.text("run-dir"), is_wanted, timeout_seconds=parsed.seconds("timeout"))
    document = {"version": JSON_VERSION, **dataclasses.asdict(report)}
    command.print_answer(document, report.trouble, _lines(report), as_json=parsed.boolean("json"))
    return 0 if report.holders else 1


def _filter(parsed: Flags) -> Callable[[sscsi_pb2.ObjectVersion], bool]:
    name, pattern, version = parsed.argument, parsed.text("match"), parsed.text("version")
    if bool(name) == bool(pattern):
        raise ConfigError("which object? Give exactly one of OBJECT and --match=PATTERN")

    def is_wanted(held: sscsi_pb2.ObjectVersion) -> bool:
        is_named = fnmatch.fnmatchcase(held.id, pattern) if pattern else held.id == name
        return is_named and (not version or held.version == version)

    return is_wanted


def who(
    run_directory: str, is_wanted: Callable[[sscsi_pb2.ObjectVersion], bool], *, timeout_seconds: float
) -> WhoReport:
    """Who holds an object that is wanted, by object, version and pod; or why nobody knows."""
    path = node_socket.socket_path(run_directory)
    snapshot = node_socket.snapshot(path, timeout_seconds=timeout_seconds)
    if snapshot is None:
        return WhoReport(
            holders=(),
            volumes=None,
            unknown_contents=None,
            unknown_mounts=None,
            trouble=node_socket.why_silent(run_directory, timeout_seconds=timeout_seconds),
        )
    now = time.time()
    holders = [
        _holder(volume, held, now)
        for volume in snapshot.volumes
        for held in volume.object_versions
        if is_wanted(held)
    ]
    return WhoReport(
        holders=tuple(
            sorted(
                holders,
                key=lambda one: (one.object, one.object_version, one.namespace, one.pod, one.target_path),
            )
        ),
        volumes=len(snapshot.volumes),
        unknown_contents=sum(volume.adopted for volume in snapshot.volumes),
        unknown_mounts=snapshot.unknown_volumes,
        trouble="",
    )


def _holder(volume: sscsi_pb2.Volume, held: sscsi_pb2.ObjectVersion, now: float) -> Holder:
    success = volume.last_success_time
    return Holder(
        namespace=volume.pod_namespace,
        pod=volume.pod_name,
        pod_uid=volume.pod_uid,
        service_account=volume.service_account,
        class_name=volume.class_name,
        provider=volume.provider,
        target_path=volume.target_path,
        object=held.id,
        object_version=held.version,
        last_success_seconds_ago=now - success if success else None,
        failing_since=volume.failing_since or None,
        failure_reason=volume.failure_reason,
        last_error=volume.last_error,
    )


def _lines(report: WhoReport) -> Iterator[str]:
    now = time.time()
    if report.holders:
        rows = [_COLUMNS, *(_row(holder, now) for holder in report.holders)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
        for row in rows:
            yield "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
    yield _summary(report)
    if report.unknown_contents:
        yield f"Of {counted(report.unknown_contents, 'volume')} nobody knows the content until the next refresh (adopted)."
    if report.unknown_mounts:
        yield f"Of {counted(report.unknown_mounts, 'mount')} nobody knows whose they are until the next publish."


def _row(holder: Holder, now: float) -> tuple[str, ...]:
    age = holder.last_success_seconds_ago
    return (
        f"{holder.namespace}/{holder.pod}",
        holder.object,
        holder.object_version or "-",
        "-" if age is None else f"{age_text(age)} ago",
        holder.class_name,
        holder.provider or "-",
        holder.service_account or "-",
        holder.pod_uid or "-",
        _refresh(holder, now),
    )


def _refresh(holder: Holder, now: float) -> str:
    if not holder.last_error:
        return "ok"
    since = "" if holder.failing_since is None else f" for {age_text(now - holder.failing_since)}"
    return f"fails{since}{f': {holder.failure_reason}' if holder.failure_reason else ''}"


def _summary(report: WhoReport) -> str:
    pods = {(holder.namespace, holder.pod, holder.pod_uid) for holder in report.holders}
    found = {(holder.object, holder.object_version) for holder in report.holders}
    if not pods:
        return f"No pod holds it, of {counted(report.volumes or 0, 'volume')} on this node."
    objects = len({name for name, _ in found})
    of = f" of {counted(objects, 'object')}" if objects > 1 else ""
    return f"{counted(len(pods), 'pod')}, {counted(len(found), 'version')}{of}"
