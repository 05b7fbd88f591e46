import contextlib
import http.client
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping

import pytest

from sscsi.edges.http_pages import HttpPages, Page, PageFunction, Query
from sscsi.errors import ConfigError
from tests.support.waiting import wait_until

ANY = "127.0.0.1:0"
SECONDS = 60.0


def hello(query: Query) -> Page:
    return Page(200, ",".join(f"{key}={value}" for key, value in query.items()) or "hello")


@contextlib.contextmanager
def serving(
    pages: Mapping[str, PageFunction] | None = None, address: str = ANY, **limits: float
) -> Iterator[HttpPages]:
    server = HttpPages(address, pages or {"/hello": hello}, **limits)  # type: ignore[arg-type]
    server.start()
    try:
        yield server
    finally:
        server.close()


def port_of(server: HttpPages) -> int:
    return int(server.address.rpartition(":")[2])


def connect(server: HttpPages, host: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection((host, port_of(server)), SECONDS)


def everything(connection: socket.socket) -> bytes:
    """What comes until the connection ends, however it does."""
    data = b""
    with contextlib.suppress(ConnectionError):
        while piece := connection.recv(65536):
            data += piece
    return data


def answer_to(server: HttpPages, data: bytes, host: str = "127.0.0.1") -> bytes:
    with connect(server, host) as connection:
        connection.sendall(data)
        return everything(connection)


def get(server: HttpPages, target: str = "/hello", method: str = "GET") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port_of(server), timeout=SECONDS)
    with contextlib.closing(connection):
        connection.request(method, target)
        response = connection.getresponse()
        return response.status, response.read()


def test_a_page_is_served_at_its_path_with_its_query() -> None:
    with serving() as server:
        assert get(server) == (200, b"hello")
        assert get(server, "/hello?verbose&a=1") == (200, b"verbose=,a=1")


def test_any_other_path_is_404_as_go_writes_it() -> None:
    with serving() as server:
        assert get(server, "/") == (404, b"404 page not found\n")
        assert get(server, "/hello/") == (404, b"404 page not found\n")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "M-SEARCH"])
def test_any_method_will_do(method: str) -> None:
    with serving() as server:
        assert get(server, method=method) == (200, b"hello")


def test_head_has_the_length_and_no_body() -> None:
    with serving() as server:
        answer = answer_to(server, b"HEAD /hello HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"Content-Length: 5\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")


def test_a_body_is_read_away_so_that_its_sender_is_not_reset() -> None:
    body = b"x" * 30_000
    with serving() as server, connect(server) as connection:
        connection.sendall(b"POST /hello HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body))
        answer = b""
        while not answer.endswith(b"hello"):
            answer += connection.recv(65536)
        for start in range(0, len(body), 10_000):
            connection.sendall(body[start : start + 10_000])
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""


def test_a_request_that_comes_in_pieces_is_put_together() -> None:
    with serving() as server, connect(server) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b"GET /hello HTTP/1.0\r\n\r\n":
            connection.send(bytes([byte]))
        assert everything(connection).endswith(b"hello")


def test_a_client_that_sends_nothing_holds_nobody_up_and_is_let_go() -> None:
    with serving(read_seconds=0.3) as server:
        silent = [connect(server) for _ in range(5)]
        assert get(server) == (200, b"hello")
        for connection in silent:
            assert everything(connection).startswith(b"HTTP/1.1 408 ")
            connection.close()


def test_a_byte_now_and_then_does_not_give_a_client_more_time() -> None:
    with serving(read_seconds=0.3) as server, connect(server) as connection:
        begun = time.monotonic()
        pause = threading.Event()
        with contextlib.suppress(ConnectionError):
            while time.monotonic() < begun + SECONDS:
                connection.send(b"x")
                pause.wait(0.05)
        assert time.monotonic() - begun < SECONDS / 2


def test_when_too_many_clients_are_slow_the_one_that_came_first_makes_room() -> None:
    with serving(max_reading=3) as server:
        slow = [connect(server) for _ in range(4)]
        assert everything(slow[0]) == b""
        slow[3].sendall(b"GET /hello HTTP/1.0\r\n\r\n")
        assert everything(slow[3]).endswith(b"hello")
        for connection in slow:
            connection.close()


def test_pages_in_the_making_are_bounded_and_the_next_one_is_told_at_once() -> None:
    arrived, go_on = threading.Semaphore(0), threading.Event()

    def slow(_query: Query) -> Page:
        arrived.release()
        go_on.wait(SECONDS)
        return Page(200, "slow")

    with serving({"/slow": slow}, max_answering=2) as server:
        callers = [connect(server) for _ in range(2)]
        for caller in callers:
            caller.sendall(b"GET /slow HTTP/1.0\r\n\r\n")
            assert arrived.acquire(timeout=SECONDS)
        assert get(server, "/slow") == (503, b"too many requests at once\n")
        go_on.set()
        for caller in callers:
            assert everything(caller).endswith(b"slow")
            caller.close()
        wait_until(lambda: get(server, "/slow")[0] == 200, "there is room again")


def test_a_page_that_hangs_takes_no_other_pages_place() -> None:
    arrived, go_on = threading.Event(), threading.Event()

    def slow(_query: Query) -> Page:
        arrived.set()
        go_on.wait(SECONDS)
        return Page(200, "slow")

    with serving({"/slow": slow, "/hello": hello}, max_answering=1) as server, connect(server) as caller:
        caller.sendall(b"GET /slow HTTP/1.0\r\n\r\n")
        assert arrived.wait(SECONDS)
        assert get(server, "/slow")[0] == 503
        assert get(server, "/hello") == (200, b"hello")
        go_on.set()
        assert everything(caller).endswith(b"slow")


@pytest.mark.parametrize("path", ["/hello", "/nowhere"])
def test_a_body_that_never_comes_takes_nobodys_place(path: str) -> None:
    request = f"POST {path} HTTP/1.1\r\nContent-Length: 10\r\n\r\n".encode()
    status = b"HTTP/1.1 200" if path == "/hello" else b"HTTP/1.1 404"
    begun = time.monotonic()
    with serving(max_answering=1) as server, contextlib.ExitStack() as stack:

        def is_answered() -> bool:
            caller = stack.enter_context(connect(server))
            caller.sendall(request)
            return everything(caller).startswith(status)

        for _ in range(60):
            # An answer is there a moment before the page's thread has left.
            wait_until(is_answered, "it is answered")
            wait_until(lambda: get(server) == (200, b"hello"), "the page can be had")
    # Each may leave for a second, 60 of them.
    assert time.monotonic() - begun < 30.0


@pytest.mark.parametrize("body", [b"", b"x" * 70_000], ids=["no body", "too much of it"])
def test_who_does_not_leave_is_let_go(body: bytes) -> None:
    with serving() as server:
        before = len(os.listdir("/proc/self/fd"))
        with connect(server) as caller:
            caller.sendall(b"POST /hello HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n")
            assert everything(caller).endswith(b"hello")
            with contextlib.suppress(ConnectionError):
                caller.sendall(body)
            wait_until(lambda: len(os.listdir("/proc/self/fd")) <= before + 1, "only this side is open")


def test_who_leaves_late_makes_room_for_the_next() -> None:
    with serving() as server, contextlib.ExitStack() as stack:
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(200):
            caller = stack.enter_context(connect(server))
            caller.sendall(b"POST /hello HTTP/1.1\r\nContent-Length: 10\r\n\r\n")
            assert everything(caller).endswith(b"hello")
        # This side's 200 are open, and of the server's at most those that may leave late.
        assert len(os.listdir("/proc/self/fd")) - before - 200 <= 64 + 1


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x00\xa5\x01\x00\x00\r\n\r\n", b"400"),
        (b"GET /hello HTTP/1.1\r\nX: " + b"x" * 20_000 + b"\r\n\r\n", b"431"),
        (b"x" * 200_000, b"431"),
    ],
)
def test_what_is_no_request_or_too_large_is_refused(data: bytes, status: bytes) -> None:
    with serving() as server:
        with connect(server) as connection, contextlib.suppress(ConnectionError):
            connection.sendall(data)
            # A reset, for what nobody read, may overtake the answer.
            assert everything(connection)[:12] in {b"HTTP/1.1 " + status, b""}
        assert get(server) == (200, b"hello")


def test_a_refusal_reaches_who_sent_little() -> None:
    with serving() as server:
        assert answer_to(server, b"GET hello HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 400 ")


def test_a_page_that_raises_is_a_500_and_a_log_line_without_the_text(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(_query: Query) -> Page:
        raise LookupError("canary")

    with serving({"/broken": broken}) as server:
        status, body = get(server, "/broken")
    assert status == 500
    assert b"canary" not in body
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert "canary" not in record.getMessage()


def test_a_client_that_hangs_up_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    arrived, go_on, done = threading.Event(), threading.Event(), threading.Event()

    def slow(_query: Query) -> Page:
        arrived.set()
        go_on.wait(SECONDS)
        done.set()
        return Page(200, "x" * 1_000_000)

    with serving({"/slow": slow}) as server:
        connection = connect(server)
        connection.sendall(b"GET /slow HTTP/1.0\r\n\r\n")
        assert arrived.wait(SECONDS)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.close()
        go_on.set()
        assert done.wait(SECONDS)
        assert get(server, "/nowhere")[0] == 404
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []


def test_no_request_is_worth_a_log_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), serving() as server:
        caplog.clear()
        for _ in range(3):
            get(server)
        assert caplog.records == []


def test_all_interfaces_are_those_of_both_kinds() -> None:
    with serving(address=":0") as server:
        request = b"GET /hello HTTP/1.0\r\n\r\n"
        assert answer_to(server, request).endswith(b"hello")
        if socket.has_dualstack_ipv6():
            assert answer_to(server, request, "::1").endswith(b"hello")


def test_a_name_is_looked_up() -> None:
    with serving(address="localhost:0") as server:
        assert server.address.startswith("localhost:")
        assert get(server) == (200, b"hello")


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_an_ipv6_address_is_written_in_brackets() -> None:
    with serving(address="[::1]:0") as server:
        assert server.address == f"[::1]:{port_of(server)}"
        assert answer_to(server, b"GET /hello HTTP/1.0\r\n\r\n", "::1").endswith(b"hello")


def test_a_port_that_is_taken_is_an_error_of_the_machine() -> None:
    with serving() as server:
        second = HttpPages(server.address, {})
        with pytest.raises(ConfigError) as refusal:
            second.start()
        second.close()
        assert refusal.value.exit_code == 1
        assert str(refusal.value) == (
            f"cannot listen on '{server.address}' (Address already in use); "
            "another program listens there: choose another address"
        )
        assert get(server) == (200, b"hello")


@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1:70000", "192.0.2.1:0", "no.such.host.invalid:0"])
def test_an_address_where_nobody_can_listen_is_an_error_that_names_it(address: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        HttpPages(address, {}).start()
    assert refusal.value.exit_code == 1
    assert address in str(refusal.value)
    assert "another program" not in str(refusal.value)


def test_a_closed_server_listens_no_more_and_its_port_is_free_at_once() -> None:
    with serving() as server:
        get(server)
        waiting = connect(server)
        server.close()
        assert not server.is_serving()
        assert everything(waiting) == b""
        waiting.close()
        with pytest.raises(ConnectionRefusedError):
            connect(server)
        with serving(address=server.address) as second:
            assert get(second) == (200, b"hello")


def test_a_page_that_hangs_does_not_keep_the_server_from_closing() -> None:
    arrived, go_on = threading.Event(), threading.Event()

    def stuck(_query: Query) -> Page:
        arrived.set()
        go_on.wait(SECONDS)
        return Page(200, "")

    with serving({"/stuck": stuck}) as server, connect(server) as connection:
        connection.sendall(b"GET /stuck HTTP/1.0\r\n\r\n")
        assert arrived.wait(SECONDS)
        server.close()
        assert not go_on.is_set()
        go_on.set()
        everything(connection)


def test_many_requests_leave_no_thread_and_no_descriptor() -> None:
    threads = threading.active_count() + 1
    with serving() as server:
        get(server)
        wait_until(lambda: threading.active_count() <= threads, "only the server's own thread is left")
        descriptors = len(os.listdir("/proc/self/fd"))
        for _ in range(200):
            get(server)
        wait_until(lambda: threading.active_count() <= threads, "only the server's own thread is left")
        wait_until(lambda: len(os.listdir("/proc/self/fd")) <= descriptors, "no descriptor is left")
