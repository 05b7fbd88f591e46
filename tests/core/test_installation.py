"""What is said of a cluster in which the driver is installed in another way than it should be, case by case."""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

import pytest

from sscsi.core.cluster_rights import (
    CSIDRIVER,
    EVENTS,
    NEEDED,
    POD_WATCH,
    SYNCING,
    is_granted,
    rights_words,
)
from sscsi.core.finding import Outcome, Word
from sscsi.core.installation import KIND_FIELDS, crd_words, csidriver_words
from sscsi.core.provider_class import GROUP
from sscsi.errors import ReviewRefusedError
from tests.kubeapi import manifests
from tests.kubeapi.test_rights import granted

DRIVER = "secrets-store.csi.k8s.io"
OBJECT = f"/apis/storage.k8s.io/v1/csidrivers/{DRIVER}"
GROUP_PATH = f"/apis/{GROUP}"
VERSION_PATH = f"/apis/{GROUP}/v1"
OPENAPI = f"/openapi/v3/apis/{GROUP}/v1"


@dataclasses.dataclass
class Answer:
    code: int
    body: Mapping[str, Any]
    message: str = "in its own words"


class Api:
    """An API server with these objects by path; `refused` are those that may not be read, or verbs and resources.

    With a `code`, every answer has that code and no object.
    """

    def __init__(
        self, objects: Mapping[str, Any], refused: frozenset[str] = frozenset(), *, code: int = 0
    ) -> None:
        self.objects = objects
        self.refused = refused
        self.code = code

    def get(self, path: str) -> Answer:
        if self.code:
            return Answer(self.code, {})
        if path in self.refused:
            return Answer(403, {})
        return Answer(200, self.objects[path]) if path in self.objects else Answer(404, {})

    def may(self, _group: str, resource: str, verb: str, name: str = "") -> bool:
        if "reviews" in self.refused:
            raise ReviewRefusedError("in its own words")
        return f"{verb} {resource} {name}".strip() not in self.refused


def csidriver(**changes: Any) -> Api:
    (document,) = manifests.documents(os.path.join(manifests.DEPLOY, "csidriver.yaml"))
    return Api({OBJECT: {**document, "spec": {**document["spec"], **changes}}})


def our_crds() -> dict[str, Any]:
    """What the API server tells of our CRDs."""
    documents = manifests.documents(manifests.CRDS)
    kinds = [crd["spec"]["names"]["kind"] for crd in documents]
    return {
        GROUP_PATH: {"kind": "APIGroup", "versions": [{"version": "v1"}, {"version": "v1alpha1"}]},
        VERSION_PATH: {"kind": "APIResourceList", "resources": [{"kind": kind} for kind in kinds]},
        OPENAPI: {
            "components": {
                "schemas": {
                    crd["spec"]["names"]["kind"]: {
                        **next(one for one in crd["spec"]["versions"] if one["name"] == "v1")["schema"][
                            "openAPIV3Schema"
                        ],
                        "x-kubernetes-group-version-kind": [{"kind": crd["spec"]["names"]["kind"]}],
                    }
                    for crd in documents
                }
            }
        },
    }


def said(words: Any) -> list[tuple[Outcome, str]]:
    return [(word.outcome, word.found) for word in words]


class TestTheCSIDriverObject:
    @pytest.mark.parametrize(
        ("changes", "outcome", "field", "cure"),
        [
            (
                {"podInfoOnMount": False},
                Outcome.FAIL,
                "podInfoOnMount",
                "kubectl apply -f deploy/csidriver.yaml",
            ),
            (
                {"volumeLifecycleModes": ["Persistent"]},
                Outcome.FAIL,
                "without Ephemeral",
                "kubectl delete csidriver",
            ),
            ({"volumeLifecycleModes": 1}, Outcome.FAIL, "without Ephemeral", "kubectl delete csidriver"),
            ({"volumeLifecycleModes": None}, Outcome.FAIL, "without Ephemeral", "kubectl delete csidriver"),
            ({"attachRequired": True}, Outcome.FAIL, "attachRequired", "kubectl delete csidriver"),
            ({"requiresRepublish": None}, Outcome.WARN, "requiresRepublish", "deploy/csidriver.yaml"),
            ({"tokenRequests": []}, Outcome.WARN, "tokenRequests", "fill it in"),
            ({}, Outcome.OK, "tokens for sts.amazonaws.com", ""),
        ],
    )
    def test_each_field(self, changes: dict[str, Any], outcome: Outcome, field: str, cure: str) -> None:
        api = csidriver(**{"tokenRequests": [{"audience": "sts.amazonaws.com"}], **changes})
        (word,) = csidriver_words(api, DRIVER, frozenset({"aws"}))
        assert (word.outcome, field in word.found, cure in word.cure) == (outcome, True, True), word

    def test_none_at_all(self) -> None:
        (word,) = csidriver_words(Api({}), DRIVER)
        assert (word.outcome, f"there is no CSIDriver {DRIVER}" in word.found) == (Outcome.FAIL, True)
        assert word.cure == "kubectl apply -f deploy/csidriver.yaml"

    @pytest.mark.parametrize(
        "answer", [{}, {"kind": "Status", "message": "a proxy's"}, {"kind": ["CSIDriver"]}]
    )
    def test_an_answer_that_is_no_csidriver_tells_nothing_of_it(self, answer: Mapping[str, Any]) -> None:
        (word,) = csidriver_words(Api({OBJECT: answer}), DRIVER)
        assert (word.outcome, "the answer is no CSIDriver" in word.found) == (Outcome.SKIP, True), word
        assert "kubectl" not in word.cure

    @pytest.mark.parametrize("code", [400, 405, 410, 500])
    def test_an_answer_that_tells_nothing_is_no_failure(self, code: int) -> None:
        (word,) = csidriver_words(Api({}, code=code), DRIVER)
        assert (word.outcome, "in its own words" in word.found) == (Outcome.SKIP, True), word

    def test_an_object_without_metadata_is_told_of_all_the_same(self) -> None:
        document = dict(csidriver(attachRequired=True).objects[OBJECT], metadata=None)
        (word,) = csidriver_words(Api({OBJECT: document}), DRIVER)
        assert (word.outcome, "attachRequired" in word.found) == (Outcome.FAIL, True)

    def test_without_the_right_nothing_is_said_but_which_one_and_where_to_get_it(self) -> None:
        (word,) = csidriver_words(Api({}, frozenset({OBJECT})), DRIVER)
        assert (word.outcome, word.found.endswith(f"no right to get csidrivers {DRIVER}")) == (
            Outcome.SKIP,
            True,
        )
        assert "deploy/rbac.yaml" in word.cure


class TestCRDs:
    def words(self, **changes: Any) -> list[Word]:
        objects = our_crds()
        for path, value in changes.items():
            objects[{"group": GROUP_PATH, "version": VERSION_PATH, "openapi": OPENAPI}[path]] = value
        return list(crd_words(Api({path: value for path, value in objects.items() if value is not None})))

    def test_ours(self) -> None:
        assert {word.outcome for word in self.words()} == {Outcome.OK}

    @pytest.mark.parametrize(
        ("versions", "seen"),
        [(["v1alpha1"], "there is v1alpha1"), (["v2"], "there is v2"), ([], "there is nothing")],
    )
    def test_older_ones_without_v1(self, versions: list[str], seen: str) -> None:
        served = [{"version": version} for version in versions]
        (word,) = self.words(group={"kind": "APIGroup", "versions": served})
        assert (word.outcome, word.found.endswith(seen)) == (Outcome.FAIL, True), word
        assert word.cure == "kubectl apply --server-side --force-conflicts -f deploy/crds"

    def test_none_at_all(self) -> None:
        (word,) = self.words(group=None)
        assert (word.outcome, "there is nothing" in word.found) == (Outcome.FAIL, True)

    @pytest.mark.parametrize("path", ["group", "version"])
    @pytest.mark.parametrize("answer", [{}, {"kind": "Status"}])
    def test_an_answer_that_is_none_tells_nothing(self, path: str, answer: Mapping[str, Any]) -> None:
        (word,) = self.words(**{path: answer})
        assert (word.outcome, "can't be told: the answer is no API" in word.found) == (Outcome.SKIP, True)
        assert "kubectl" not in word.cure

    def test_a_refusal_tells_nothing(self) -> None:
        (word,) = crd_words(Api({}, frozenset({GROUP_PATH})))
        assert (word.outcome, "in its own words" in word.found) == (Outcome.SKIP, True), word

    def test_one_kind_without_the_other(self) -> None:
        words = self.words(
            version={"kind": "APIResourceList", "resources": [{"kind": "SecretProviderClass"}]}
        )
        assert (Outcome.FAIL, "SecretProviderClassPodStatus is not served") in said(words)

    def test_newer_versions(self) -> None:
        served = [{"version": "v1"}, {"version": "v2"}]
        words = self.words(group={"kind": "APIGroup", "versions": served})
        assert (Outcome.WARN, "update the driver") in [(word.outcome, word.cure) for word in words]

    @pytest.mark.parametrize("kind", sorted(KIND_FIELDS))
    def test_a_field_less_and_a_field_more(self, kind: str) -> None:
        document = our_crds()[OPENAPI]
        properties = document["components"]["schemas"][kind]["properties"]
        del properties["status"]
        properties["added"] = {"type": "string"}
        older, newer = (word for word in self.words(openapi=document) if f"of {kind} " in word.found)
        assert (older.outcome, "is older, or upstream's: without status" in older.found) == (
            Outcome.WARN,
            True,
        )
        assert (newer.outcome, newer.found.endswith("it has added")) == (Outcome.WARN, True)

    def test_fields_that_are_not_told_yet_are_no_fault(self) -> None:
        assert [word.outcome for word in self.words(openapi=None)] == [Outcome.SKIP]
        empty = self.words(openapi={"components": {}})
        assert [word.outcome for word in empty] == [Outcome.SKIP] * 2


class TestRights:
    def words(self, *refused: str, pod_annotations: bool = True) -> list[Word]:
        api = Api({}, frozenset(refused))
        return list(rights_words(api, driver_name=DRIVER, pod_annotations=pod_annotations))

    def test_they_are_those_of_our_roles(self) -> None:
        asked_for = {
            (rights.group, rights.resource, verb)
            for rights in (*NEEDED, EVENTS, POD_WATCH, CSIDRIVER, SYNCING)
            for verb in rights.verbs
        }
        assert asked_for == set(granted())

    def test_all_of_them(self) -> None:
        assert {word.outcome for word in self.words()} == {Outcome.OK}

    @pytest.mark.parametrize(
        ("right", "outcome", "manifest"),
        [
            ("list secretproviderclasses", Outcome.FAIL, "deploy/rbac.yaml"),
            ("patch secretproviderclasspodstatuses", Outcome.FAIL, "deploy/rbac.yaml"),
            ("create events", Outcome.WARN, "deploy/rbac.yaml"),
            ("watch pods", Outcome.WARN, "deploy/rbac.yaml"),
            (f"get csidrivers {DRIVER}", Outcome.WARN, "deploy/rbac.yaml"),
            ("create secrets", Outcome.FAIL, "deploy/rbac-secretprovidersyncing.yaml"),
        ],
    )
    def test_one_that_is_missing_is_told_by_verb_resource_and_manifest(
        self, right: str, outcome: Outcome, manifest: str
    ) -> None:
        (word,) = (word for word in self.words(right) if word.outcome is not Outcome.OK)
        assert (word.outcome, f"no right to {right}" in word.found) == (outcome, True), word
        assert manifest in word.cure

    def test_without_a_review_nothing_is_known(self) -> None:
        (word,) = self.words("reviews")
        assert word.outcome is Outcome.SKIP
        assert word.found == "they can't be asked for: in its own words"
        assert "system:basic-user" in word.cure

    def test_what_nobody_asks_for_is_not_missed(self) -> None:
        words = self.words(
            "watch pods", *(f"{verb} secrets" for verb in SYNCING.verbs), pod_annotations=False
        )
        assert {word.outcome for word in words} == {Outcome.OK}

    @pytest.mark.parametrize(
        ("rule", "is_right"),
        [
            ({"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"]}, True),
            ({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}, True),
            ({"verbs": ["list"], "apiGroups": [""], "resources": ["pods"], "resourceNames": []}, True),
            ({"verbs": ["list"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["one"]}, False),
            ({"verbs": ["list"], "apiGroups": [""], "resources": ["pods"], "resourceNames": [""]}, False),
            ({"verbs": ["list"], "apiGroups": [{}], "resources": ["pods"]}, False),
            ({"verbs": 1, "apiGroups": [""], "resources": ["pods"]}, False),
            ({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}, False),
            ({"verbs": ["list"], "apiGroups": ["apps"], "resources": ["pods"]}, False),
            ({"verbs": ["list"], "apiGroups": [""], "resources": None}, False),
            ("no rule", False),
        ],
    )
    def test_a_rule_of_a_review(self, rule: Any, is_right: bool) -> None:
        assert is_granted([rule], "", "pods", "list") is is_right

    @pytest.mark.parametrize(("name", "is_right"), [("one", True), ("two", False), ("", False)])
    def test_a_rule_for_names_grants_nothing_else(self, name: str, is_right: bool) -> None:
        rule = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "resourceNames": ["one", "three"]}
        assert is_granted([rule], "storage.k8s.io", "csidrivers", "get", name) is is_right
