"""The audit log: one JSON line for each delivery and each refresh. Who got which version of what, and when.

Never content, a token or a secret: the lines are made of records, which have none. A line is written before kubelet gets
its answer, by one write in the thread that publishes; it survives a kill of this process, not a loss of the machine's power.
A publish never waits for whoever reads the log, nor fails because of it: lines that can't be written are lost and counted,
the program's log says so, and the audit log itself has a line (`"event": "lost"`) where they are missing.
"""

import json
import logging
import threading
import time

from sscsi.core import log_keys
from sscsi.core.volume_record import VolumeRecord
from sscsi.errors import ConfigError
from sscsi.node.audit_file import STDOUT, AuditFile, stdout_descriptor
from sscsi.process import log_output
from sscsi.process.log_stream import LogStream

log = logging.getLogger(__name__)

DELIVERED, REFRESHED, UNCHANGED = "delivered", "refreshed", "unchanged"
"""Events: a volume's first content; new content in its place; the provider was asked, and it is the same."""
PUBLISH, REPUBLISH, CLOCK, ASK, COMMAND = "publish", "republish", "clock", "ask", "command"
"""Triggers: kubelet's first call and its later ones, our own clock, an annotation, `sscsi refresh`."""
LOST = "lost"
MAX_TEXT = 1024
"""Of a foreign text, characters that are shown."""
MAX_OBJECTS = 1000
"""Of a volume, objects that are listed; `objects_left_out` counts the others."""
_LAST_CHANCE_SECONDS = 0.5
# Foreign text may have lone surrogates and line separators: ASCII has neither.
_ENCODER = json.JSONEncoder(separators=(",", ":"))


class AuditLog:
    """The log at `destination`: an absolute path, `-` for stdout, or empty for none at all. Threads may share it.

    Raises ConfigError when the destination can't be written.
    """

    def __init__(self, destination: str, *, node_id: str) -> None:
        self._node_id = node_id
        self._destination = destination
        self._lock = threading.Lock()
        self._lost_told = 0
        self._is_losing = self._is_closed = False
        self._file = AuditFile(destination) if destination not in {"", STDOUT} else None
        self._stream = self._make_stream() if destination else None

    @property
    def lost(self) -> int:
        """Lines that were lost since the start."""
        return self._stream.losses()[0] if self._stream else 0

    def write(self, record: VolumeRecord, *, event: str, trigger: str, shared: bool) -> None:
        """Write the line of what has just become of a volume; `event` and `trigger` are words of this module.

        `shared`: the call to the provider was one for several pods. Never raises, never waits for a reader.
        """
        stream = self._stream
        if stream is not None and not self._is_closed:
            stream.write(self._line(record, event, trigger, shared=shared))
            self._tell_losses(stream)

    def close(self) -> None:
        """Write what is pending, for half a second at most, and give the file up. Nothing is written afterwards."""
        stream = self._stream
        if stream is None or self._is_closed:
            return
        self._is_closed = True
        stream.drain(_LAST_CHANCE_SECONDS)
        stream.close()
        if self._file is not None:
            self._file.close()
        lost = self.lost - self._lost_told
        if lost:
            log.warning(
                "the audit log ends; lines were lost",
                extra={log_keys.PATH: self._destination, log_keys.COUNT: lost},
            )

    def _make_stream(self) -> LogStream:
        file = self._file
        if file is None:
            return LogStream(stdout_descriptor(), self._loss)

        def open_writer(_descriptor: int) -> log_output.Writer:
            return file.write

        return LogStream(file.descriptor, self._loss, open_writer=open_writer)

    def _line(self, record: VolumeRecord, event: str, trigger: str, *, shared: bool) -> bytes:
        versions = record.object_versions
        document: dict[str, object] = {
            "time": _now(),
            "event": event,
            "live": event != UNCHANGED,
            "trigger": trigger,
            "shared": shared,
            "namespace": record.pod_namespace,
            "pod": record.pod_name,
            "pod_uid": record.pod_uid,
            "service_account": record.service_account,
            "class": record.class_name,
            "class_generation": record.class_generation,
            "provider": record.provider,
            "objects": [
                {"id": name[:MAX_TEXT], "version": version[:MAX_TEXT]}
                for name, version in versions[:MAX_OBJECTS]
            ],
            "target_path": record.target_path,
            "node": self._node_id,
        }
        if len(versions) > MAX_OBJECTS:
            document["objects_left_out"] = len(versions) - MAX_OBJECTS
        return _encoded(document)

    def _loss(self, count: int, reason: str) -> bytes:
        """The line that stands for those that were lost."""
        return _encoded(
            {
                "time": _now(),
                "event": LOST,
                "count": count,
                "reason": reason or "nobody read them",
                "node": self._node_id,
            }
        )

    def _tell_losses(self, stream: LogStream) -> None:
        lost, is_losing, reason = stream.losses()
        if is_losing == self._is_losing and lost == self._lost_told:
            return
        with self._lock:
            where = {log_keys.PATH: self._destination}
            if is_losing and not self._is_losing:
                log.warning(
                    "lines of the audit log are lost",
                    extra={**where, log_keys.REASON: reason or "nobody reads them"},
                )
            elif not is_losing and lost != self._lost_told:
                log.warning(
                    "the audit log is written again; lines were lost",
                    extra={**where, log_keys.COUNT: lost - self._lost_told},
                )
                self._lost_told = lost
            self._is_losing = is_losing


def make_audit_log(destination: str, node_id: str) -> AuditLog:
    """The audit log of the flag `--audit-log`. Raises ConfigError, which says what to do, for what can't be written."""
    check_destination(destination)
    return AuditLog(destination, node_id=node_id)


def check_destination(destination: str) -> None:
    """Raise ConfigError for what names no destination on any machine."""
    if destination not in {"", STDOUT} and not destination.startswith("/"):
        raise ConfigError(
            f"flag --audit-log: must be an absolute path, `-` for stdout, or empty, not {destination!r}"
        )


def _now() -> str:
    """RFC 3339 in UTC, with microseconds."""
    now = time.time()
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now))}.{int(now % 1 * 1e6):06d}Z"


def _encoded(document: dict[str, object]) -> bytes:
    return _ENCODER.encode(document).encode() + b"\n"
