"""The address of a CSI driver as the upstream sidecars' `--csi-address` takes it."""

_MAX_PATH_BYTES = 107


def parse_csi_address(text: str) -> str:
    """The socket path of `/csi/csi.sock`, `unix:///csi/csi.sock`, `unix:csi.sock` or `csi.sock`.

    Raises ValueError for what is no unix socket. Upstream hands anything without a slash in front to gRPC's resolver:
    it waits for ever for a mere file name, and talks CSI over TCP. Here the one works and the other is a mistake.
    """
    path = text.removeprefix("unix:").removeprefix("//") if text.startswith("unix:") else text
    if not path or (path == text and ":" in text.partition("/")[0]):
        raise ValueError(f"{text!r} is not the address of a unix socket; write /PATH or unix:///PATH")
    # sun_path of unix(7) holds 108 bytes with its NUL.
    if len(path.encode(errors="surrogateescape")) > _MAX_PATH_BYTES:
        raise ValueError(f"{text!r} is too long: a unix socket's path has at most {_MAX_PATH_BYTES} bytes")
    return path
