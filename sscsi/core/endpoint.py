"""CSI endpoints as upstream writes them: `unix://tmp/csi.sock`, `unix:///csi/csi.sock`, `tcp://127.0.0.1:0`."""

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where a gRPC server listens: an absolute socket path (`scheme` unix) or host:port (`scheme` tcp)."""

    scheme: str
    address: str


def parse_endpoint(text: str) -> Endpoint:
    """Parse an endpoint; a unix address without a leading slash gets one (upstream-driver reference, 1.4).

    Unlike upstream, which fails on it while listening, an upper-case scheme is understood.

    Raises ValueError with upstream's text.
    """
    scheme, separator, address = text.partition("://")
    scheme = scheme.lower()
    path = address.lstrip("/")
    if not separator or scheme not in {"unix", "tcp"} or not path:
        raise ValueError(f"invalid endpoint: {text}")
    return Endpoint(scheme=scheme, address="/" + path if scheme == "unix" else address)
