"""The program `sscsi-registrar`: its real parts, wired."""

import logging
import sys
import threading

from sidecars.registrar.config import RegistrarConfig, parse
from sidecars.registrar.driver import Driver
from sidecars.registrar.room import RegistrarRoom
from sscsi.core import log_keys
from sscsi.process import run

log = logging.getLogger(__name__)


def serve(config: RegistrarConfig, stop: threading.Event) -> int:
    """Register until asked to stop; the exit code."""
    if config.is_probe:
        return 0
    for doubt in config.doubts:
        log.warning("a flag looks wrong", extra={log_keys.REASON: doubt})
    room = RegistrarRoom(
        driver=Driver(config.driver_socket, timeout_seconds=config.timeout_seconds),
        endpoint=config.endpoint,
        directory=config.registration_directory,
        health_address=config.health_address,
        health_timeout_seconds=config.timeout_seconds,
        run_directory=config.run_directory,
    )
    return room.run(stop)


def main() -> int:
    """Entry point of the console script."""
    return run.room("registrar", parse, serve)


if __name__ == "__main__":
    sys.exit(main())
