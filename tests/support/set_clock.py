"""`sscsi run` where supervisord's wall clock is set: by as many seconds as the file $SSCSI_TEST_CLOCK says now.

The rooms' clocks stay as they are: in a room Python's clock must be that of gRPC's core, which nobody can set from here.

Run as `python -m tests.support.set_clock run [flags]`.
"""

import os
import sys
import time
import types
from collections.abc import Callable

from supervisor import process, supervisord

from sscsi.cli.__main__ import main as sscsi
from tests.support.appliance_place import SSCSI

VARIABLE = "SSCSI_TEST_CLOCK"


def set_clock(path: str, seconds: float) -> None:
    """Set the clock forward, or back, from what it is."""
    with open(f"{path}~", "w", encoding="utf-8") as file:
        file.write(str(seconds))
    os.rename(file.name, path)


def _shifted(real: Callable[[], float], path: str) -> Callable[[], float]:
    def now() -> float:
        with open(path, encoding="utf-8") as file:
            return real() + float(file.read())

    return now


def main() -> int:
    """`sscsi`, whose supervisord goes by a clock that is set."""
    process.time = supervisord.time = types.SimpleNamespace(time=_shifted(time.time, os.environ[VARIABLE]))
    sys.argv[0] = SSCSI
    return sscsi()


if __name__ == "__main__":
    sys.exit(main())
