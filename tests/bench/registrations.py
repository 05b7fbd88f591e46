"""What the benchmark's kubelet did at the registration sockets, and when."""

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterator, Sequence

from tests.bench.processes import started, wait_until

# The kubelet process writes this first; then what its fake kubelet tells.
READY = "ready"
# The registration socket has appeared; the driver is registered, and the registrar knows it.
SEEN = "seen"
REGISTERED = "registered"


@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened. `at` is of time.monotonic()."""

    what: str
    at: float


class Registrations:
    """Its events so far, read from the file that the kubelet process writes."""

    def __init__(self, path: str) -> None:
        self._path = path

    def first(self, what: str, *, since: float) -> float | None:
        """When the first such event since then happened; None when there was none."""
        return first(self.events(), what, since=since)

    def events(self) -> list[Event]:
        try:
            with open(self._path, encoding="utf-8") as file:
                # The last line may still be on its way.
                return [Event(*json.loads(line)) for line in file if line.endswith("\n")]
        except FileNotFoundError:
            return []


def first(events: Sequence[Event], what: str, *, since: float) -> float | None:
    """Time of the first event of that kind at or after `since`."""
    return next((event.at for event in events if event.what == what and event.at >= since), None)


@contextlib.contextmanager
def kubelet(registration_directory: str, home: str) -> Iterator[Registrations]:
    """A kubelet process that watches the directory and registers what appears in it, until the block ends.

    A process of its own: its loop must tick while the benchmark waits, and its memory must not be the benchmark's.
    """
    events = os.path.join(home, "kubelet.events")
    registrations = Registrations(events)
    arguments = [registration_directory, events]
    with started("kubelet", "tests.bench.kubelet_process", arguments, f"{home}/kubelet.log") as process:
        wait_until(
            "the start of kubelet",
            lambda: registrations.first(READY, since=0.0) is not None,
            [process],
        )
        yield registrations
