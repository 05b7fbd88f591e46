"""Those who wait for a refresh to end: `sscsi refresh`. Its user has the lock."""

from concurrent import futures

from sscsi.core.refresh_outcome import RefreshResult


class RefreshWaiters:
    """Futures by target path, each with the number of the attempt that it waits for."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[tuple[int, futures.Future[RefreshResult]]]] = {}

    def add(self, target_path: str, number: int, future: "futures.Future[RefreshResult]") -> None:
        """Wait for the attempt of that number, or a later one."""
        self._waiting.setdefault(target_path, []).append((number, future))

    def resolve(self, target_path: str, result: RefreshResult, begun: int | None = None) -> None:
        """Tell those who wait for one of the `begun` attempts; all of them, without a number."""
        still: list[tuple[int, futures.Future[RefreshResult]]] = []
        for number, future in self._waiting.pop(target_path, ()):
            if begun is None or number <= begun:
                # One who gave up has cancelled it.
                if future.set_running_or_notify_cancel():
                    future.set_result(result)
            else:
                still.append((number, future))
        if still:
            self._waiting[target_path] = still
