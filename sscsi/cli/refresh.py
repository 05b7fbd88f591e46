"""`sscsi refresh`: have the content of volumes fetched now, and tell what became of each."""

import dataclasses
import sys
from collections.abc import Iterator, Mapping, Sequence

import grpc

from sscsi.cli import command, node_socket
from sscsi.cli.status_units import counted
from sscsi.errors import ConfigError
from sscsi.pb import sscsi_pb2
from sscsi.process.flags import Flag, Flags

PROGRAM = "sscsi refresh"
JSON_VERSION = 1
FLAGS = (
    command.RUN_DIR,
    Flag(name="all", default=False, help="Every volume of this node."),
    Flag(name="class", default="", help="Volumes of one SecretProviderClass: NAMESPACE/NAME."),
    Flag(name="pod", default="", help="Volumes of one pod: NAMESPACE/NAME."),
    Flag(
        name="json", default=False, help="Print what became of each as one JSON document (docs/refresh.md)."
    ),
    Flag(
        name="timeout",
        default=60.0,
        help="How long to wait for the end. What is under way then goes on, and is told as pending.",
    ),
)
_ABOUT = (
    "Fetches the content of volumes on this node now, whatever their age: of all, of one class or of one pod. One line a "
    "volume tells what became of it. Code 0: every volume has what its provider has now (changed or unchanged); 1: some "
    "failed or are not done yet, none is selected, or nobody answers; 2: wrong flags. Only root may ask. In a container: "
    "kubectl exec POD -c CONTAINER -- sscsi refresh --class=NAMESPACE/NAME"
)
CHANGED, UNCHANGED, FAILED, PENDING = "changed", "unchanged", "failed", "pending"
UNKNOWN = "unknown"
_OUTCOMES = {
    sscsi_pb2.RefreshResult.CHANGED: CHANGED,
    sscsi_pb2.RefreshResult.UNCHANGED: UNCHANGED,
    sscsi_pb2.RefreshResult.FAILED: FAILED,
    sscsi_pb2.RefreshResult.PENDING: PENDING,
}
# In the order of the summary; what somebody has to see to stands last in the list, next to it.
OUTCOMES = (CHANGED, UNCHANGED, PENDING, FAILED, UNKNOWN)
_DONE = frozenset({CHANGED, UNCHANGED})
# As a shell has it for SIGINT.
_INTERRUPTED = 130


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class VolumeResult:
    """What became of one volume: a word of OUTCOMES, and why, redacted; empty where there is nothing to say."""

    namespace: str
    pod: str
    class_name: str
    target_path: str
    outcome: str
    message: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RefreshReport:
    """The whole answer; `sscsi refresh --json` is these fields by their names. `trouble`: why there are no results."""

    done: bool
    trouble: str
    counts: Mapping[str, int]
    results: tuple[VolumeResult, ...]


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Ask, print, tell by the code. Raises ConfigError, HelpRequestedError."""
    parsed = command.parse(PROGRAM, _ABOUT, FLAGS, argv, environ)
    request = _request(parsed)
    try:
        report = refresh(parsed.text("run-dir"), request, timeout_seconds=parsed.seconds("timeout"))
    except KeyboardInterrupt:
        sys.stderr.write(f"{PROGRAM}: interrupted; what is under way goes on\n")
        return _INTERRUPTED
    document = {"version": JSON_VERSION, **dataclasses.asdict(report)}
    command.print_answer(document, report.trouble, _lines(report), as_json=parsed.boolean("json"))
    return 0 if report.done else 1


def _request(parsed: Flags) -> sscsi_pb2.RefreshRequest:
    chosen = [name for name in ("class", "pod") if parsed.is_given(name)]
    if parsed.boolean("all"):
        chosen.append("all")
    if len(chosen) != 1:
        raise ConfigError(
            "which volumes? Give exactly one of --all, --class=NAMESPACE/NAME and --pod=NAMESPACE/NAME"
        )
    (name,) = chosen
    if name == "all":
        return sscsi_pb2.RefreshRequest(all=True)
    namespace, slash, object_name = parsed.text(name).partition("/")
    if not (namespace and slash and object_name) or "/" in object_name:
        raise ConfigError(f"flag --{name}: must be NAMESPACE/NAME, not {parsed.text(name)!r}")
    if name == "class":
        return sscsi_pb2.RefreshRequest(namespace=namespace, class_name=object_name)
    return sscsi_pb2.RefreshRequest(namespace=namespace, pod_name=object_name)


def refresh(
    run_directory: str, request: sscsi_pb2.RefreshRequest, *, timeout_seconds: float
) -> RefreshReport:
    """What became of the volumes that `request` selects, or why nobody knows."""
    path = node_socket.socket_path(run_directory)
    try:
        with node_socket.volumes_stub(path) as volumes:
            answer = volumes.Refresh(request, timeout=timeout_seconds)
    except grpc.RpcError as error:
        trouble = _trouble(error, run_directory, timeout_seconds=timeout_seconds)
        return RefreshReport(done=False, trouble=trouble, counts={}, results=())
    results = sorted(
        map(_result, answer.results),
        key=lambda result: (OUTCOMES.index(result.outcome), result.namespace, result.pod, result.target_path),
    )
    outcomes = [result.outcome for result in results]
    return RefreshReport(
        done=bool(results) and _DONE.issuperset(outcomes),
        trouble="" if results else "no volume is selected",
        counts={outcome: outcomes.count(outcome) for outcome in OUTCOMES},
        results=tuple(results),
    )


def _trouble(error: grpc.RpcError, run_directory: str, *, timeout_seconds: float) -> str:
    """Why there are no results, and what to do."""
    code, details = error.code(), error.details() or ""
    if code is grpc.StatusCode.FAILED_PRECONDITION:
        return details or "no volume is selected"
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return f"{node_socket.why_silent(run_directory, timeout_seconds=timeout_seconds)}; if it heard of this, it goes on"
    if code is grpc.StatusCode.UNAVAILABLE and not node_socket.listens(run_directory):
        return node_socket.why_silent(run_directory, timeout_seconds=timeout_seconds)
    return f"node refused it: {details or code.name}"


def _result(message: sscsi_pb2.RefreshResult) -> VolumeResult:
    return VolumeResult(
        namespace=message.pod_namespace,
        pod=message.pod_name,
        class_name=message.class_name,
        target_path=message.target_path,
        outcome=_OUTCOMES.get(message.outcome, UNKNOWN),
        message=message.message,
    )


def _lines(report: RefreshReport) -> Iterator[str]:
    for result in report.results:
        why = f": {result.message}" if result.message else ""
        yield f"{result.namespace}/{result.pod}, class {result.class_name}: {result.outcome}{why}"
    counts = ", ".join(f"{count} {outcome}" for outcome, count in report.counts.items() if count)
    yield f"{counted(len(report.results), 'volume')}: {counts}"
