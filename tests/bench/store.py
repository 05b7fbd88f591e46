"""The benchmark's hand on a provider of the part `refresh`: what it is told, and the calls that it got."""

import contextlib
import dataclasses
import json
import os
import time
from collections.abc import Iterator

from tests.bench.processes import Process, started, wait_until
from tests.bench.sides import accepts
from tests.bench.volumes import PROVIDER


@dataclasses.dataclass(frozen=True, slots=True)
class Call:
    """One call to the provider; times are of time.monotonic(). `succeeded`: otherwise it was RESOURCE_EXHAUSTED."""

    begun: float
    ended: float
    target_path: str
    class_name: str
    succeeded: bool


class Store:
    """One provider process. `directory` is that of its socket."""

    def __init__(self, home: str, seconds: float) -> None:
        self.directory = f"{home}/providers"
        self.orders = f"{home}/orders.json"
        self.calls_path = f"{home}/calls"
        self._seconds = seconds
        self._generation = 1
        self._refused = 0.0
        self._calls: list[Call] = []
        self._read = 0
        self._order()

    @property
    def socket_path(self) -> str:
        return f"{self.directory}/{PROVIDER}.sock"

    def refuse(self, share: float) -> None:
        """Answer that share of all calls, 0 to 1, with RESOURCE_EXHAUSTED from now on."""
        self._refused = share
        self._order()

    def change(self) -> float:
        """From now on all content is new; the time of it."""
        self._generation += 1
        self._order()
        return time.monotonic()

    def shows_change(self, target_path: str) -> bool:
        """Whether a volume shows the present content, as its pod would read it."""
        with open(f"{target_path}/object-000", "rb") as file:
            return file.read(16).split(b" ")[0] == str(self._generation).encode()

    def calls(self) -> list[Call]:
        """All so far, in the order of their ends."""
        with open(self.calls_path, "rb") as file:
            file.seek(self._read)
            for line in file:
                # The last one may still be on its way.
                if line.endswith(b"\n"):
                    self._calls.append(Call(*json.loads(line)))
                    self._read += len(line)
        return self._calls

    def _order(self) -> None:
        orders = {"seconds": self._seconds, "generation": self._generation, "refused": self._refused}
        with open(f"{self.orders}.new", "w", encoding="ascii") as file:
            json.dump(orders, file)
        os.replace(f"{self.orders}.new", self.orders)


@contextlib.contextmanager
def running_store(home: str, *, seconds: float) -> Iterator[Store]:
    """A provider that takes `seconds` for an answer. `home` is a directory to make."""
    os.makedirs(f"{home}/providers")
    store = Store(home, seconds)
    arguments = [store.socket_path, store.orders, store.calls_path]
    with started("provider", "tests.bench.refresh_provider", arguments, f"{home}/provider.log") as process:
        _wait_for(store, process)
        yield store


def _wait_for(store: Store, process: Process) -> None:
    wait_until("a connection to the provider", lambda: accepts(store.socket_path), [process])
