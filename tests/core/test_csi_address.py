import pytest

from sscsi.core.csi_address import parse_csi_address


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("/csi/csi.sock", "/csi/csi.sock"),
        ("unix:///csi/csi.sock", "/csi/csi.sock"),
        ("unix:/csi/csi.sock", "/csi/csi.sock"),
        ("unix://csi/csi.sock", "csi/csi.sock"),
        ("unix:csi.sock", "csi.sock"),
        ("csi/csi.sock", "csi/csi.sock"),
        ("./a:b", "./a:b"),
        ("/" + "a" * 106, "/" + "a" * 106),
    ],
)
def test_a_socket_is_named_with_or_without_its_scheme(text: str, path: str) -> None:
    assert parse_csi_address(text) == path


@pytest.mark.parametrize(
    "text", ["", "unix:", "unix://", "tcp://127.0.0.1:1", "127.0.0.1:1", "dns:///driver", "/" + "a" * 107]
)
def test_what_can_be_no_socket_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="unix socket"):
        parse_csi_address(text)
