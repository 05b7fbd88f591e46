"""What the commands that ask an appliance and print what they hear have in common."""

import json
import os
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence

from sscsi.cli.status_layout import plain
from sscsi.errors import ConfigError
from sscsi.process import flags
from sscsi.process.flags import Argument, Flag, Flags, HelpRequestedError

RUN_DIR = Flag(
    name="run-dir",
    default="/run/sscsi",
    help="Directory of the appliance's sockets.",
    variable="SSCSI_RUN_DIR",
)


def parse(
    program: str,
    about: str,
    known: Sequence[Flag],
    argv: Sequence[str],
    environ: Mapping[str, str],
    *,
    argument: Argument | None = None,
) -> Flags:
    """The flags; `timeout`, where it is among them, is more than 0. `about` is what `--help` says first. Raises ConfigError, HelpRequestedError."""
    try:
        parsed = flags.parse(program, known, argv, environ, argument=argument)
    except HelpRequestedError as request:
        raise HelpRequestedError("\n".join([*textwrap.wrap(about, width=100), "", str(request)])) from None
    if any(flag.name == "timeout" for flag in known) and parsed.seconds("timeout") <= 0:
        raise ConfigError("flag --timeout must be more than 0")
    return parsed


def print_answer(
    document: Mapping[str, object], trouble: str, lines: Iterable[str], *, as_json: bool
) -> None:
    """Print what was heard: the document, which has the trouble in it, or the lines.

    `trouble` is why there is nothing to tell; without JSON it is raised as ConfigError (exit code 1). Raises as `print_report`.
    """
    if as_json:
        print_report(json.dumps(document, indent=2, allow_nan=False))
    elif trouble:
        raise ConfigError(plain(trouble), exit_code=1)
    else:
        print_report("\n".join(map(plain, lines)))


def print_report(text: str) -> None:
    """Print it now. Raises BrokenPipeError, and ConfigError (exit code 1) for a full disk and the like."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        # Python must not try to flush the rest at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise ConfigError(f"cannot write the report: {error.strerror}", exit_code=1) from error
