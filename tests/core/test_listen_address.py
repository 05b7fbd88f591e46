import pytest

from sscsi.core.listen_address import parse_listen_address


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        (":8080", "", "8080"),
        ("127.0.0.1:9809", "127.0.0.1", "9809"),
        ("0.0.0.0:9808", "0.0.0.0", "9808"),
        ("[::1]:80", "::1", "80"),
        ("[::]:0", "::", "0"),
        ("localhost:0", "localhost", "0"),
        (":http", "", "http"),
    ],
)
def test_an_address_is_a_host_and_a_port(text: str, host: str, port: str) -> None:
    assert parse_listen_address(text) == (host, port)


@pytest.mark.parametrize("text", ["", "8080", "localhost", "127.0.0.1:", ":", "::1:80", "[::1]", ":65536"])
def test_anything_else_is_refused_with_its_text(text: str) -> None:
    with pytest.raises(ValueError, match=r"port|colons") as refusal:
        parse_listen_address(text)
    assert repr(text) in str(refusal.value)
