"""The registrar from its first socket to its last: what it serves beside the registration itself."""

import contextlib
import logging
import os
import threading

from sidecars.registrar.driver import Driver
from sidecars.registrar.healthz import HealthPage
from sidecars.registrar.metrics import registration_families
from sidecars.registrar.namesakes import Namesakes
from sidecars.registrar.registration import Registration
from sidecars.registrar.standing import Board
from sscsi.core.log_keys import PATH
from sscsi.edges.directory_watch import DirectoryWatch
from sscsi.edges.http_pages import HttpPages
from sscsi.edges.room_status import state_server
from sscsi.edges.run_directory import make_run_directory
from sscsi.edges.unix_socket import SocketServer
from sscsi.errors import ConfigError

log = logging.getLogger(__name__)

_GRACE_SECONDS = 0.2
_LOOK_SECONDS = 1.0
# What kubelet gives a registration socket.
_KUBELETS_SECONDS = 1.0


class RegistrarRoom:
    """Every object of the room. `health_address` and `run_directory` may be empty: no page, no state socket."""

    def __init__(
        self,
        *,
        driver: Driver,
        endpoint: str,
        directory: str,
        health_address: str,
        health_timeout_seconds: float,
        run_directory: str,
    ) -> None:
        self._driver = driver
        self._directory = directory
        self._board = Board(endpoint)
        self._run_directory = run_directory
        self._watch = DirectoryWatch(directory)
        self._registration = Registration(
            driver=driver, endpoint=endpoint, directory=directory, watch=self._watch, board=self._board
        )
        self._namesakes = Namesakes(
            directory, timeout_seconds=_KUBELETS_SECONDS, tell=self._board.with_namesakes
        )
        health = HealthPage(self._board, timeout_seconds=health_timeout_seconds)
        self._pages = HttpPages(health_address, {"/healthz": health.page}) if health_address else None
        self._state: SocketServer | None = None
        self._failure: Exception | None = None

    def run(self, stop: threading.Event) -> int:
        """Serve until `stop` is set; the exit code. Raises ConfigError."""
        _check_directory(self._directory)
        with contextlib.ExitStack() as stack:
            stack.callback(self._watch.close)
            if self._pages:
                self._pages.start()
                stack.callback(self._pages.close)
            stack.callback(self._give_up_state)
            if self._run_directory and not self._serve_state(stop):
                return 0
            thread = threading.Thread(target=self._register, args=(stop,), name="registration")
            thread.start()
            try:
                self._stay(stop)
            finally:
                stop.set()
                self._driver.close()
                self._watch.wake()
                thread.join()
        if isinstance(self._failure, ConfigError):
            raise self._failure
        return 1 if self._failure else 0

    def _stay(self, stop: threading.Event) -> None:
        """Until `stop` is set. A state socket that is gone is made anew in here: another process would have to
        register again, and kubelet would forget the driver meanwhile.
        """
        while not stop.wait(_LOOK_SECONDS):
            standing = self._board.look()
            self._namesakes.look(standing.driver_name, os.path.basename(standing.socket_path))
            if self._state and not self._state.is_ours():
                log.warning(
                    "the socket was replaced or removed; making it anew", extra={PATH: self._state.path}
                )
                self._give_up_state()
                self._serve_state(stop)

    def _serve_state(self, stop: threading.Event) -> bool:
        make_run_directory(self._run_directory)
        look = self._board.look
        self._state = state_server(
            self._run_directory,
            "registrar",
            lambda: look().room_status(),
            lambda: registration_families(look()),
        )
        return self._state.serve(stop)

    def _give_up_state(self) -> None:
        if self._state:
            self._state.stop_accepting(_GRACE_SECONDS).wait(2 * _GRACE_SECONDS)
            self._state.close()

    def _register(self, stop: threading.Event) -> None:
        """The top of the thread: whatever ends it ends the process."""
        try:
            self._registration.run(stop)
        except ConfigError as error:
            self._failure = error
        except Exception as error:
            log.exception("the registration ended unasked")
            self._failure = error
        finally:
            stop.set()


def _check_directory(path: str) -> None:
    """Raise ConfigError when nothing can be registered here; found out before the driver is waited for."""
    cure = "mount kubelet's plugins_registry there, or change --plugin-registration-path"
    if not os.path.isdir(path):
        raise ConfigError(f"there is no directory {path!r}; {cure}", exit_code=1)
    if not os.access(path, os.W_OK | os.X_OK):
        raise ConfigError(f"directory {path!r} is not writable; {cure}", exit_code=1)
