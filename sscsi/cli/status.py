"""`sscsi status`: is this node's appliance well, and if not, why. Asks, prints, changes nothing."""

import dataclasses
import json
import os
import sys
import textwrap
import time
from collections.abc import Mapping, Sequence

from sscsi.cli import status_screen, status_sources
from sscsi.cli.status_report import Report, judge
from sscsi.errors import ConfigError
from sscsi.process import flags
from sscsi.process.flags import Flag, HelpRequestedError

PROGRAM = "sscsi status"
JSON_VERSION = 1
# With Python's own start it stays below a second, however many programs hang.
ANSWER_SECONDS = 0.6
FLAGS = (
    Flag(
        name="run-dir",
        default="/run/sscsi",
        help="Directory of the appliance's sockets.",
        variable="SSCSI_RUN_DIR",
    ),
    Flag(name="json", default=False, help="Print everything as one JSON document (docs/status.md)."),
    Flag(
        name="timeout",
        default=ANSWER_SECONDS,
        help="How long the programs, all asked at once, are given to answer. Give more where the node is very busy.",
    ),
)
_ABOUT = (
    "Shows the appliance in a run directory: its programs, kubelet's registration, volumes, providers, status-sync. "
    "The first line is the verdict. Code 0: healthy; 1: not, or nothing is there; 2: wrong flags. In a container: "
    "kubectl exec POD -c CONTAINER -- sscsi status"
)


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Print the report; the exit code. Raises ConfigError, HelpRequestedError."""
    try:
        parsed = flags.parse(PROGRAM, FLAGS, argv, environ)
    except HelpRequestedError as request:
        raise HelpRequestedError("\n".join([*textwrap.wrap(_ABOUT, width=100), "", str(request)])) from None
    if parsed.seconds("timeout") <= 0:
        raise ConfigError("flag --timeout must be more than 0")
    report = look(parsed.text("run-dir"), timeout_seconds=parsed.seconds("timeout"))
    _print(as_json(report) if parsed.boolean("json") else status_screen.render(report))
    return 0 if report.healthy else 1


def _print(text: str) -> None:
    """Print it now. Raises BrokenPipeError, and ConfigError (exit code 1) for a full disk and the like."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        # Python must not try to flush the rest at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise ConfigError(f"cannot write the report: {error.strerror}", exit_code=1) from error


def look(run_directory: str, *, timeout_seconds: float) -> Report:
    """Everything that can be told of the appliance in `run_directory` now."""
    return judge(status_sources.look(run_directory, timeout_seconds=timeout_seconds, now=time.time()))


def as_json(report: Report) -> str:
    """The report for machines: its fields by their names, and the version of this shape."""
    return json.dumps({"version": JSON_VERSION, **dataclasses.asdict(report)}, indent=2, allow_nan=False)
