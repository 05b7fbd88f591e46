"""What holds for the whole test run: a mount namespace of its own, and nothing left behind.

The namespace is entered while this file is imported, which pytest does before it collects any test: later there are
threads, and a process with threads can't enter a user namespace.
"""

import os
import signal
from collections.abc import Iterator

import hypothesis
import pytest

from tests.support import leftovers
from tests.support.own_mounts import own_mounts
from tests.support.require import lacking, required

# The API server of the test run, for whoever asks for it.
pytest_plugins = ["tests.kubeapi.fixtures"]

# In a forked child gRPC would start its threads anew, if a test left any of it behind; tests fork for children of one thread.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

# pytest names its directory in /tmp by the user; without these it asks the uid, which is root's in a user namespace.
if not os.environ.keys() & {"LOGNAME", "USER"}:
    os.environ["LOGNAME"] = f"uid-{os.getuid()}"
# A script's background job inherits that it is ignored, and so would the programs that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# An example may take long on a busy machine; how long says nothing about the code.
hypothesis.settings.register_profile(
    "busy machine",
    hypothesis.settings.default,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("busy machine")
own_mounts()
leftovers.adopt_orphans()


def pytest_configure() -> None:
    required()


def pytest_report_header() -> str:
    """What a reader of the log must know of the machine."""
    mounts = own_mounts()
    rights = "root" if mounts.is_root else "root in a user namespace" if mounts.entered else mounts.reason
    return f"sscsi: mounts: {rights}; SSCSI_REQUIRE: {','.join(sorted(required())) or '(empty)'}"


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests marked `root` need to mount."""
    if item.get_closest_marker("root") and not own_mounts().entered:
        lacking("root", "userns", reason=own_mounts().reason)


@pytest.fixture(scope="session", autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    """At the end no child process lives, and the namespace has no mount that was not there at the start."""
    mounts_before = leftovers.mount_points()
    yield
    found = leftovers.remove(mounts_before)
    assert not found, "the tests left behind:\n" + "\n".join(found)
