"""What the rooms have imported: a module too much is memory on every node."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.support.appliance_place import new_place
from tests.support.supervised import PROGRAMS, Supervised, supervised

# Everything beside the standard library that the process may have from which the rooms are forked: it has the modules
# of all rooms together. YAML is what status-sync reads classes with.
_SHARED = {
    "google",
    "grpc",
    "psutil",
    "sidecars",
    "sscsi",
    "supervisor",
    "typing_extensions",
    "yaml",
}
# Of the interpreter, the installation, and gRPC's own extension modules.
_OF_OTHERS = (
    "__",
    "_cython_",
    "_distutils_hack",
    "_sysconfigdata",
    "cython_runtime",
    "sitecustomize",
    "usercustomize",
)
# Big, and none of a room's business at rest: status-sync imports them at the moment that needs them.
_LATE = (
    "cryptography",
    "kubernetes",
    "libcrypto",
    "libssl",
    "_ssl",
    "pydantic",
    "requests",
    "prometheus_client",
)


@pytest.fixture(scope="module")
def running() -> Iterator[Supervised]:
    """An appliance that has done some work, asked by everybody who asks."""
    with new_place() as place, supervised(place) as appliance:
        assert appliance.publishes()
        for page in ("/readyz?verbose", "/healthz"):
            assert place.get(page)[0] == 200
        yield appliance


def test_what_is_shared_is_what_the_rooms_need() -> None:
    script = """
import sys
from sscsi.cli import shared_memory
with shared_memory.without_openssl():
    import sscsi.cli.run
shared_memory.import_shared()
print(*sorted({name.partition(".")[0] for name in sys.modules} - set(sys.stdlib_module_names)))
"""
    answer = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    found = {name for name in answer.stdout.split() if not name.startswith(_OF_OTHERS)}
    assert found - _SHARED == set()


@pytest.mark.root
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_room_that_works_has_no_library_more_than_it_was_forked_with(
    running: Supervised, program: str
) -> None:
    shared, own = libraries(running.pid), libraries(running.pids()[program])
    assert own <= shared
    assert [name for name in own if name.startswith(_LATE)] == []


def libraries(pid: int) -> set[str]:
    """The extension modules and libraries that a process has mapped; of a package, its name and the module's."""
    found = set()
    with open(f"/proc/{pid}/maps", encoding="utf-8", errors="surrogateescape") as maps:
        for line in maps:
            path = line.rstrip("\n").partition("/")[2]
            if ".so" in os.path.basename(path):
                found.add(path.partition("site-packages/")[2] or os.path.basename(path))
    return found
