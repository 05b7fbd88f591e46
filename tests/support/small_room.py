"""The smallest room, run as a process by the tests of `sscsi.process`: it does what `--then` says."""

import ctypes
import dataclasses
import logging
import os
import sys
import threading
from collections.abc import Mapping, Sequence

from sscsi.core import log_levels
from sscsi.errors import ConfigError
from sscsi.process.flags import Flag, Flags
from sscsi.process.flags import parse as parse_flags
from sscsi.process.run import LOG_FLAGS, room

log = logging.getLogger(__name__)

_PR_GET_DUMPABLE = 3
FLAGS = (
    Flag(name="then", default="wait", help="What to do."),
    Flag(name="old", default="", help="Once of use.", no_effect="times have changed."),
    *LOG_FLAGS,
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SmallConfig:
    """What `--then` said, and what every room's configuration has."""

    then: str
    log_as_json: bool
    log_verbosity: int
    flags: Flags


def parse(argv: Sequence[str], environ: Mapping[str, str]) -> SmallConfig:
    flags = parse_flags("sscsi-small", FLAGS, argv, environ)
    return SmallConfig(
        then=flags.text("then"),
        log_as_json=flags.boolean("log-format-json"),
        log_verbosity=flags.integer("v"),
        flags=flags,
    )


def serve(config: SmallConfig, stop: threading.Event) -> int:
    log.log(log_levels.DECISIONS, "a decision")
    log.info("an info line")
    if config.then == "raise":
        raise LookupError("canary-in-an-exception")
    if config.then == "raise-in-thread":
        thread = threading.Thread(target=fail)
        thread.start()
        thread.join()
    if config.then == "lack":
        raise ConfigError("this machine has no such thing; buy one", exit_code=1)
    if config.then == "return 3":
        return 3
    if config.then == "hold the lock":
        with stop._cond:  # type: ignore[attr-defined]
            tell("ready")
            sys.stdin.readline()
    if config.then == "hang":
        tell("ready")
        threading.Event().wait()
    if config.then == "hang in C":
        # Unlike most calls this one is not interrupted by a signal.
        libc, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(64)
        libc.pthread_mutex_lock(mutex)
        tell("ready")
        libc.pthread_mutex_lock(mutex)
    tell(f"ready {os.getpid()} dumpable={ctypes.CDLL(None).prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0)}")
    stop.wait()
    tell("stopping")
    return 0


def fail() -> None:
    raise LookupError("canary-in-a-thread")


def tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(room("small", parse, serve))
