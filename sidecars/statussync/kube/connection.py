"""Where the API server is and who we are to it: kubeconfig, in-cluster credentials, TLS."""

import dataclasses
import logging
import socket
import ssl
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import urllib3

from sidecars.statussync.kube.client_parts import ClientParts, in_cluster_parts, kubeconfig_parts
from sidecars.statussync.kube.wire import Wires
from sscsi.errors import ClusterUnavailableError, ConfigError

# A peer that is gone without a word (its machine died) is noticed within a minute, at no request's cost: tcp(7).
_SOCKET_OPTIONS = (
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
)
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How to get at an API server: the `kubernetes` package's configuration, and connections that follow it."""

    configuration: Any
    pool: urllib3.PoolManager


LoadAccess = Callable[[], Access]


def loader(kubeconfig: str) -> LoadAccess:
    """How to get at the API server: by the kubeconfig files, or, where that is empty, as the pod that this runs in.

    The function reads the files each time it is called. Raises ConfigError.
    """
    parts = kubeconfig_parts(kubeconfig) if kubeconfig else in_cluster_parts()
    where = f"kubeconfig {kubeconfig}" if kubeconfig else "the in-cluster credentials"
    return lambda: load_access(parts, where, is_in_pod=not kubeconfig)


def load_access(parts: ClientParts, where: str, *, is_in_pod: bool) -> Access:
    """Read what the `kubernetes` package reads; `where` is that in words. Raises ConfigError."""
    # It warns of each connection that it does not keep. What matters of the rest is an error here.
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
    configuration = parts.new_configuration()
    # The package's own would be http://localhost.
    configuration.host = ""
    try:
        parts.load(configuration)
        pool = parts.new_rest_client(configuration).pool_manager
        _check_security(configuration, pool, where)
        _share_tls(pool.connection_pool_kw)
    except ConfigError:
        raise
    except Exception as error:  # noqa: BLE001 - a file can be wrong in any way, and a traceback would quote it
        # What the package says of a pod's files quotes nothing of them.
        reason = str(error) if is_in_pod and isinstance(error, parts.errors) else _reason(error)
        raise ConfigError(f"{where} can't be used: {reason}", exit_code=1) from None
    return Access(configuration=configuration, pool=pool)


def _reason(error: Exception) -> str:
    """What is wrong; the error's own text may quote the file, in which there are credentials."""
    if isinstance(error, ssl.SSLError):
        return "a certificate or key in it can't be read"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"something in it is missing or malformed ({type(error).__name__})"


def _check_security(configuration: Any, pool: urllib3.PoolManager, where: str) -> None:
    url = urlsplit(configuration.host)
    if not configuration.verify_ssl:
        raise ConfigError(
            f"{where} asks for a server certificate that is not verified; give its certificate authority instead",
            exit_code=1,
        )
    # A port that is none is a ValueError.
    if url.scheme not in {"http", "https"} or not url.hostname or url.port == 0:
        raise ConfigError(f"{where} has no server that is a URL, as https://HOST:PORT", exit_code=1)
    if url.scheme == "http" and (url.hostname not in _LOOPBACK or pool.proxy):
        raise ConfigError(
            f"{where} leads to http://{url.hostname}: only https is safe beyond this machine", exit_code=1
        )


class Connection:
    """Connections to one API server, with the credentials of one moment. Threads may share it."""

    def __init__(self, access: Access) -> None:
        self._configuration = access.configuration
        self._host = access.configuration.host.rstrip("/")
        self._pool = access.pool
        self._wires = Wires(access.pool)
        self._sent: list[str] = []

    def request(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str],
        body: bytes | None,
        timeout: urllib3.Timeout,
        stream: bool = False,
    ) -> urllib3.BaseHTTPResponse:
        """One request, sent once. What `timeout` leaves for reading is for all of the answer; for its head in a stream.

        Raises urllib3.exceptions.HTTPError, and ClusterUnavailableError for credentials that can't be sent.
        """
        return self._pool.request(
            method,
            self._host + path,
            headers={**headers, **self._credentials()},
            body=body,
            timeout=timeout,
            retries=False,
            redirect=False,
            preload_content=not stream,
        )

    def close(self) -> None:
        """Break off what is under way, and close the rest."""
        self._wires.close()

    def close_unused(self) -> None:
        """Close the connections that nobody uses just now."""
        self._wires.close_unused()

    @property
    def secrets(self) -> list[str]:
        """The credentials that were sent last: they must be in no message."""
        return self._sent

    def _credentials(self) -> dict[str, str]:
        try:
            # In a pod the package reads the token's file again once a minute.
            settings = self._configuration.auth_settings()
        except Exception as error:  # noqa: BLE001 - as for `load_access`
            raise ClusterUnavailableError(f"the credentials can't be read: {_reason(error)}") from None
        # A token's file may end with a newline, which would end the header.
        credentials = {
            setting["key"]: " ".join(setting["value"].split())
            for setting in settings.values()
            if setting["in"] == "header" and setting["value"]
        }
        if not all(value.isascii() and value.isprintable() for value in credentials.values()):
            raise ClusterUnavailableError("the credentials have characters that no token has")
        self._sent = [value.rpartition(" ")[2] for value in credentials.values()]
        return credentials


def _share_tls(options: dict[str, Any]) -> None:
    """One TLS context for all connections: urllib3 makes one for each otherwise, which costs time and memory."""
    options["socket_options"] = list(_SOCKET_OPTIONS)
    options["maxsize"] = 4
    files = {key: options.pop(key, None) for key in ("ca_certs", "ca_cert_data", "cert_file", "key_file")}
    context = ssl.create_default_context(cafile=files["ca_certs"], cadata=files["ca_cert_data"])
    if files["cert_file"]:
        context.load_cert_chain(files["cert_file"], files["key_file"])
    options["ssl_context"] = context
