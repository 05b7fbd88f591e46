"""`sscsi-launch [flags] -- PROGRAM [ARGUMENTS]`: drop privileges, then be the program.

One line of supervisord.conf says what each program may do. Under a stock supervisord this is the command that execs
the program; `sscsi run` forks, parses the same line, and calls `enter` in the child.
"""

import dataclasses
import logging
import os
import signal
import sys
from collections.abc import Sequence

from sscsi.core.log_keys import REASON
from sscsi.errors import ConfigError
from sscsi.process import flags as command_line
from sscsi.process import log_output, logs, privileges
from sscsi.process.flags import Flag, HelpRequestedError, TextRequestedError
from sscsi.process.privileges import Privileges
from sscsi.process.run import LOG_FLAGS

log = logging.getLogger(__name__)

PROGRAM = "sscsi-launch"
_END_OF_FLAGS = "--"
_STDERR = 2
# As a shell's: sysexits of a command that could not be started.
_NOT_EXECUTABLE, _NOT_FOUND = 126, 127
# setresuid(2) takes the highest number for "leave as it is".
_MAX_ID = 2**32 - 2

_FLAGS = (
    Flag(
        name="user",
        default="",
        help="UID[:GID], in numbers: the user to run as, and its only group (the same number, unless given).",
    ),
    Flag(
        name="keep",
        default="",
        help="Capabilities that stay, with commas between: SYS_ADMIN,CHOWN. All others go.",
    ),
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What a command line asks for."""

    privileges: Privileges
    command: tuple[str, ...]
    """The program and its arguments."""


def parse(argv: Sequence[str]) -> Launch:
    """Parse the words behind `sscsi-launch`. Raises ConfigError, HelpRequestedError."""
    arguments = list(argv)
    end = arguments.index(_END_OF_FLAGS) if _END_OF_FLAGS in arguments else len(arguments)
    try:
        flags = command_line.parse(PROGRAM, _FLAGS, arguments[:end], {})
    except HelpRequestedError as request:
        raise HelpRequestedError(
            str(request).replace("[flags]", "[flags] -- PROGRAM [ARGUMENTS]", 1)
        ) from None
    command = tuple(arguments[end + 1 :])
    if not command or not command[0]:
        raise ConfigError(f"no program to launch: write {PROGRAM} [flags] -- PROGRAM [ARGUMENTS]")
    return Launch(privileges=_privileges(flags.text("user"), flags.text("keep")), command=command)


def _privileges(user: str, keep: str) -> Privileges:
    uid, gid = _user(user) if user else (None, None)
    names = frozenset(filter(None, (name.strip() for name in keep.split(","))))
    try:
        return Privileges(keep=names, uid=uid, gid=gid)
    except ConfigError as error:
        raise ConfigError(f"flag --keep: {error}") from error


def _user(text: str) -> tuple[int, int]:
    uid, has_group, gid = text.partition(":")
    # Without a group of its own the program would stay in root's.
    return _id(uid, text), _id(gid if has_group else uid, text)


def _id(digits: str, text: str) -> int:
    if not (digits.isascii() and digits.isdigit() and int(digits) <= _MAX_ID):
        raise ConfigError(f"flag --user: {text!r} is not UID or UID:GID, in numbers up to {_MAX_ID}")
    return int(digits)


def enter(launch: Launch) -> None:
    """Drop what the program is not to have; a warning for each thing that stays. In a process of one thread."""
    if launch.privileges.uid is not None:
        # As another user it may not open root's pipe anew (see log_output); made unblocking now, it need not.
        log_output.unblock(_STDERR)
    if stays := privileges.drop(launch.privileges):
        _configure_log(launch.command[0])
        for sentence in stays:
            log.warning("a privilege could not be set as asked", extra={REASON: sentence})


def _configure_log(program: str) -> None:
    """For the launcher's own lines; the program sets up its log itself."""
    settings = command_line.parse(PROGRAM, LOG_FLAGS, [], os.environ)
    logs.configure(
        os.path.basename(program).removeprefix("sscsi-"),
        as_json=settings.boolean("log-format-json"),
        verbosity=settings.integer("v"),
    )


def main() -> int:
    """The console script: returns only when there is no program to be."""
    try:
        launch = parse(sys.argv[1:])
        enter(launch)
    except TextRequestedError as request:
        print(request)  # noqa: T201 - help is for stdout
        return 0
    except ConfigError as error:
        sys.stderr.write(f"{PROGRAM}: {error}\n")
        return error.exit_code
    return _execute(launch.command)


def _execute(command: tuple[str, ...]) -> int:
    """Be the program; the exit code when that fails."""
    # Python ignores these, and what is ignored stays ignored over exec.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)  # noqa: S606 - to run it without a shell is what this is for
    except (FileNotFoundError, NotADirectoryError):
        return _refuse(f"{command[0]!r} is not there, or not on PATH", _NOT_FOUND)
    except OSError as error:
        return _refuse(f"{command[0]!r} cannot be started: {error.strerror}", _NOT_EXECUTABLE)
    except ValueError as error:
        return _refuse(f"{command[0]!r} cannot be started: {error}", _NOT_EXECUTABLE)


def _refuse(why: str, code: int) -> int:
    sys.stderr.write(f"{PROGRAM}: {why}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
