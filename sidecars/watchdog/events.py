"""supervisord's event listener protocol 3.0, from the listener's side. Pure.

supervisord sends a header line of `key:value` words, among them the body's length, then the body. The listener
answers, then says that it is ready for the next one. Source: supervisor's documentation, "Events".
"""

import dataclasses
from collections.abc import Iterator, Mapping

READY = b"READY\n"
# One write for both: the answer and READY for the next event.
DONE = b"RESULT 2\nOK" + READY

TICK = "TICK_5"
SUPERVISOR_RUNNING = "SUPERVISOR_STATE_CHANGE_RUNNING"
SUPERVISOR_STOPPING = "SUPERVISOR_STATE_CHANGE_STOPPING"
_PROCESS_STATE = "PROCESS_STATE_"

# A header has about 150 bytes, the body of a process state fewer. Whatever is longer is not for us.
_MAX_HEADER_BYTES = 4096
_MAX_BODY_BYTES = 2**20


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event. `serial` grows with each event of a supervisord; an event sent again keeps its own."""

    name: str
    serial: int
    values: Mapping[str, str]

    @property
    def program(self) -> str:
        """The program whose state changed; empty when the event is about something else."""
        return self.values.get("processname", "") if self.name.startswith(_PROCESS_STATE) else ""

    @property
    def state(self) -> str:
        """The program's new state in supervisord's word (RUNNING, FATAL, ...)."""
        return self.name.removeprefix(_PROCESS_STATE)

    @property
    def from_state(self) -> str:
        return self.values.get("from_state", "")

    @property
    def pid(self) -> int:
        """The program's process, or the one that it had when it ended; 0 where the event does not say."""
        text = self.values.get("pid", "")
        return int(text) if text.isdecimal() else 0


class EventStream:
    """Cuts what arrives on stdin into events, however it is chopped up."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Event]:
        """The events that are whole now. Raises ValueError for what is no event; then the stream is of no more use."""
        self._buffer += data
        return list(self._take())

    def _take(self) -> Iterator[Event]:
        while (end := self._buffer.find(b"\n", 0, _MAX_HEADER_BYTES)) >= 0:
            header = _words(self._buffer[:end])
            body_end = end + 1 + _number(header, "len", _MAX_BODY_BYTES)
            if len(self._buffer) < body_end:
                return
            body = bytes(self._buffer[end + 1 : body_end])
            del self._buffer[:body_end]
            yield Event(
                name=header.get("eventname", ""), serial=_number(header, "serial"), values=_words(body)
            )
        if len(self._buffer) >= _MAX_HEADER_BYTES:
            raise ValueError("a header without end")


def _words(data: bytes | bytearray) -> dict[str, str]:
    pairs = (word.partition(":") for word in data.decode(errors="replace").split())
    return {key: value for key, colon, value in pairs if colon}


def _number(header: Mapping[str, str], key: str, limit: int | None = None) -> int:
    text = header.get(key, "")
    if not (text.isascii() and text.isdecimal()) or len(text) > 18 or (limit and int(text) > limit):
        raise ValueError(f"a header whose {key} is no number in reach")
    return int(text)
