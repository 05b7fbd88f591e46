"""`sscsi doctor`: does this node, and its cluster, have what the appliance needs; if not, what and the cure.

Nothing is changed but for a probe mount, which is taken away again.
"""

import dataclasses
import json
import logging
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence

from sscsi.cli import command
from sscsi.cli.doctor_api import ApiChecks
from sscsi.cli.doctor_appliance import (
    check_providers,
    check_registration,
    check_run_directory,
    check_same_driver,
    check_sockets,
)
from sscsi.cli.doctor_mounts import (
    check_kubelet_root,
    check_propagation,
    check_state_directory,
    check_swap,
)
from sscsi.cli.doctor_place import Place, find_place
from sscsi.cli.status_layout import plain
from sscsi.core.finding import Finding, Outcome, Word, fail, ok
from sscsi.errors import SscsiError
from sscsi.process.flags import Flag

PROGRAM = "sscsi doctor"
JSON_VERSION = 1
FLAGS = (
    command.RUN_DIR,
    Flag(
        name="kubelet-root",
        default="",
        help="Kubelet's --root-dir; without it, what SSCSI_KUBELET_REGISTRATION_PATH begins with.",
    ),
    Flag(name="json", default=False, help="Print everything as one JSON document (docs/doctor.md)."),
    Flag(
        name="timeout",
        default=2.0,
        help="How long each program, provider and the API server is given to answer.",
    ),
)
_ABOUT = (
    "Checks what the appliance needs: kubelet's root, mount propagation, sockets, registration, CSIDriver, CRDs, rights, "
    "providers, clock, swap. A line each: ok, warn, fail or skip, what was found, and the cure. Nothing is changed but a "
    "probe mount, which is taken away again. Code 0: nothing fails; 1: something does; 2: wrong flags. In a container: "
    "kubectl exec POD -c CONTAINER -- sscsi doctor"
)
# A check asks several times at most, one after the other; what hangs beyond that is a disk, and it is told.
_QUESTIONS = 12
_PROBING = frozenset({"propagation", "swap"})
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Check = Callable[[Place], Iterator[Word]]


def checks(api: ApiChecks) -> Mapping[str, Check]:
    """Every check by its name, in their order; docs/doctor.md has a part for each."""
    return {
        "kubelet-root": check_kubelet_root,
        "propagation": check_propagation,
        "run-directory": check_run_directory,
        "sockets": check_sockets,
        "registration": check_registration,
        "same-driver": check_same_driver,
        "providers": check_providers,
        "state-directory": check_state_directory,
        "swap": check_swap,
        "api-server": api.check_api_server,
        "clock": api.check_clock,
        "csidriver": api.check_csidriver,
        "crds": api.check_crds,
        "rights": api.check_rights,
    }


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Check, print, tell by the code. Raises ConfigError, HelpRequestedError."""
    parsed = command.parse(PROGRAM, _ABOUT, FLAGS, argv, environ)
    # What the rooms' code logs here is told in the report.
    logging.getLogger().addHandler(logging.NullHandler())
    place = find_place(
        environ,
        parsed.text("run-dir"),
        parsed.text("kubelet-root").rstrip("/"),
        timeout_seconds=parsed.seconds("timeout"),
    )
    findings = tuple(examine(place))
    if parsed.boolean("json"):
        document = {
            "version": JSON_VERSION,
            "healthy": _is_healthy(findings),
            "findings": [dataclasses.asdict(finding) for finding in findings],
        }
        command.print_report(json.dumps(document, indent=2, allow_nan=False))
    else:
        command.print_report("\n".join(map(plain, _lines(findings))))
    return 0 if _is_healthy(findings) else 1


def examine(place: Place) -> Iterator[Finding]:
    """All findings, check by check."""
    api = ApiChecks()
    yield _finding("configuration", ok(f"from {place.source}"))
    try:
        for name, check in checks(api).items():
            for word in _bounded(check, place, is_probing=name in _PROBING):
                yield _finding(name, word)
    finally:
        api.close()


def _bounded(check: Check, place: Place, *, is_probing: bool) -> list[Word]:
    """What the check says, in a time that has an end. No signal ends the process while it has a probe mounted."""
    words: list[Word] = []
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS if is_probing else ())
    try:
        # Of a hanging disk no thread can be freed: the process must be able to end without it.
        thread = threading.Thread(target=lambda: words.extend(_said(check, place)), daemon=True)
        thread.start()
        thread.join(place.timeout_seconds * _QUESTIONS)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if thread.is_alive():
        return [fail("it does not come to an end", "is a disk or a mount of this node away? See dmesg")]
    return words


def _said(check: Check, place: Place) -> list[Word]:
    try:
        return list(check(place))
    except (SscsiError, OSError) as error:
        return [fail(str(error), "this could not be looked at; see the error")]
    except Exception as error:  # noqa: BLE001 - a check that fails itself must not look like one that has nothing to say
        return [
            fail(
                f"the check itself failed ({type(error).__name__})",
                "report it: this is a fault of sscsi doctor",
            )
        ]


def _finding(check: str, word: Word) -> Finding:
    return Finding(check=check, outcome=word.outcome, found=word.found, cure=word.cure)


def _is_healthy(findings: Sequence[Finding]) -> bool:
    return all(finding.outcome is not Outcome.FAIL for finding in findings)


def _lines(findings: Sequence[Finding]) -> Iterator[str]:
    for finding in findings:
        cure = f" -> {finding.cure}" if finding.cure else ""
        yield f"{finding.outcome:<4}  {finding.check:<15}  {finding.found}{cure}"
