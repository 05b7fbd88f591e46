"""A server that plays the API server, and the transport that asks it."""

import contextlib
import os
from collections.abc import Callable, Iterator

import pytest

from sidecars.statussync.kube.api import KubeApi
from tests.statussync.kube.certificates import Authority, server_context
from tests.statussync.kube.fake_api_server import FakeApiServer, fake_api_server, nothing
from tests.statussync.kube.kubeconfigs import TOKEN, api, kubeconfig, write

MakeApi = Callable[..., KubeApi]


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(str(tmp_path_factory.mktemp("authority")))


@pytest.fixture
def server() -> Iterator[FakeApiServer]:
    """Plain HTTP."""
    with fake_api_server(nothing) as made:
        yield made


@pytest.fixture(params=["http", "https"])
def any_server(request: pytest.FixtureRequest, authority: Authority) -> Iterator[FakeApiServer]:
    tls = server_context(authority.pair()) if request.param == "https" else None
    with fake_api_server(nothing, tls=tls) as made:
        yield made


@pytest.fixture
def make_api(authority: Authority, tmp_path: os.PathLike[str]) -> Iterator[MakeApi]:
    """The transport to a server, with a rate limit that does not matter."""
    with contextlib.ExitStack() as stack:

        def make(server: FakeApiServer, **settings: object) -> KubeApi:
            cluster = {"server": server.url, "certificate-authority": authority.certificate}
            path = os.path.join(tmp_path, f"kubeconfig-{server.port}")
            made = api(write(path, kubeconfig(cluster, {"token": TOKEN})), **settings)  # type: ignore[arg-type]
            stack.callback(made.close)
            return made

        yield make
