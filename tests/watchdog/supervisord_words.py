"""What supervisord 4.3 sends to a listener, to the byte."""

from sidecars.watchdog.events import Event, EventStream


def envelope(name: str, body: str = "", *, serial: int = 0) -> bytes:
    """One event on the wire."""
    header = f"ver:3.0 server:supervisor serial:{serial} pool:watchdog poolserial:{serial}"
    return f"{header} eventname:{name} len:{len(body)}\n{body}".encode()


def state_body(program: str, state: str, *, from_state: str = "STARTING", pid: int = 0) -> str:
    """The body of a change of state, with the extra values that supervisord has for each."""
    words = f"processname:{program} groupname:{program} from_state:{from_state}"
    if state in {"STARTING", "BACKOFF"}:
        return f"{words} tries:0"
    if state == "EXITED":
        return f"{words} expected:0 pid:{pid}"
    return f"{words} pid:{pid}" if state in {"RUNNING", "STOPPING", "STOPPED"} else words


def state_envelope(
    program: str, state: str, *, from_state: str = "STARTING", pid: int = 0, serial: int = 0
) -> bytes:
    body = state_body(program, state, from_state=from_state, pid=pid)
    return envelope(f"PROCESS_STATE_{state}", body, serial=serial)


def state_event(
    program: str, state: str, *, from_state: str = "STARTING", pid: int = 0, serial: int = 0
) -> Event:
    (event,) = EventStream().feed(
        state_envelope(program, state, from_state=from_state, pid=pid, serial=serial)
    )
    return event


def other_event(name: str, *, serial: int = 0) -> Event:
    (event,) = EventStream().feed(envelope(name, "when:5" if name.startswith("TICK") else "", serial=serial))
    return event
