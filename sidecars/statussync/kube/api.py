"""Requests to the API server: bounded in time and number, repeated where that helps, with one kind of error."""

import base64
import contextlib
import json
import logging
import random
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

import urllib3

from sidecars.statussync.kube.api_errors import GARBAGE, UNREACHABLE, ApiError, from_status, unanswered
from sidecars.statussync.kube.connection import Connection, LoadAccess
from sidecars.statussync.kube.rate_limit import RateLimit
from sidecars.statussync.kube.wire import Stream
from sidecars.statussync.metrics import SyncMetrics
from sscsi import __version__
from sscsi.core import log_keys
from sscsi.core.backoff import delays
from sscsi.errors import ClusterUnavailableError, ConfigError

log = logging.getLogger(__name__)

JSON = "application/json"
# How the API server is asked for the metadata of objects, and nothing else of them.
METADATA_LIST = f"{JSON};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
METADATA = f"{JSON};as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"

_CONNECT_SECONDS = 5.0
_ATTEMPTS = 4
# The head of the answer to a watch comes at once, with no event yet.
_WATCH_HEAD_SECONDS = 30.0
# A watch that ends by its own time-out is late at most by so much.
_WATCH_GRACE_SECONDS = 30.0
# Credentials that are refused are read anew, and not again before so long.
_RELOAD_SECONDS = 5.0
_EVENTS = frozenset({"ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"})
_USER_AGENT = f"sscsi-statussync/{__version__}"

Object = dict[str, Any]


class KubeApi:
    """The API server. Threads may share it; `close` ends what is under way."""

    def __init__(self, load: LoadAccess, rate_limit: RateLimit, metrics: SyncMetrics | None = None) -> None:
        self._load = load
        self._metrics = metrics or SyncMetrics()
        self._rate_limit = rate_limit
        self._connection = Connection(load())
        self._reloading = threading.Lock()
        self._reloaded_at = float("-inf")
        self._closed = threading.Event()

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        content_type: str = JSON,
        accept: str = JSON,
        timeout_seconds: float,
        gives_way: bool = False,
    ) -> Object:
        """The object that the API server answers with. Everything, waits and repetitions too, within `timeout_seconds`.
        A request that `gives_way` is made only while few others are.

        Raises ApiError for its own answer, ClusterUnavailableError when there was no time to ask.
        """
        deadline = time.monotonic() + timeout_seconds
        target = f"{path}?{urlencode(query)}" if query else path
        data = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        pauses = delays(first_seconds=0.1, factor=2.0, max_seconds=5.0)
        for attempt in range(1, _ATTEMPTS + 1):
            if gives_way:
                self._check_spare()
            else:
                self._wait_turn(deadline - time.monotonic())
            try:
                return self._once(method, target, data, _media(content_type, accept), deadline)
            except ApiError as error:
                pause = jittered(next(pauses)) + error.retry_after_seconds
                is_last = attempt == _ATTEMPTS or time.monotonic() + pause >= deadline
                if is_last or not error.may_be_repeated(method) or self._closed.wait(pause):
                    raise
        raise AssertionError("the last attempt returns or raises")

    def watch(
        self, path: str, *, query: Mapping[str, str], accept: str = JSON, timeout_seconds: float
    ) -> "Watch":
        """A stream of events that the API server ends after `timeout_seconds`.

        Raises ApiError, ClusterUnavailableError.
        """
        self._wait_turn(timeout_seconds)
        target = f"{path}?{urlencode({**query, 'watch': '1', 'timeoutSeconds': str(int(timeout_seconds))})}"
        deadline = time.monotonic() + _WATCH_HEAD_SECONDS
        response = self._send("GET", target, None, _media(JSON, accept), deadline, stream=True)
        if response.status != 200:
            try:
                raise self._error(response, f"watch {path}")
            finally:
                response.close()
        return Watch(Stream(response, seconds=timeout_seconds + _WATCH_GRACE_SECONDS), path)

    def pause(self, seconds: float) -> None:
        """Wait; no longer than until `close`."""
        self._closed.wait(seconds)

    def close(self) -> None:
        """Send nothing more, and wait for no answer."""
        self._closed.set()
        self._connection.close()

    def _wait_turn(self, longest_seconds: float) -> None:
        wait = self._rate_limit.reserve(longest_seconds=longest_seconds)
        if wait is None:
            raise ClusterUnavailableError(
                "too many requests to the API server at once; see --kube-api-qps, --kube-api-burst"
            )
        if self._closed.wait(wait):
            raise ClusterUnavailableError("stopping; the API server is not asked any more")

    def _check_spare(self) -> None:
        if self._closed.is_set() or not self._rate_limit.reserve_spare():
            raise ClusterUnavailableError("other requests to the API server go first")

    def _once(
        self, method: str, target: str, data: bytes | None, media: Mapping[str, str], deadline: float
    ) -> Object:
        response = self._send(method, target, data, media, deadline)
        what = f"{method} {target.partition('?')[0]}"
        if not 200 <= response.status < 300:
            raise self._error(response, what, data)
        return _document(response, what)

    def _send(
        self,
        method: str,
        target: str,
        data: bytes | None,
        media: Mapping[str, str],
        deadline: float,
        *,
        stream: bool = False,
    ) -> urllib3.BaseHTTPResponse:
        headers = {**media, "user-agent": _USER_AGENT}

        def send(connection: Connection) -> urllib3.BaseHTTPResponse:
            seconds = deadline - time.monotonic()
            if seconds <= 0:
                raise ClusterUnavailableError("there was no time left to ask the API server")
            timeout = urllib3.Timeout(connect=_CONNECT_SECONDS, total=seconds)
            code = 0
            try:
                response = _request(
                    connection, method, target, headers=headers, data=data, timeout=timeout, stream=stream
                )
                code = response.status
            finally:
                self._metrics.api_request(method, target, code, is_watch=stream)
            return response

        connection = self._connection
        response = send(connection)
        if response.status == 401 and self._reload(connection):
            response.close()
            self._wait_turn(deadline - time.monotonic())
            response = send(self._connection)
        return response

    def _reload(self, refused: Connection) -> bool:
        """Read the credentials anew, now and then; whether there are others than the `refused` ones."""
        with self._reloading:
            if self._connection is not refused:
                return True
            if time.monotonic() - self._reloaded_at < _RELOAD_SECONDS:
                return False
            self._reloaded_at = time.monotonic()
            try:
                self._connection = Connection(self._load())
            except ConfigError as error:
                log.warning("the API server refuses our credentials", extra={log_keys.REASON: str(error)})
                return False
        refused.close_unused()
        if self._closed.is_set():
            self._connection.close()
        log.info("the API server refused our credentials; they were read anew")
        return True

    def _error(self, response: urllib3.BaseHTTPResponse, what: str, sent: bytes | None = None) -> ApiError:
        """What the API server says; it may quote what it was `sent`, and a proxy who we are."""
        try:
            body = json.loads(response.data)
        except (ValueError, RecursionError, urllib3.exceptions.HTTPError):
            body = {}
        return from_status(
            response.status,
            body if isinstance(body, dict) else {},
            retry_after=response.headers.get("Retry-After", ""),
            what=what,
            sensitive=[*self._connection.secrets, *_secret_values(sent)],
        )


class Watch:
    """The events of one watch request: iterate over it in one thread; any thread may close it."""

    def __init__(self, stream: Stream, path: str) -> None:
        self._stream = stream
        self._path = path

    def __iter__(self) -> Iterator[tuple[str, Object]]:
        """Type and object of each event. Raises ApiError when the stream breaks or says so."""
        lines = _Lines()
        try:
            while piece := self._stream.read():
                lines.add(piece)
                # Nothing of an event stays here while the next one is waited for.
                del piece
                while (line := lines.take()) is not None:
                    if line:
                        yield self._event(line)
                    del line
        except urllib3.exceptions.HTTPError as error:
            raise ApiError(f"watch {self._path}: broken off ({error})", code=0, reason=UNREACHABLE) from error
        finally:
            self._stream.close()

    def close(self) -> None:
        """End the iteration, wherever it is."""
        self._stream.break_off()

    def _event(self, line: bytes) -> tuple[str, Object]:
        try:
            event = json.loads(line)
            kind, obj = event["type"], event["object"]
            is_event = kind in _EVENTS and isinstance(obj, dict)
        except (ValueError, RecursionError, TypeError, KeyError):
            is_event = False
        if not is_event:
            raise ApiError(f"watch {self._path}: what came is no event", code=0, reason=GARBAGE)
        if kind == "ERROR":
            code = obj.get("code")
            raise from_status(
                code if isinstance(code, int) else 0, obj, retry_after="", what=f"watch {self._path}"
            )
        return kind, obj


class _Lines:
    """Lines out of pieces."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0

    def add(self, piece: bytes) -> None:
        self._buffer += piece

    def take(self) -> bytes | None:
        """The next whole line; None when there is none yet."""
        end = self._buffer.find(b"\n", self._searched)
        if end < 0:
            self._searched = len(self._buffer)
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._searched = 0
        return line


def jittered(seconds: float) -> float:
    """Between half of it and one and a half: many nodes that lost one server must not come back as one."""
    return seconds * random.uniform(0.5, 1.5)  # noqa: S311 - nobody gains by guessing it


def _media(content_type: str, accept: str) -> Mapping[str, str]:
    return {"accept": accept, "content-type": content_type}


def _request(
    connection: Connection,
    method: str,
    target: str,
    *,
    headers: Mapping[str, str],
    data: bytes | None,
    timeout: urllib3.Timeout,
    stream: bool,
) -> urllib3.BaseHTTPResponse:
    try:
        return connection.request(method, target, headers=headers, body=data, timeout=timeout, stream=stream)
    except urllib3.exceptions.HTTPError as error:
        raise unanswered(error, f"{method} {target.partition('?')[0]}") from error


def _secret_values(sent: bytes | None) -> Iterator[str]:
    """What a Secret that was sent has in it."""
    body = json.loads(sent) if sent else None
    data = body.get("data") if isinstance(body, dict) else None
    for value in data.values() if isinstance(data, dict) else ():
        if isinstance(value, str):
            yield value
            with contextlib.suppress(ValueError):
                yield base64.b64decode(value).decode(errors="replace")


def _document(response: urllib3.BaseHTTPResponse, what: str) -> Object:
    try:
        document = json.loads(response.data)
    except (ValueError, RecursionError) as error:
        raise ApiError(f"{what}: the answer is not JSON", code=response.status, reason=GARBAGE) from error
    if not isinstance(document, dict):
        raise ApiError(f"{what}: the answer is no object", code=response.status, reason=GARBAGE)
    return document
