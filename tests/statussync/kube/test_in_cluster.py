"""In a pod: the server from the environment, the token and the authority from files that change."""

import dataclasses
import datetime as dt
import os
from collections.abc import Iterator
from typing import Any

import pytest

from sidecars.statussync.kube.api import KubeApi
from sidecars.statussync.kube.client_parts import ClientParts, in_cluster_parts
from sidecars.statussync.kube.connection import Access, load_access
from sidecars.statussync.kube.rate_limit import RateLimit
from sscsi.errors import ClusterUnavailableError, ConfigError
from tests.statussync.kube.certificates import Authority, server_context
from tests.statussync.kube.fake_api_server import (
    Exchange,
    FakeApiServer,
    fake_api_server,
    json_answer,
    status_answer,
)

PATH = "/api/v1/pods"
WHERE = "the in-cluster credentials"
OK = json_answer(200, {})
# Without a time zone, as the package has it.
LONG_AGO = dt.datetime(2000, 1, 1)  # noqa: DTZ001


@pytest.fixture
def tls_server(authority: Authority) -> Iterator[FakeApiServer]:
    with fake_api_server(OK, tls=server_context(authority.pair())) as made:
        yield made


class Pod:
    """The files and the environment of a pod, as the package reads them."""

    def __init__(self, directory: str, authority: Authority, port: int) -> None:
        self.token_file = os.path.join(directory, "token")
        self.put("the-first-token")
        self.certificate_file = authority.certificate
        self.environ = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(port)}
        parts = in_cluster_parts()
        self._package: Any = parts.load.__globals__["InClusterConfigLoader"]
        self._parts: ClientParts = dataclasses.replace(parts, load=self._load)
        self.readers: list[Any] = []

    def put(self, token: str) -> None:
        with open(self.token_file, "w", encoding="ascii") as file:
            file.write(token)

    def access(self) -> Access:
        return load_access(self._parts, WHERE, is_in_pod=True)

    def _load(self, configuration: Any) -> None:
        reader = self._package(
            token_filename=self.token_file, cert_filename=self.certificate_file, environ=self.environ
        )
        self.readers.append(reader)
        reader.load_and_set(configuration)


@pytest.fixture
def pod(tmp_path: os.PathLike[str], authority: Authority, tls_server: FakeApiServer) -> Pod:
    return Pod(os.fspath(tmp_path), authority, tls_server.port)


@pytest.fixture
def api(pod: Pod) -> Iterator[KubeApi]:
    made = KubeApi(pod.access, RateLimit(per_second=100, burst=100))
    yield made
    made.close()


def ask(api: KubeApi) -> None:
    api.call("GET", PATH, timeout_seconds=10.0)


def test_the_token_is_read_again_once_a_minute(pod: Pod, api: KubeApi, tls_server: FakeApiServer) -> None:
    ask(api)
    pod.put("the-second-token\n")
    ask(api)
    (reader,) = pod.readers
    assert reader.token_expires_at <= dt.datetime.now() + dt.timedelta(minutes=1)  # noqa: DTZ005 - as the package
    reader.token_expires_at = LONG_AGO
    ask(api)
    assert [request.token for request in tls_server.requests] == [
        "the-first-token",
        "the-first-token",
        "the-second-token",
    ]
    assert len(tls_server.connections) == 1


def test_the_token_is_read_again_at_once_when_it_is_refused(
    pod: Pod, api: KubeApi, tls_server: FakeApiServer
) -> None:
    def door(exchange: Exchange) -> None:
        good = exchange.request.token == "the-second-token"
        (OK if good else status_answer(401, "Unauthorized"))(exchange)

    tls_server.answers(door)
    pod.put("the-second-token")
    ask(api)
    ask(api)
    assert len(tls_server.requests) == 3
    assert len(pod.readers) == 2


@pytest.mark.parametrize("is_there", [True, False])
def test_a_token_that_goes_away_is_no_request_until_it_is_back(
    pod: Pod, api: KubeApi, tls_server: FakeApiServer, is_there: bool
) -> None:
    os.truncate(pod.token_file, 0)
    if not is_there:
        os.unlink(pod.token_file)
    pod.readers[0].token_expires_at = LONG_AGO
    with pytest.raises(ClusterUnavailableError, match="the credentials can't be read"):
        ask(api)
    assert not tls_server.requests
    pod.put("the-second-token")
    ask(api)
    assert tls_server.requests[0].token == "the-second-token"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("KUBERNETES_SERVICE_PORT", ""),
        ("KUBERNETES_SERVICE_PORT", "port"),
        ("KUBERNETES_SERVICE_HOST", ""),
    ],
)
def test_an_environment_that_is_none_is_refused(pod: Pod, variable: str, value: str) -> None:
    pod.environ[variable] = value
    with pytest.raises(ConfigError, match=WHERE):
        pod.access()


@pytest.mark.parametrize("content", [None, b"", b"garbage"])
def test_an_authority_that_is_none_is_refused(
    pod: Pod, tmp_path: os.PathLike[str], content: bytes | None
) -> None:
    pod.certificate_file = os.path.join(tmp_path, "ca.crt")
    if content is not None:
        with open(pod.certificate_file, "wb") as file:
            file.write(content)
    with pytest.raises(ConfigError, match=r"[Cc]ert"):
        pod.access()


@pytest.mark.parametrize("is_there", [True, False])
def test_a_pod_without_a_token_is_refused(pod: Pod, is_there: bool) -> None:
    pod.put("")
    if not is_there:
        os.unlink(pod.token_file)
    with pytest.raises(ConfigError, match=r"[Tt]oken file"):
        pod.access()
