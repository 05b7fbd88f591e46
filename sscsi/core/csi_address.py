"""The address of a CSI driver as the upstream sidecars' `--csi-address` takes it."""

_MAX_PATH_BYTES = 107


def parse_csi_address(text: str) -> str:
    """The socket path of `/csi/csi.sock`, `unix:///csi/csi.sock` or `unix:csi.sock`.

    Raises ValueError for what is no unix socket. Upstream hands that to gRPC's resolver and then waits for ever for
    a mere file name, or talks CSI over TCP; here it is a mistake.
    """
    path = text
    if text.startswith("unix:"):
        path = text.removeprefix("unix:").removeprefix("//")
    elif not text.startswith("/"):
        path = ""
    if not path:
        raise ValueError(f"{text!r} is not the address of a unix socket; write /PATH or unix:///PATH")
    # sun_path of unix(7) holds 108 bytes with its NUL.
    if len(path.encode(errors="surrogateescape")) > _MAX_PATH_BYTES:
        raise ValueError(f"{text!r} is too long: a unix socket's path has at most {_MAX_PATH_BYTES} bytes")
    return path
