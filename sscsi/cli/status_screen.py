"""The report as one screen of text, at most 100 columns wide and without colours."""

from collections.abc import Iterator, Sequence

from sscsi.cli.status_failures import failed_publishes, failing_volumes, late_volumes
from sscsi.cli.status_layout import cut, plain, section, wrap
from sscsi.cli.status_programs import REGISTRAR, ProgramReport
from sscsi.cli.status_report import (
    Report,
    StatusSyncReport,
    untold_problems,
)
from sscsi.cli.status_units import age_text, counted, mebibytes
from sscsi.cli.status_volumes import VolumesReport, overdue_seconds

# `--json` has all of them.
_SHOWN_PROBLEMS = 5
_SHOWN_REASONS = 8
_LABEL = 14
_COLUMNS = ("PROGRAM", "STATE", "PID", "UPTIME", "RESTARTS", "PSS MiB", "RSS MiB", "CPU", "SAYS")
_RIGHT = frozenset({"PID", "UPTIME", "RESTARTS", "PSS MiB", "RSS MiB", "CPU"})
_NOBODY_TOLD = "not known"


def render(report: Report) -> str:
    """The whole screen: the verdict first, then what it was made from."""
    lines = list(_verdict(report))
    if report.running:
        lines += ["", *_programs(report)]
        lines += ["", *_facts(report)]
        lines += section(failing_volumes(report.volumes, report.time))
        lines += section(late_volumes(report.volumes))
        lines += section(failed_publishes(report.volumes))
        lines += section(_problems(report))
    return "\n".join(map(plain, lines))


def _verdict(report: Report) -> Iterator[str]:
    if report.healthy:
        yield from wrap("HEALTHY: ", ", ".join(_good_news(report)))
        return
    first, *others = report.reasons
    yield from wrap("NOT HEALTHY: ", first, rank=0)
    for rank, reason in enumerate(others[: _SHOWN_REASONS - 1], start=1):
        yield from wrap("        and: ", reason, rank=rank)
    if len(report.reasons) > _SHOWN_REASONS:
        yield f"        and: {len(report.reasons) - _SHOWN_REASONS} more (--json has all)"


def _good_news(report: Report) -> Iterator[str]:
    running = sum(program.wanted for program in report.programs.values())
    yield f"{counted(running, 'program')} running"
    if report.registration.wanted:
        yield "registered with kubelet"
    yield f"{counted(report.volumes.count or 0, 'volume')}, no refresh failed"
    if report.volumes.unpublished:
        yield f"{report.volumes.unpublished} can't be published"


def _programs(report: Report) -> Iterator[str]:
    rows = [_COLUMNS, *(_row(name, program) for name, program in report.programs.items())]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    for row in rows:
        cells = (
            f"{cell:>{width}}" if name in _RIGHT else f"{cell:<{width}}"
            for name, cell, width in zip(_COLUMNS, row, widths, strict=True)
        )
        yield cut("  ".join(cells).rstrip())


def _row(name: str, program: ProgramReport) -> tuple[str, ...]:
    return (
        name,
        program.state or "?" if program.wanted else "off",
        str(program.pid or "-"),
        "-" if program.uptime_seconds is None else age_text(program.uptime_seconds),
        "-" if program.restarts is None else str(program.restarts),
        "-" if program.pss_bytes is None else mebibytes(program.pss_bytes),
        "-" if program.rss_bytes is None else mebibytes(program.rss_bytes),
        "-" if program.cpu_seconds is None else age_text(program.cpu_seconds),
        _says(program),
    )


def _says(program: ProgramReport) -> str:
    if program.answers is None:
        return "-"
    return program.says or "-" if program.answers else "no answer"


def _facts(report: Report) -> Iterator[str]:
    yield from _labelled("Registration", _registration(report))
    yield from _labelled("Volumes", [_volumes(report.volumes)])
    providers = report.providers
    yield from _labelled(
        "Providers", [_NOBODY_TOLD if providers is None else ", ".join(providers) or "none found"]
    )
    yield from _labelled("Status-sync", _status_sync(report.status_sync))
    yield from _labelled("Memory", [_memory(report)])
    yield from _labelled("Restarts", _restarts(report))
    yield from _labelled("Supervisor", [_supervisor(report)])


def _registration(report: Report) -> Iterator[str]:
    registration = report.registration
    if registration.wanted is None:
        yield f"{_NOBODY_TOLD}: the registrar has no socket, and the watchdog does not report"
        return
    if not registration.wanted:
        yield "off: SSCSI_KUBELET_REGISTRATION_PATH is not set, so kubelet is told nothing"
        return
    since = registration.registered_since
    if registration.registered:
        age = "" if since is None else f" {age_text(report.time - since)} ago"
        times = registration.registrations
        again = f" ({counted(times, 'time')} in all)" if times is not None else ""
        yield f"kubelet confirmed {registration.driver or 'the driver'}{age}{again}"
    else:
        yield f"not registered: the registrar {f'is {registration.state}' if registration.state else 'says nothing'}"
    if registration.endpoint:
        yield f"endpoint {registration.endpoint}"
    registrar = report.programs.get(REGISTRAR)
    # While it is one still, the verdict or the last lines tell it.
    if registration.last_error and not (registrar and registration.last_error in registrar.problems):
        at = registration.last_error_time
        age = "" if at is None else f", {age_text(report.time - at)} ago"
        yield f"last error{age}: {registration.last_error}"


def _volumes(volumes: VolumesReport) -> str:
    if volumes.count is None:
        return f"{_NOBODY_TOLD}: {volumes.trouble}" if volumes.trouble else _NOBODY_TOLD
    parts = [f"{volumes.count} published"]
    if volumes.failing:
        parts.append(f"{volumes.failing} whose last refresh failed")
    if volumes.late:
        longest = max(map(overdue_seconds, volumes.items), default=0.0)
        parts.append(f"{volumes.late} late" + (f" (up to {age_text(longest)})" if longest else ""))
    if volumes.adopted:
        parts.append(f"{volumes.adopted} adopted")
    if volumes.unknown:
        parts.append(f"{counted(volumes.unknown, 'mount')} that nobody knows yet")
    if volumes.oldest_success_seconds_ago is not None:
        parts.append(f"oldest success {age_text(volumes.oldest_success_seconds_ago)} ago")
    if volumes.unpublished:
        parts.append(f"{volumes.unpublished} can't be published")
    if volumes.trouble:
        parts.append(f"not listed: {volumes.trouble}")
    return ", ".join(parts)


def _status_sync(report: StatusSyncReport) -> Iterator[str]:
    if report.queue_depth is None and report.node_connected is None:
        yield _NOBODY_TOLD
        return
    connected = "connected to node" if report.node_connected else "not connected to node"
    depth = report.queue_depth
    queue = "queue not known" if depth is None else f"{depth} queued" if depth else "queue empty"
    problems = counted(report.problems, "problem") if report.problems else "no problem"
    yield f"{connected}, {queue}, {problems}"
    if report.last_problem and not report.problems:
        yield f"last problem, which is over: {report.last_problem}"


def _memory(report: Report) -> str:
    memory, parts = report.memory, []
    if memory.programs_pss_bytes is not None:
        parts.append(f"programs {mebibytes(memory.programs_pss_bytes)} MiB (PSS)")
    if memory.container_bytes is not None:
        limit = memory.container_max_bytes
        of = "without a limit" if limit is None else f"of {mebibytes(limit)} MiB"
        parts.append(f"container {mebibytes(memory.container_bytes)} MiB {of}, volumes' contents included")
    return "; ".join(parts) or _NOBODY_TOLD


def _restarts(report: Report) -> Iterator[str]:
    for name, program in report.programs.items():
        if program.restarts:
            ended = program.last_exit_seconds_ago
            last = "" if ended is None else f", last ended {age_text(ended)} ago"
            budget = program.over_budget_restarts
            memory = f", {budget} of them for more memory than its budget" if budget else ""
            yield f"{name} {counted(program.restarts, 'time')}{memory}{last}"


def _supervisor(report: Report) -> str:
    supervisor = report.supervisor
    if supervisor.pid is None or supervisor.reported_seconds_ago is None:
        return "not known: the watchdog does not report"
    alive = {True: "", False: ", which has ended", None: ", if it lives"}[supervisor.alive]
    return (
        f"process {supervisor.pid}{alive}; watchdog reported {age_text(supervisor.reported_seconds_ago)} ago"
    )


def _problems(report: Report) -> Iterator[str]:
    found = [
        (name, problem)
        for name, program in report.programs.items()
        for problem in untold_problems(program, report.volumes)
    ]
    if not found:
        return
    yield "What the programs say does not work:"
    for rank, (name, problem) in enumerate(found[:_SHOWN_PROBLEMS]):
        yield from wrap(f"  {name}: ", problem, rank=rank)
    if len(found) > _SHOWN_PROBLEMS:
        yield f"  and {len(found) - _SHOWN_PROBLEMS} more (--json has all)"


def _labelled(label: str, texts: Iterator[str] | Sequence[str]) -> Iterator[str]:
    for text in texts:
        yield from wrap(f"{label:<{_LABEL}}", text, rank=0)
        label = ""
