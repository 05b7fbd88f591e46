"""The life of a process: parse, log, serve until asked to stop, leave with an honest code."""

import ctypes
import logging
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar

from sscsi.core import log_keys
from sscsi.errors import ConfigError
from sscsi.process import logs
from sscsi.process.flags import Flag, Flags, TextRequestedError

log = logging.getLogger(__name__)

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4

_STOP_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT})

# Set by `sscsi run`: the number of its own process.
SUPERVISOR_PID = "SSCSI_SUPERVISOR_PID"
LOG_FLAGS = (
    Flag(
        name="log-format-json",
        default=False,
        help="Log in JSON instead of klog's text form.",
        variable="SSCSI_LOG_FORMAT_JSON",
    ),
    Flag(
        name="v",
        default=0,
        help="Log verbosity, as klog's: 2 each publish, 4 decisions, 5 every call, 10 libraries too.",
        variable="SSCSI_LOG_VERBOSITY",
    ),
)


class RoomConfig(Protocol):
    """What a room's configuration has in common with every other's."""

    @property
    def log_as_json(self) -> bool: ...
    @property
    def log_verbosity(self) -> int: ...
    @property
    def flags(self) -> Flags: ...


C = TypeVar("C", bound=RoomConfig)


def room(
    name: str,
    parse: Callable[[Sequence[str], Mapping[str, str]], C],
    serve: Callable[[C, threading.Event], int],
) -> int:
    """Run one room from its command line to its exit code.

    `serve` gets the configuration and an event that SIGTERM and SIGINT set; a second signal leaves at once.
    Codes: what `serve` returns; 2 for a wrong command line; 1 for a machine that lacks something.
    """
    try:
        config = parse(sys.argv[1:], os.environ)
        logs.configure(name, as_json=config.log_as_json, verbosity=config.log_verbosity)
        config.flags.warn_without_effect()
        _protect_process()
        return serve(config, stop_on_signals())
    except TextRequestedError as request:
        print(request)  # noqa: T201 - help and version are for stdout
        return 0
    except ConfigError as error:
        sys.stderr.write(f"sscsi-{name}: {error}\n")
        return error.exit_code


def stop_on_signals() -> threading.Event:
    """An event that SIGTERM or SIGINT sets. The second such signal ends the process with code 1.

    Call it before any other thread is made. A thread waits for the signals, which are blocked everywhere: a handler in
    the main thread is run too late, or never, when the signal comes just before that thread begins to wait for a lock.
    """
    stop = threading.Event()
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)

    def watch() -> None:
        number = signal.sigwait(_STOP_SIGNALS)
        # Whoever holds the event's lock, or the log's, must not keep the second signal from being seen.
        threading.Thread(target=announce, args=(number,), name="stop", daemon=True).start()
        signal.sigwait(_STOP_SIGNALS)
        os._exit(1)

    def announce(number: int) -> None:
        stop.set()
        log.info("asked to stop", extra={log_keys.SIGNAL: signal.Signals(number).name})

    threading.Thread(target=watch, name="signals", daemon=True).start()
    return stop


def _protect_process() -> None:
    """No core dump and no ptrace by others (design P6); die with supervisord when it started us."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    if os.environ.get("SUPERVISOR_ENABLED"):
        # SIGKILL: to be killed at any instruction loses nothing (design P1, P4), and a program that waits for a call
        # that hangs must not keep the sockets from the next appliance. A container's end is the same. Set in here, in
        # the program itself, because a change of user clears it (prctl(2)): the launcher has done that by now.
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        # The signal comes for a death from now on; this is for one before.
        if _has_supervisor_ended():
            raise ConfigError("supervisord ended while this program was starting", exit_code=1)


def _has_supervisor_ended() -> bool:
    if supervisor := os.environ.get(SUPERVISOR_PID):
        return supervisor != str(os.getppid())
    # A stock supervisord tells nobody its number, and whoever adopts its orphans has one too. But it alone has the
    # other end of its programs' stdin.
    poll = select.poll()
    poll.register(0, 0)
    return any(event & select.POLLHUP for _, event in poll.poll(0))
