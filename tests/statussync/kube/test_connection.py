"""Where the API server is and who we are: every form of a kubeconfig, and whom we do not trust."""

import base64
import datetime as dt
import inspect
import json
import os
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from sidecars.statussync.kube.api_errors import ApiError
from sidecars.statussync.kube.connection import loader
from sscsi.errors import ConfigError
from tests.statussync.kube.certificates import Authority, server_context
from tests.statussync.kube.fake_api_server import FakeApiServer, fake_api_server, json_answer
from tests.statussync.kube.kubeconfigs import TOKEN, api, kubeconfig, write
from tests.support.forked import in_child

PATH = "/api/v1/pods"
OK = json_answer(200, {"kind": "PodList"})
PROXIES = {f"{scheme}_PROXY" for scheme in ("HTTP", "HTTPS", "ALL", "NO")}


def _knows_proxy_url() -> bool:
    from kubernetes.config import kube_config  # noqa: PLC0415

    return "proxy-url" in inspect.getsource(kube_config)


needs_proxy_url = pytest.mark.skipif(
    not _knows_proxy_url(), reason="this release of the kubernetes package has no proxy-url"
)


@pytest.fixture
def place(tmp_path: os.PathLike[str]) -> str:
    return os.fspath(tmp_path)


def ask(path: str) -> None:
    """One request by that kubeconfig."""
    made = api(path)
    try:
        assert made.call("GET", PATH, timeout_seconds=10.0) == {"kind": "PodList"}
    finally:
        made.close()


def data(path: str) -> str:
    with open(path, "rb") as file:
        return base64.b64encode(file.read()).decode()


def refused(path: str) -> str:
    with pytest.raises(ConfigError) as caught:
        loader(path)()
    assert TOKEN not in "".join(traceback.format_exception(caught.value))
    assert "\n" not in str(caught.value)
    assert path in str(caught.value)
    assert caught.value.exit_code == 1
    return str(caught.value)


def test_a_token_and_the_data_of_an_authority(place: str, authority: Authority) -> None:
    with fake_api_server(OK, tls=server_context(authority.pair())) as server:
        cluster = {"server": server.url + "/", "certificate-authority-data": data(authority.certificate)}
        ask(write(os.path.join(place, "config"), kubeconfig(cluster, {"token": TOKEN})))
        assert server.requests[0].token == TOKEN
        assert server.requests[0].target == PATH


def test_a_file_for_the_token_beside_the_kubeconfig(place: str, server: FakeApiServer) -> None:
    server.answers(OK)
    with open(os.path.join(place, "token"), "w", encoding="ascii") as file:
        file.write(f"{TOKEN}\n")
    ask(write(os.path.join(place, "config"), kubeconfig({"server": server.url}, {"tokenFile": "token"})))
    assert server.requests[0].token == TOKEN


@pytest.mark.parametrize("form", ["data", "path"])
def test_a_client_certificate(place: str, authority: Authority, form: str) -> None:
    client = authority.pair("client")
    if form == "data":
        user = {"client-certificate-data": data(client.certificate), "client-key-data": data(client.key)}
    else:
        user = {"client-certificate": client.certificate, "client-key": client.key}
    tls = server_context(authority.pair(), clients_of=authority.certificate)
    with fake_api_server(OK, tls=tls) as server:
        cluster = {"server": server.url, "certificate-authority": authority.certificate}
        ask(write(os.path.join(place, "config"), kubeconfig(cluster, user)))
        assert "authorization" not in server.requests[0].headers


def test_a_user_and_a_password(place: str, server: FakeApiServer) -> None:
    server.answers(OK)
    user = {"username": "me", "password": "pass-word"}
    ask(write(os.path.join(place, "config"), kubeconfig({"server": server.url}, user)))
    assert base64.b64decode(server.requests[0].token) == b"me:pass-word"


def test_several_files_are_one(place: str, server: FakeApiServer) -> None:
    server.answers(OK)
    document = kubeconfig({"server": server.url}, {"token": TOKEN})
    users = {"apiVersion": "v1", "kind": "Config", "users": document.pop("users")}
    paths = [
        write(os.path.join(place, "one"), document),
        os.path.join(place, "missing"),
        write(os.path.join(place, "two"), users),
    ]
    ask(os.pathsep.join(paths))
    assert server.requests[0].token == TOKEN


def exec_user(place: str, script: str) -> dict[str, Any]:
    path = os.path.join(place, "plug-in")
    with open(path, "w", encoding="ascii") as file:
        file.write(f"#!/bin/sh\n{script}\n")
    os.chmod(path, 0o700)
    return {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": path, "args": ["a"]}}


def exec_credential(status: dict[str, str]) -> str:
    document = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": status,
    }
    return f"cat <<'END'\n{json.dumps(document)}\nEND"


def test_the_token_of_a_plug_in(place: str, server: FakeApiServer) -> None:
    server.answers(OK)
    user = exec_user(place, exec_credential({"token": TOKEN}))
    ask(write(os.path.join(place, "config"), kubeconfig({"server": server.url}, user)))
    assert server.requests[0].token == TOKEN


def test_the_token_of_a_plug_in_is_asked_for_again_when_it_is_over(place: str, server: FakeApiServer) -> None:
    server.answers(OK)
    counted = f"echo x >> {place}/count\n"
    status = {"token": TOKEN, "expirationTimestamp": "2020-01-01T00:00:00Z"}
    user = exec_user(place, counted + exec_credential(status))
    ask(write(os.path.join(place, "config"), kubeconfig({"server": server.url}, user)))
    with open(os.path.join(place, "count"), encoding="ascii") as file:
        assert len(file.readlines()) > 1


def test_the_certificate_of_a_plug_in(place: str, authority: Authority) -> None:
    client = authority.pair("client")
    texts = {}
    for field, path in (("clientCertificateData", client.certificate), ("clientKeyData", client.key)):
        with open(path, encoding="ascii") as file:
            texts[field] = file.read()
    user = exec_user(place, exec_credential(texts))
    tls = server_context(authority.pair(), clients_of=authority.certificate)
    with fake_api_server(OK, tls=tls) as server:
        cluster = {"server": server.url, "certificate-authority": authority.certificate}
        ask(write(os.path.join(place, "config"), kubeconfig(cluster, user)))
        assert server.requests


def untrusted(place: str, server: FakeApiServer, authority: Authority) -> ApiError:
    cluster = {"server": server.url, "certificate-authority": authority.certificate}
    made = api(write(os.path.join(place, "config"), kubeconfig(cluster, {"token": TOKEN})))
    try:
        with pytest.raises(ApiError) as caught:
            made.call("POST", PATH, body={}, timeout_seconds=10.0)
    finally:
        made.close()
    assert not server.requests
    assert not caught.value.was_sent
    return caught.value


def test_a_server_of_another_authority_is_refused(
    place: str, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = Authority(os.fspath(tmp_path_factory.mktemp("other")))
    with fake_api_server(OK, tls=server_context(other.pair())) as server:
        error = untrusted(place, server, authority)
    assert str(error).startswith(
        f"POST {PATH}: the server's certificate is not accepted: unable to get local issuer"
    )


def test_a_certificate_that_is_over_is_refused(place: str, authority: Authority) -> None:
    pair = authority.pair("expired", until=-dt.timedelta(days=1))
    with fake_api_server(OK, tls=server_context(pair)) as server:
        error = untrusted(place, server, authority)
    assert str(error).endswith("not accepted: certificate has expired")


def test_a_certificate_of_another_host_is_refused(place: str, authority: Authority) -> None:
    with fake_api_server(OK, tls=server_context(authority.pair("elsewhere", address="127.0.0.2"))) as server:
        error = untrusted(place, server, authority)
    assert "IP address mismatch, certificate is not valid for '127.0.0.1'" in str(error)


def test_a_server_that_is_called_otherwise_in_its_certificate(place: str, authority: Authority) -> None:
    with fake_api_server(OK, tls=server_context(authority.pair("elsewhere", address="127.0.0.2"))) as server:
        cluster = {
            "server": server.url,
            "certificate-authority": authority.certificate,
            "tls-server-name": "127.0.0.2",
        }
        ask(write(os.path.join(place, "config"), kubeconfig(cluster, {"token": TOKEN})))


def test_a_server_that_is_not_verified_is_refused(place: str) -> None:
    cluster = {"server": "https://127.0.0.1:1", "insecure-skip-tls-verify": True}
    path = write(os.path.join(place, "config"), kubeconfig(cluster, {"token": TOKEN}))
    assert "not verified" in refused(path)


@pytest.mark.parametrize(
    "host", ["10.0.0.1:6443", "example.com", "127.0.0.1.example.com", "127.0.0.1@example.com"]
)
def test_a_way_without_tls_is_refused(place: str, host: str) -> None:
    path = write(os.path.join(place, "config"), kubeconfig({"server": f"http://{host}"}, {"token": TOKEN}))
    assert "only https is safe" in refused(path)


@needs_proxy_url
def test_a_way_without_tls_by_a_proxy_is_refused(place: str) -> None:
    cluster = {"server": "http://127.0.0.1:1", "proxy-url": "http://127.0.0.1:2"}
    path = write(os.path.join(place, "config"), kubeconfig(cluster, {"token": TOKEN}))
    assert "only https is safe" in refused(path)


@pytest.mark.parametrize(
    "cluster",
    [
        {},
        {"server": ""},
        {"server": "127.0.0.1:6443"},
        {"server": "https://"},
        {"server": "https://[::1"},
        {"server": "https://127.0.0.1:port"},
        {"server": "ftp://127.0.0.1"},
        {"server": 5},
        {"server": "https://127.0.0.1:1", "certificate-authority": "/nonexistent"},
        {"server": "https://127.0.0.1:1", "certificate-authority-data": "Z2FyYmFnZQ=="},
        {"server": "https://127.0.0.1:1", "certificate-authority-data": "?"},
    ],
)
def test_a_server_that_is_none_is_refused(place: str, cluster: dict[str, Any]) -> None:
    refused(write(os.path.join(place, "config"), kubeconfig(cluster, {"token": TOKEN})))


@pytest.mark.parametrize(
    "user",
    [
        {"token": 5},
        {"tokenFile": "/nonexistent"},
        {"client-certificate-data": "Z2FyYmFnZQ==", "client-key-data": "Z2FyYmFnZQ=="},
        {"client-certificate": "/nonexistent", "client-key": "/nonexistent"},
        TOKEN,
        [TOKEN],
    ],
)
def test_a_user_that_is_none_is_refused_or_is_nobody(place: str, user: Any) -> None:
    cluster = {"server": "https://127.0.0.1:1"}
    path = write(os.path.join(place, "config"), kubeconfig(cluster, user))
    try:
        loader(path)()
    except ConfigError:
        refused(path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        f"{TOKEN}",
        f"token: {TOKEN}",
        f'{{"token": "{TOKEN}',
        f"token: {TOKEN}: {TOKEN}\n\t- x",
        f"!!python/object:{TOKEN} x",
        "\x00\x01",
        "current-context: x",
        "current-context: x\ncontexts: []\nclusters: []\nusers: []\n",
        "current-context: x\ncontexts: 5\n",
        "[" * 10_000,
    ],
    ids=range(13),
)
def test_a_file_that_is_no_kubeconfig_is_refused_in_one_line_that_quotes_nothing(
    place: str, text: str
) -> None:
    path = os.path.join(place, "config")
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    refused(path)


def test_a_file_of_other_bytes_is_refused(place: str) -> None:
    path = os.path.join(place, "config")
    with open(path, "wb") as file:
        file.write(b"\xff\xfe" + TOKEN.encode())
    refused(path)


def test_what_is_no_file_is_refused(place: str) -> None:
    assert "directory" in refused(place)


def in_environment(variables: dict[str, str], action: Callable[[], str | None]) -> str:
    """In a process that has these proxies and no other."""

    def run() -> str | None:
        for name in PROXIES:
            os.environ.pop(name, None)
            os.environ.pop(name.lower(), None)
        os.environ.update(variables)
        return action()

    return in_child(run)


def proxy_of(path: str) -> str:
    return str(loader(path)().pool.proxy)


@needs_proxy_url
def test_the_proxy_of_the_kubeconfig(place: str) -> None:
    cluster = {"server": "https://10.0.0.1:6443", "proxy-url": "http://127.0.0.1:2"}
    path = write(os.path.join(place, "config"), kubeconfig(cluster, {"token": TOKEN}))
    assert in_environment({}, lambda: proxy_of(path)) == "http://127.0.0.1:2"


def test_proxies_of_the_environment_are_those_of_the_package(place: str) -> None:
    """Some releases know of none: what the installed one decides is what is done."""
    from kubernetes import client  # noqa: PLC0415

    path = write(
        os.path.join(place, "config"), kubeconfig({"server": "https://10.0.0.1:6443"}, {"token": TOKEN})
    )

    def both() -> str:
        configuration = client.Configuration()
        configuration.host = "https://10.0.0.1:6443"
        package = str(client.rest.RESTClientObject(configuration).pool_manager.proxy)
        return f"{package} {proxy_of(path)}"

    for variables in (
        {"HTTPS_PROXY": "http://127.0.0.1:3"},
        {"HTTPS_PROXY": "http://127.0.0.1:3", "NO_PROXY": "10.0.0.0/8"},
    ):
        package, ours = in_environment(variables, both).split()
        assert package == ours
