"""What is made of an API server's answers about the installation, and of a proxy's in its place."""

import json
import os
from collections.abc import Mapping
from typing import Any

import pytest

from sidecars.statussync.kube.api import KubeApi
from sidecars.statussync.kube.installation import KubeInstallation
from sscsi.cli.doctor_api import ApiChecks
from sscsi.cli.doctor_place import find_place
from sscsi.core.cluster_rights import CSIDRIVER, EVENTS, NEEDED, POD_WATCH
from sscsi.core.finding import Outcome, Word
from sscsi.core.provider_class import GROUP
from sscsi.errors import ClusterUnavailableError
from tests.kubeapi import manifests
from tests.statussync.kube.conftest import MakeApi
from tests.statussync.kube.fake_api_server import Exchange, FakeApiServer, body_answer
from tests.statussync.kube.kubeconfigs import TOKEN, kubeconfig, write

DRIVER = "secrets-store.csi.k8s.io"
_DRIVER_PATH = f"/apis/storage.k8s.io/v1/csidrivers/{DRIVER}"
_REVIEWS = "/apis/authorization.k8s.io/v1"
_LOGIN_PAGE = b"<html>Sign in to go on</html>"


class Cluster:
    """Answers by path; what has none is 404. `rules` are what a rules review of a namespace tells, `granted` what an
    access review does; without `reviews` both are refused.
    """

    def __init__(self) -> None:
        (csidriver,) = manifests.documents(os.path.join(manifests.DEPLOY, "csidriver.yaml"))
        self.objects: dict[str, Any] = {_DRIVER_PATH: csidriver}
        self.rules: dict[str, list[Mapping[str, Any]]] = {}
        self.granted = False
        self.reviews = True
        self.asked: list[tuple[str, str]] = []

    def __call__(self, exchange: Exchange) -> None:
        request = exchange.request
        resource = request.target.removeprefix(f"{_REVIEWS}/")
        if resource != request.target:
            self._review(exchange, resource, json.loads(request.body)["spec"])
        elif request.target in self.objects:
            self._send(exchange, 200, self.objects[request.target])
        else:
            self._send(exchange, 404, {"kind": "Status", "message": "not found"})

    def _review(self, exchange: Exchange, resource: str, spec: Mapping[str, Any]) -> None:
        if not self.reviews:
            self._send(exchange, 403, {"kind": "Status", "message": "no reviews for you"})
        elif resource == "selfsubjectrulesreviews":
            everywhere = self.rules.get("", [])
            rules = [*everywhere, *self.rules.get(spec["namespace"], [])]
            self._send(exchange, 201, {"status": {"resourceRules": rules}})
        else:
            attributes = spec["resourceAttributes"]
            self.asked.append((attributes["verb"], attributes["resource"]))
            self._send(exchange, 201, {"status": {"allowed": self.granted}})

    def _send(self, exchange: Exchange, status: int, body: object) -> None:
        exchange.answer(status, json.dumps(body).encode(), {"content-type": "application/json"})


@pytest.fixture
def cluster(server: FakeApiServer) -> Cluster:
    made = Cluster()
    server.answers(made)
    return made


@pytest.fixture
def api(server: FakeApiServer, make_api: MakeApi) -> KubeApi:
    return make_api(server)


def look(api: KubeApi) -> dict[str, list[Word]]:
    found: dict[str, list[Word]] = {}
    for subject, word in KubeInstallation(api, pod_annotations=True).look(DRIVER):
        found.setdefault(subject, []).append(word)
    return found


def every_rule(**more: Any) -> Mapping[str, Any]:
    return {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], **more}


def test_a_proxys_page_in_the_place_of_an_answer_is_no_answer(server: FakeApiServer, api: KubeApi) -> None:
    server.answers(body_answer(200, _LOGIN_PAGE))
    with pytest.raises(ClusterUnavailableError, match="not JSON"):
        look(api)


def test_an_object_of_another_kind_tells_nothing_of_ours(cluster: Cluster, api: KubeApi) -> None:
    cluster.objects[_DRIVER_PATH] = {"error": "sign in"}
    cluster.objects[f"/apis/{GROUP}"] = {"error": "sign in"}
    found = look(api)
    assert [word.outcome for word in found[f"CSIDriver {DRIVER}"]] == [Outcome.SKIP]
    assert [word.outcome for word in found["CRDs"]] == [Outcome.SKIP]


def test_where_reviews_are_refused_the_rest_is_told_all_the_same(cluster: Cluster, api: KubeApi) -> None:
    cluster.reviews = False
    cluster.objects.clear()
    found = look(api)
    assert [word.outcome for word in found[f"CSIDriver {DRIVER}"]] == [Outcome.FAIL]
    assert [word.outcome for word in found["CRDs"]] == [Outcome.FAIL]
    (word,) = found["Rights"]
    assert (word.outcome, "no reviews for you" in word.found) == (Outcome.SKIP, True)


def test_what_one_review_grants_everywhere_is_not_asked_again(cluster: Cluster, api: KubeApi) -> None:
    cluster.rules = {"": [every_rule()]}
    assert {word.outcome for word in look(api)["Rights"]} == {Outcome.OK}
    assert cluster.asked == []


@pytest.mark.parametrize(
    "rules",
    [
        {"default": [every_rule()], "kube-system": [every_rule()]},
        {"": [every_rule(resourceNames=["one"])]},
    ],
    ids=["in some namespaces", "for one name"],
)
def test_a_right_for_some_is_none_for_all(
    cluster: Cluster, api: KubeApi, rules: dict[str, list[Mapping[str, Any]]]
) -> None:
    cluster.rules = rules
    needed = {(verb, rights.resource) for rights in (*NEEDED, EVENTS, POD_WATCH) for verb in rights.verbs}
    words = look(api)["Rights"]
    assert [word.outcome for word in words].count(Outcome.FAIL) == len(NEEDED)
    assert needed < set(cluster.asked)


def test_the_drivers_own_object_may_be_granted_by_name(cluster: Cluster, api: KubeApi) -> None:
    cluster.rules = {"": [every_rule(resourceNames=[DRIVER])]}
    look(api)
    assert {(verb, CSIDRIVER.resource) for verb in CSIDRIVER.verbs}.isdisjoint(cluster.asked)


class TestDoctor:
    @pytest.fixture
    def kubeconfig(self, server: FakeApiServer, tmp_path: os.PathLike[str]) -> str:
        document = kubeconfig({"server": server.url}, {"token": TOKEN})
        return write(os.path.join(tmp_path, "kubeconfig"), document)

    def words(self, kubeconfig: str, directory: os.PathLike[str]) -> dict[str, list[Word]]:
        variables = {"CSI_ENDPOINT": f"unix://{directory}/csi.sock", "KUBE_NODE_NAME": "node-1"}
        place = find_place(
            {**variables, "KUBECONFIG": kubeconfig}, f"{directory}/run", "", timeout_seconds=60.0
        )
        checks = ApiChecks()
        try:
            return {
                "api-server": list(checks.check_api_server(place)),
                "csidriver": list(checks.check_csidriver(place)),
                "crds": list(checks.check_crds(place)),
                "rights": list(checks.check_rights(place)),
            }
        finally:
            checks.close()

    def test_a_proxys_page_is_no_api_server(
        self, server: FakeApiServer, kubeconfig: str, tmp_path: os.PathLike[str]
    ) -> None:
        server.answers(body_answer(200, _LOGIN_PAGE))
        found = self.words(kubeconfig, tmp_path)
        (word,) = found.pop("api-server")
        assert (word.outcome, "HTTPS_PROXY" in word.cure) == (Outcome.FAIL, True)
        assert {word.outcome for words in found.values() for word in words} == {Outcome.SKIP}

    def test_it_says_what_status_sync_says(
        self, cluster: Cluster, api: KubeApi, kubeconfig: str, tmp_path: os.PathLike[str]
    ) -> None:
        cluster.reviews = False
        cluster.objects["/version"] = {"gitVersion": "v1.35.0"}
        cluster.objects[_DRIVER_PATH] = {"error": "sign in"}
        found, doctors = look(api), self.words(kubeconfig, tmp_path)
        assert found[f"CSIDriver {DRIVER}"] == doctors["csidriver"]
        assert found["CRDs"] == doctors["crds"]
        ours, theirs = found["Rights"], doctors["rights"]
        assert [(word.outcome, word.cure) for word in ours] == [(word.outcome, word.cure) for word in theirs]
