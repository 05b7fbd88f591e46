"""A program of the appliance in a child that supervisord has just forked, in place of exec.

The child shares the parent's memory that way: interpreter, gRPC and our own modules are there once (design,
section 4). What exec would have given is made by hand: signal handlers, arguments, environment, output, title.
"""

import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

from sscsi.cli import programs
from sscsi.process import launch
from sscsi.process.process_title import set_title

_STDOUT, _STDERR = 1, 2


def is_ours(argv: Sequence[str]) -> bool:
    """Whether the command can be run in here: the launcher with one of our programs."""
    if os.path.basename(argv[0]) != programs.LAUNCHER:
        return False
    return os.path.basename(launch.parse(argv[1:]).command[0]) in programs.MODULES


def become(
    argv: Sequence[str], environ: Mapping[str, str], *, output: int, was_asked_to_stop: Callable[[], bool]
) -> NoReturn:
    """Be the program that the launcher's command line `argv` asks for, until it ends; then end the process.

    `output` is a descriptor for its stdout and stderr. `was_asked_to_stop` tells of a signal that the parent's
    handlers took in this child. Call it in a forked child, with one thread.
    """
    code = 1
    try:
        _reset_signals()
        if was_asked_to_stop():
            os._exit(0)
        os.environ.clear()
        os.environ.update(environ)
        wanted = launch.parse(argv[1:])
        script = os.path.basename(wanted.command[0])
        _redirect(output, keep_stdout=script in programs.EVENT_LISTENERS)
        sys.argv = [script, *wanted.command[1:]]
        # Before privileges go: a process that may not be inspected has no title either.
        set_title(" ".join(sys.argv))
        launch.enter(wanted)
        code = programs.main_of(script)()
    except SystemExit as end:
        code = 0 if end.code is None else end.code if isinstance(end.code, int) else 1
    except BaseException as error:  # noqa: BLE001 - what would end an interpreter ends this process
        sys.excepthook(type(error), error, error.__traceback__)
    finally:
        try:
            _flush()
        finally:
            os._exit(code)


def _reset_signals() -> None:
    """Forget the handlers that are supervisord's own. Blocked or ignored signals are neither, as after exec."""
    signal.set_wakeup_fd(-1)
    for number in (
        signal.SIGTERM,
        signal.SIGINT,
        signal.SIGQUIT,
        signal.SIGHUP,
        signal.SIGCHLD,
        signal.SIGUSR2,
    ):
        signal.signal(number, signal.SIG_DFL)


def _redirect(output: int, *, keep_stdout: bool) -> None:
    """Log to where supervisord itself does: its pipes are read by the loop that has to look after everybody."""
    os.dup2(output, _STDERR)
    if not keep_stdout:
        os.dup2(output, _STDOUT)
    os.close(output)


def _flush() -> None:
    """What an interpreter does at its end, and os._exit does not."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            # Nobody reads it any more.
            continue
