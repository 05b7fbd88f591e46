"""Addresses to listen on as Go writes them: `:8080`, `127.0.0.1:9809`, `[::1]:80`, `localhost:0`."""

OFF = "off"
OFF_WORDS = frozenset({OFF, "0", ""})
"""In the place of an address: listen nowhere. `0` is upstream's word (controller-runtime)."""


def parse_listen_address(text: str) -> tuple[str, str]:
    """Host and port of an address; the host is empty for all interfaces, the port a number or a service's name.

    Raises ValueError, which says what is wrong.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not port:
        raise ValueError(f"{text!r} has no port; write it like :9808 or 127.0.0.1:9808")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"{text!r} has too many colons; write an IPv6 address like [::1]:9808")
    if port.isdecimal() and int(port) > 65535:
        raise ValueError(f"{text!r}: there is no port {port}")
    return host, port
