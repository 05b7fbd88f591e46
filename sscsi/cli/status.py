"""`sscsi status`: is this node's appliance well, and if not, why. Asks, prints, changes nothing."""

import dataclasses
import json
import time
from collections.abc import Mapping, Sequence

from sscsi.cli import command, status_screen, status_sources
from sscsi.cli.status_report import Report, judge
from sscsi.process.flags import Flag

PROGRAM = "sscsi status"
JSON_VERSION = 1
# With Python's own start it stays below a second, however many programs hang.
ANSWER_SECONDS = 0.6
FLAGS = (
    command.RUN_DIR,
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
    parsed = command.parse(PROGRAM, _ABOUT, FLAGS, argv, environ)
    report = look(parsed.text("run-dir"), timeout_seconds=parsed.seconds("timeout"))
    command.print_report(as_json(report) if parsed.boolean("json") else status_screen.render(report))
    return 0 if report.healthy else 1


def look(run_directory: str, *, timeout_seconds: float) -> Report:
    """Everything that can be told of the appliance in `run_directory` now."""
    return judge(status_sources.look(run_directory, timeout_seconds=timeout_seconds, now=time.time()))


def as_json(report: Report) -> str:
    """The report for machines: its fields by their names, and the version of this shape."""
    return json.dumps({"version": JSON_VERSION, **dataclasses.asdict(report)}, indent=2, allow_nan=False)
