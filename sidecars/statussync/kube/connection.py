"""Where the API server is and who we are to it: kubeconfig, in-cluster credentials, TLS."""

import dataclasses
import socket
import ssl
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import urllib3

from sidecars.statussync.kube.client_parts import ClientParts, in_cluster_parts, kubeconfig_parts
from sscsi.errors import ConfigError

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
    return lambda: _load(parts, where)


def _load(parts: ClientParts, where: str) -> Access:
    configuration = parts.new_configuration()
    try:
        parts.load(configuration)
        pool = parts.new_rest_client(configuration).pool_manager
        _share_tls(pool.connection_pool_kw)
    except (parts.errors, OSError, ValueError, TypeError, KeyError) as error:
        # Its text may quote the file, in which there are credentials.
        reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
        raise ConfigError(f"{where} can't be used ({reason})", exit_code=1) from error
    _check_security(configuration, where)
    return Access(configuration=configuration, pool=pool)


def _check_security(configuration: Any, where: str) -> None:
    url = urlsplit(configuration.host)
    if not configuration.verify_ssl:
        raise ConfigError(
            f"{where} asks for a server certificate that is not verified; give its certificate authority instead",
            exit_code=1,
        )
    if url.scheme != "https" and url.hostname not in _LOOPBACK:
        raise ConfigError(
            f"{where} leads to {url.scheme}://{url.hostname}: only https is safe beyond this machine",
            exit_code=1,
        )


class Connection:
    """Connections to one API server, with the credentials of one moment. Threads may share it."""

    def __init__(self, access: Access) -> None:
        self._configuration = access.configuration
        self._host = access.configuration.host.rstrip("/")
        self._pool = access.pool

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
        """One request, sent once. Raises urllib3.exceptions.HTTPError."""
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
        """Close the connections that nobody uses just now."""
        self._pool.clear()

    def _credentials(self) -> dict[str, str]:
        # In a pod the package reads the token's file again once a minute.
        settings = self._configuration.auth_settings()
        return {
            setting["key"]: setting["value"]
            for setting in settings.values()
            if setting["in"] == "header" and setting["value"]
        }


def _share_tls(options: dict[str, Any]) -> None:
    """One TLS context for all connections: urllib3 makes one for each otherwise, which costs time and memory."""
    options["socket_options"] = list(_SOCKET_OPTIONS)
    options["maxsize"] = 4
    files = {key: options.pop(key, None) for key in ("ca_certs", "ca_cert_data", "cert_file", "key_file")}
    context = ssl.create_default_context(cafile=files["ca_certs"], cadata=files["ca_cert_data"])
    if files["cert_file"]:
        context.load_cert_chain(files["cert_file"], files["key_file"])
    options["ssl_context"] = context
