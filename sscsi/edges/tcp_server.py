"""A gRPC server on host:port, for a CSI endpoint of the form tcp://; the same face as SocketServer."""

import logging
import threading
from collections.abc import Sequence
from concurrent import futures

import grpc

from sscsi.core.log_keys import PATH
from sscsi.edges.unix_socket import AddServices
from sscsi.errors import ConfigError

log = logging.getLogger(__name__)


class TcpServer:
    """One gRPC server on one TCP address. Nothing guards it: whoever reaches the port may call."""

    def __init__(
        self,
        address: str,
        *,
        add_services: AddServices,
        pool: futures.Executor,
        interceptors: Sequence[grpc.ServerInterceptor],
    ) -> None:
        self.path = address
        self._server = grpc.server(
            # gRPC's type says ThreadPoolExecutor; it calls nothing of it but submit.
            pool,  # type: ignore[arg-type]
            interceptors=list(interceptors),
            options=(("grpc.so_reuseport", 0),),
        )
        add_services(self._server)

    def check(self) -> None:
        """Nothing to check before the port is taken."""

    def claim(self, stop: threading.Event) -> bool:
        """As SocketServer's; a port can't be had before it is listened on."""
        return not stop.is_set()

    def serve(self, stop: threading.Event) -> bool:
        """Listen. Raises ConfigError when the address is taken or wrong."""
        try:
            self._server.add_insecure_port(self.path)
        except RuntimeError as error:
            raise ConfigError(
                f"flag --endpoint: cannot listen on tcp://{self.path}; is the port taken?", exit_code=1
            ) from error
        self._server.start()
        log.warning(
            "serving CSI on TCP: every process that reaches the port may read secrets",
            extra={PATH: self.path},
        )
        return not stop.is_set()

    def is_ours(self) -> bool:
        """A port can't be taken away from the process that listens on it."""
        return True

    def stop_accepting(self, grace_seconds: float) -> threading.Event:
        """As SocketServer's."""
        return self._server.stop(grace_seconds)

    def close(self) -> None:
        """The kernel has taken the port back already."""
