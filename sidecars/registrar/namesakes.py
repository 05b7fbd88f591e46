"""Other drivers of this node that tell kubelet our name: with two, kubelet calls whichever registered last."""

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent import futures

import grpc

from sidecars.registrar.registration_service import SELF_CHECK
from sscsi.core import log_keys
from sscsi.core.finding import Word, fail
from sscsi.edges.unix_socket import unix_target
from sscsi.pb import pluginregistration_pb2, pluginregistration_pb2_grpc

log = logging.getLogger(__name__)

_AT_ONCE = 8
_MAX_SOCKETS = 64
# A socket that did not answer may do so later; kubelet asks it again, too.
_AGAIN_SECONDS = 60.0


def registration_sockets(directory: str) -> list[str]:
    """The names in kubelet's registration directory that kubelet would ask. Raises OSError."""
    return sorted(
        name for name in os.listdir(directory) if name.endswith(".sock") and not name.startswith(".")
    )


def who_tells(directory: str, names: Sequence[str], driver_name: str, timeout_seconds: float) -> list[str]:
    """Which of the sockets tell that name of a driver."""
    told = told_names(directory, names, timeout_seconds)
    return [name for name, other in told.items() if other == driver_name]


def told_names(directory: str, names: Sequence[str], timeout_seconds: float) -> dict[str, str]:
    """The driver's name by socket, as each tells it; empty for one that does not answer."""
    names = names[:_MAX_SOCKETS]
    with futures.ThreadPoolExecutor(_AT_ONCE) as pool:
        told = pool.map(lambda name: _registered_name(os.path.join(directory, name), timeout_seconds), names)
        return dict(zip(names, told, strict=True))


def twice_word(driver_name: str, names: Sequence[str]) -> Word:
    """What to say of a driver that several sockets tell kubelet of."""
    found = f"{driver_name} is registered {len(names)} times, by {' and '.join(sorted(names))}"
    return fail(
        found, "remove one of the two drivers from this node: kubelet calls whichever registered last"
    )


class Namesakes:
    """Asks each socket of `directory` that is new whether it tells our name; `tell` hears of what is amiss, and when it is not.

    Nobody waits for the answers: a socket may hang.
    """

    def __init__(
        self,
        directory: str,
        *,
        timeout_seconds: float,
        tell: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._directory = directory
        self._timeout_seconds = timeout_seconds
        self._tell = tell
        self._clock = clock
        self._asked: tuple[str, frozenset[tuple[str, int]]] | None = None
        self._asked_at = 0.0
        self._all_answered = False
        self._said = ""
        self._asking: threading.Thread | None = None

    def look(self, driver_name: str, own_name: str) -> None:
        """Ask, if there is anybody new. `own_name` is that of our own socket; empty while there is none."""
        if not own_name or (self._asking and self._asking.is_alive()):
            return
        try:
            names = [name for name in registration_sockets(self._directory) if name != own_name]
            # A socket that took another's place is another one.
            present = frozenset(
                (name, os.lstat(os.path.join(self._directory, name)).st_ino) for name in names
            )
        except OSError:
            # The registration itself says what is wrong with the directory.
            return
        now = self._clock()
        # Whoever has answered is not asked again: a registrar may take each question for kubelet's.
        is_over = self._all_answered or now - self._asked_at < _AGAIN_SECONDS
        if (driver_name, present) == self._asked and is_over:
            return
        self._asked, self._asked_at, self._all_answered = (driver_name, present), now, False
        self._asking = threading.Thread(
            target=self._ask, args=(driver_name, own_name, names), name="namesakes", daemon=True
        )
        self._asking.start()

    def _ask(self, driver_name: str, own_name: str, names: Sequence[str]) -> None:
        told = told_names(self._directory, names, self._timeout_seconds)
        self._all_answered = all(told.values())
        others = [name for name, other in told.items() if other == driver_name]
        word = twice_word(driver_name, [own_name, *others]) if others else None
        problem = f"{word.found}; {word.cure}" if word else ""
        if problem and problem != self._said:
            log.warning(
                "another driver of the same name is on this node",
                extra={log_keys.PATH: self._directory, log_keys.REASON: problem},
            )
        elif self._said and not problem:
            log.info("the other driver of the same name is gone", extra={log_keys.PATH: self._directory})
        self._said = problem
        self._tell(problem)


def _registered_name(path: str, timeout_seconds: float) -> str:
    """The name that kubelet is told at a registration socket; empty when nobody answers.

    Our registrar is told that it is not kubelet who asks.
    """
    with grpc.insecure_channel(unix_target(path), (("grpc.default_authority", "localhost"),)) as channel:
        try:
            answer = pluginregistration_pb2_grpc.RegistrationStub(channel).GetInfo(
                pluginregistration_pb2.InfoRequest(), timeout=timeout_seconds, metadata=(SELF_CHECK,)
            )
        except grpc.RpcError:
            return ""
        return str(answer.name)
