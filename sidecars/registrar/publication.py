"""One registration socket, from its binding to its unlinking, and what kubelet said at it."""

import os
import threading
import time
from collections.abc import Callable
from concurrent import futures

from sidecars.registrar.registration_service import RegistrationService
from sscsi.core.redaction import clean_message
from sscsi.edges.grpc_status import StatusInterceptor
from sscsi.edges.unix_socket import SocketServer
from sscsi.pb import pluginregistration_pb2_grpc

_MODE = 0o700
# Kubelet's one call at a time, and health pages beside it.
_THREADS = 4
# For the answer to kubelet's refusal, which is what ends a publication.
_GRACE_SECONDS = 0.5


def socket_path(directory: str, driver_name: str) -> str:
    """Where the registration socket of a driver is; the name is upstream's."""
    return os.path.join(directory, f"{driver_name}-reg.sock")


class Publication:
    """Serves kubelet's questions about one driver at one path.

    `on_verdict` is told of kubelet's word (registered, its error); `on_change` that there is something to look at;
    `on_wait` why the path can't be had now. The first two are called by the server's threads.
    """

    def __init__(
        self,
        *,
        directory: str,
        driver_name: str,
        endpoint: str,
        on_verdict: Callable[[bool, str], None],
        on_change: Callable[[], None],
        on_wait: Callable[[str], None],
    ) -> None:
        self.path = socket_path(directory, driver_name)
        self.published_at = 0.0
        self.asked_at: float | None = None
        self.is_confirmed = False
        """Kubelet said yes to its last question; one that restarts asks anew."""
        self.is_refused = False
        self.was_confirmed = False
        """It said yes once."""
        self._on_verdict = on_verdict
        self._on_change = on_change
        service = RegistrationService(
            driver_name=driver_name, endpoint=endpoint, on_asked=self._asked, on_verdict=self._told
        )
        self._pool = futures.ThreadPoolExecutor(_THREADS, "registration")
        self._server = SocketServer(
            self.path,
            mode=_MODE,
            add_services=lambda server: pluginregistration_pb2_grpc.add_RegistrationServicer_to_server(
                service, server
            ),
            pool=self._pool,
            interceptors=[StatusInterceptor()],
            on_wait=on_wait,
        )

    def serve(self, stop: threading.Event) -> bool:
        """Wait for the path and publish. False when `stop` was set first. Raises ConfigError."""
        if not self._server.serve(stop):
            return False
        self.published_at = time.monotonic()
        return True

    def is_ours(self) -> bool:
        """Whether the path is still the very socket that was published."""
        return self._server.is_ours()

    def withdraw(self) -> None:
        """Unlink the socket if it is still ours, and finish what kubelet is asking."""
        self._server.stop_accepting(_GRACE_SECONDS).wait(2 * _GRACE_SECONDS)
        self._server.close()
        self._pool.shutdown(wait=False)

    def _asked(self) -> None:
        # In this order: another thread that finds it unconfirmed must find the time of this question.
        self.asked_at = time.monotonic()
        self.is_confirmed = False
        self._on_change()

    def _told(self, is_registered: bool, error: str) -> None:
        self.is_confirmed = is_registered
        self.is_refused = not is_registered
        self.was_confirmed = self.was_confirmed or is_registered
        self._on_verdict(is_registered, clean_message(error, ()))
        self._on_change()
