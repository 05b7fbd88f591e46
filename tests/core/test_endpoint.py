import pytest
from hypothesis import given
from hypothesis import strategies as st

from sscsi.core.endpoint import Endpoint, parse_endpoint


@pytest.mark.parametrize(
    ("text", "scheme", "address"),
    [
        ("unix:///csi/csi.sock", "unix", "/csi/csi.sock"),
        # Upstream's default: without the third slash, and absolute all the same.
        ("unix://tmp/csi.sock", "unix", "/tmp/csi.sock"),
        ("unix:////csi/csi.sock", "unix", "/csi/csi.sock"),
        ("UNIX:///csi/csi.sock", "unix", "/csi/csi.sock"),
        ("unix:///csi/a://b.sock", "unix", "/csi/a://b.sock"),
        ("tcp://127.0.0.1:0", "tcp", "127.0.0.1:0"),
        ("TCP://[::1]:9000", "tcp", "[::1]:9000"),
    ],
)
def test_endpoints_are_read_as_upstream_writes_them(text: str, scheme: str, address: str) -> None:
    assert parse_endpoint(text) == Endpoint(scheme=scheme, address=address)


@pytest.mark.parametrize(
    "text",
    ["", "unix", "unix:", "unix:/csi.sock", "unix://", "unix:///", "tcp://", "http://x", "/csi.sock", "://x"],
)
def test_anything_else_is_refused_with_upstreams_text(text: str) -> None:
    with pytest.raises(ValueError, match=r"^invalid endpoint: ") as refusal:
        parse_endpoint(text)
    assert str(refusal.value) == f"invalid endpoint: {text}"


@given(st.text(min_size=1).filter(lambda text: text.strip("/")))
def test_a_socket_path_is_always_absolute_and_never_starts_with_two_slashes(text: str) -> None:
    address = parse_endpoint("unix://" + text).address
    assert address.startswith("/")
    assert not address.startswith("//")
    assert address.lstrip("/") == text.lstrip("/")
