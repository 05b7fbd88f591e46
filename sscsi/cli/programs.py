"""The programs of the appliance: which module is which command."""

import importlib
from collections.abc import Callable

# By console script; setup.cfg has the same, and a test compares them.
MODULES = {
    "sscsi-livenessprobe": "sidecars.livenessprobe.__main__",
    "sscsi-node": "sscsi.node.__main__",
    "sscsi-provider-file": "sscsi.provider_file.__main__",
    "sscsi-registrar": "sidecars.registrar.__main__",
    "sscsi-statussync": "sidecars.statussync.__main__",
    "sscsi-watchdog": "sidecars.watchdog.__main__",
}
LAUNCHER = "sscsi-launch"
# These speak with supervisord on their stdout.
EVENT_LISTENERS = frozenset({"sscsi-watchdog"})


def main_of(script: str) -> Callable[[], int]:
    """The `main` of a console script. Raises KeyError for a script that is none of ours."""
    main: Callable[[], int] = importlib.import_module(MODULES[script]).main
    return main
