"""A socket that listens where Go would, and the reason, with a cure, where nobody can."""

import errno
import os
import socket

from sscsi.core.listen_address import parse_listen_address
from sscsi.errors import ConfigError

_BACKLOG = 1024
_CURES = {
    errno.EADDRINUSE: "another program listens there: choose another address",
    errno.EADDRNOTAVAIL: "no interface of this machine has that address",
    errno.EACCES: "this user may not have that port: choose one above 1023",
}


def listen(address: str) -> socket.socket:
    """Listen at `address`, in Go's form (`listen_address`). Raises ConfigError (exit code 1)."""
    try:
        return _bind(*parse_listen_address(address))
    except ValueError as error:
        raise ConfigError(f"cannot listen: {error}", exit_code=1) from error
    except socket.gaierror as error:
        raise ConfigError(
            f"cannot listen on {address!r}: no such host or service ({error.strerror})", exit_code=1
        ) from error
    except OSError as error:
        # The error's own text has the address again, in Python's form.
        number = error.errno or errno.EINVAL
        cure = _CURES.get(number)
        raise ConfigError(
            f"cannot listen on {address!r} ({os.strerror(number)})" + (f"; {cure}" if cure else ""),
            exit_code=1,
        ) from error


def _bind(host: str, port: str) -> socket.socket:
    """A listening socket; all interfaces are IPv4's and IPv6's where the machine has both, as with Go."""
    if host in {"", "::"} and socket.has_dualstack_ipv6():
        number = _resolve("::", port)[1][1]
        return socket.create_server(
            ("::", number), family=socket.AF_INET6, backlog=_BACKLOG, dualstack_ipv6=True
        )
    family, where = _resolve(host or "0.0.0.0", port)
    return socket.create_server(where[:2], family=family, backlog=_BACKLOG)


def _resolve(host: str, port: str) -> tuple[socket.AddressFamily, tuple[str, int]]:
    """The first address of a host, an IPv4 one before others."""
    # As bytes: text would load the codec of international names, a megabyte, and a program that runs as a user of its
    # own may not be able to read the standard library any more.
    found = socket.getaddrinfo(
        host.encode("ascii", "replace"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    family, _, _, _, where = min(found, key=lambda entry: entry[0] is not socket.AF_INET)
    return family, (str(where[0]), int(where[1]))
