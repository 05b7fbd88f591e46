"""The life of a registration: driver, publication, kubelet's word, and again when something is wrong."""

import enum
import logging
import os
import threading
import time
from collections.abc import Callable

from sidecars.registrar.driver import Driver, kind_of_trouble
from sidecars.registrar.patience import Verdict, judge
from sidecars.registrar.pauses import Pauses
from sidecars.registrar.publication import Publication, socket_path
from sidecars.registrar.standing import Board
from sscsi.core import log_keys
from sscsi.core.backoff import delays
from sscsi.edges.directory_watch import DirectoryWatch
from sscsi.errors import ConfigError, DriverCallError, DriverUnreachableError, StoppingError

log = logging.getLogger(__name__)

# Kubelet watches with inotify too, so nothing is missed for long; this is for what the kernel does not tell, such as
# a mount over the directory.
_LOOK_SECONDS = 60.0
# It costs next to nothing to find that nobody listens, and that may change any moment.
_ABSENT = frozenset({"missing", "refused"})


class Ending(enum.Enum):
    """Why a publication ended."""

    STOPPED = "stopped"
    REFUSED = "refused"
    GONE = "gone"
    UNCONFIRMED = "unconfirmed"


class Registration:
    """Keeps one driver registered from `directory`, whatever happens to the socket; tells `board` all along."""

    def __init__(
        self,
        *,
        driver: Driver,
        endpoint: str,
        directory: str,
        watch: DirectoryWatch,
        board: Board,
        judge: Callable[..., Verdict] = judge,
    ) -> None:
        self._driver = driver
        self._endpoint = endpoint
        self._directory = directory
        self._watch = watch
        self._board = board
        self._judge = judge

    def run(self, stop: threading.Event) -> None:
        """Return once `stop` is set (and `watch` woken). Raises ConfigError for what only a person can mend."""
        pauses = Pauses()
        while (name := self._wait_for_driver(stop)) and (publication := self._publish(name, stop)):
            try:
                ending = self._stay(publication, stop)
            finally:
                publication.withdraw()
            where = {log_keys.PATH: publication.path}
            if ending is Ending.STOPPED:
                log.info("the registration socket is withdrawn", extra=where)
            elif seconds := _pause(pauses, publication, ending):
                log.info(
                    "the next registration socket has to wait", extra={**where, log_keys.SECONDS: seconds}
                )
                stop.wait(seconds)

    def _wait_for_driver(self, stop: threading.Event) -> str:
        """The driver's name once it tells it; empty when `stop` was set first."""
        absent = delays(first_seconds=0.05, factor=1.5, max_seconds=0.2)
        troubled = delays(first_seconds=0.2, factor=2.0, max_seconds=5.0)
        where = {log_keys.ADDRESS: self._driver.socket_path}
        # The first question may take long; until it is answered nothing else is said.
        log.info("asking the driver", extra=where)
        said = ""
        while not stop.is_set():
            try:
                name = self._driver.ask_name()
            except StoppingError:
                break
            except (DriverUnreachableError, DriverCallError) as error:
                if (kind := kind_of_trouble(error)) != said:
                    said = kind
                    log.warning("waiting for the driver", extra={**where, log_keys.REASON: str(error)})
                self._board.without_driver(str(error))
                is_absent = isinstance(error, DriverUnreachableError) and error.reason in _ABSENT
                stop.wait(next(absent if is_absent else troubled))
            else:
                log.info("the driver answers", extra={**where, log_keys.DRIVER: name})
                return name
        return ""

    def _publish(self, name: str, stop: threading.Event) -> Publication | None:
        """The publication once it is in place; None when `stop` was set first."""
        path = socket_path(self._directory, name)
        while not stop.is_set():
            if not self._wait_for_directory(stop):
                break
            self._board.with_driver(name, path)
            busy: list[str] = []
            publication = self._publication(name, busy)
            try:
                if publication.serve(stop):
                    for reason in busy:
                        self._board.solved(reason)
                    log.info(
                        "published; waiting for kubelet",
                        extra={
                            log_keys.PATH: path,
                            log_keys.DRIVER: name,
                            log_keys.ADDRESS: self._endpoint,
                        },
                    )
                    return publication
            except ConfigError as error:
                publication.withdraw()
                # The directory may have gone this very moment, and even be there again; otherwise the path can't be
                # had, and why is in the text.
                if os.path.isdir(self._directory) and not isinstance(error.__cause__, FileNotFoundError):
                    raise ConfigError(str(error), exit_code=1) from error
                continue
            publication.withdraw()
        return None

    def _publication(self, name: str, busy: list[str]) -> Publication:
        def wait(reason: str) -> None:
            busy.append(reason)
            self._board.unregistered(reason)

        return Publication(
            directory=self._directory,
            driver_name=name,
            endpoint=self._endpoint,
            on_verdict=self._told,
            on_change=self._watch.wake,
            on_wait=wait,
        )

    def _stay(self, publication: Publication, stop: threading.Event) -> Ending:
        """As long as all is well with the publication."""
        reminded = ""
        while not stop.is_set():
            if publication.is_refused:
                return Ending.REFUSED
            if not publication.is_ours():
                self._warn(publication, "the registration socket was removed or replaced")
                self._board.unregistered("the registration socket was removed or replaced")
                return Ending.GONE
            seconds = _LOOK_SECONDS
            seen = self._board.look()
            if publication.is_confirmed:
                reminded = ""
            else:
                verdict = self._judge(
                    now=time.monotonic(),
                    published_at=publication.published_at,
                    asked_at=publication.asked_at,
                )
                if verdict.is_hopeless:
                    self._warn(publication, "kubelet asked and never said how it ended; publishing anew")
                    return Ending.UNCONFIRMED
                if verdict.reminder not in {"", reminded} and self._board.remind(verdict.reminder, seen=seen):
                    reminded = verdict.reminder
                    self._warn(publication, reminded)
                seconds = min(seconds, verdict.seconds)
            self._watch.wait(seconds)
        return Ending.STOPPED

    def _warn(self, publication: Publication, text: str) -> None:
        log.warning(text, extra={log_keys.PATH: publication.path, log_keys.ADDRESS: self._endpoint})

    def _told(self, is_registered: bool, error: str) -> None:
        """Kubelet's word; called by a thread of the server."""
        where = {log_keys.ADDRESS: self._endpoint}
        if is_registered:
            self._board.registered(time.time())
            log.info("kubelet confirmed the registration", extra=where)
        else:
            log.error("kubelet refused the registration", extra={**where, log_keys.ERROR: error})
            self._board.refused(f"kubelet refused the registration: {error}")

    def _wait_for_directory(self, stop: threading.Event) -> bool:
        """Have the directory watched, once it is there; False when `stop` was set first. Raises ConfigError."""
        said = False
        for delay in delays(first_seconds=0.05, factor=1.5, max_seconds=1.0):
            try:
                self._watch.arm()
                gone = os.stat(self._directory).st_nlink == 0
            except (FileNotFoundError, NotADirectoryError):
                if not said:
                    said = True
                    log.warning(
                        "waiting for the registration directory", extra={log_keys.PATH: self._directory}
                    )
                    self._board.unregistered(f"there is no directory {self._directory}")
                if stop.wait(delay):
                    return False
                continue
            if gone:
                raise ConfigError(
                    f"directory {self._directory!r} was removed on the host, and a container keeps seeing the "
                    "removed one; start the container anew",
                    exit_code=1,
                )
            return True
        raise AssertionError("delays never end")


def _pause(pauses: Pauses, publication: Publication, ending: Ending) -> float:
    if ending is Ending.GONE:
        return pauses.after_removal(lived_seconds=time.monotonic() - publication.published_at)
    return pauses.after_refusal(was_confirmed=publication.was_confirmed)
