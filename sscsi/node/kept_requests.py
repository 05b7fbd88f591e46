"""The last request of each volume, for refreshes that kubelet does not ask for. In memory only: tokens are in it."""

import datetime as dt
import json
import threading

from sscsi.node.publish_request import PublishRequest


class KeptRequests:
    """Requests by target path. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: dict[str, PublishRequest] = {}

    def keep(self, request: PublishRequest) -> None:
        """Keep the request in place of the volume's last one."""
        with self._lock:
            self._requests[request.target_path] = request

    def get(self, target_path: str) -> PublishRequest | None:
        with self._lock:
            return self._requests.get(target_path)

    def forget(self, target_path: str) -> None:
        """The volume is gone."""
        with self._lock:
            self._requests.pop(target_path, None)


def tokens_end(request: PublishRequest) -> float:
    """When the first of the request's tokens expires, seconds since the epoch; infinite when none does.

    Kubelet's JSON is audience to {token, expirationTimestamp} (Kubernetes, CSIDriver `tokenRequests`). A time that can't
    be read counts for none: the store decides then.
    """
    if not request.tokens:
        return float("inf")
    try:
        entries = json.loads(request.tokens).values()
        return min(map(_end, entries), default=float("inf"))
    except (ValueError, TypeError, AttributeError, RecursionError):
        return float("inf")


def _end(entry: dict[str, str]) -> float:
    text = entry.get("expirationTimestamp", "")
    if not text:
        return float("inf")
    moment = dt.datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).timestamp()
