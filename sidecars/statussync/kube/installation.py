"""How the driver is installed in the cluster: asked at a start, and again while something is amiss."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sidecars.statussync.kube.api import KubeApi, Object
from sidecars.statussync.kube.api_errors import GARBAGE, ApiError, unavailable
from sscsi.core.cluster_rights import SUBJECT, is_granted, rights_words
from sscsi.core.finding import Word
from sscsi.core.installation import crd_words, csidriver_words
from sscsi.errors import ReviewRefusedError

_SECONDS = 10.0
_AUTHORIZATION = "/apis/authorization.k8s.io/v1"
_TEMPORARY = frozenset({401, 429})
_SERVER = 500
# Rules are asked for in a namespace. No namespace can have a dot in its name, nor a RoleBinding be in one that is none:
# what is granted there is granted in every namespace.
_NO_NAMESPACE = "no.namespace"


class KubeInstallation:
    """Tells what of the cluster is not as the driver needs it; `pod_annotations` is whether pods are watched."""

    def __init__(self, api: KubeApi, *, pod_annotations: bool) -> None:
        self._api = api
        self._pod_annotations = pod_annotations

    def look(self, driver_name: str) -> Sequence[tuple[str, Word]]:
        """Subject and finding, of all that was looked at. Raises ClusterUnavailableError."""
        return list(self._look(_Questions(self._api), driver_name))

    def _look(self, ask: "_Questions", driver_name: str) -> Iterator[tuple[str, Word]]:
        for word in csidriver_words(ask, driver_name):
            yield f"CSIDriver {driver_name}", word
        for word in crd_words(ask):
            yield "CRDs", word
        for word in rights_words(ask, driver_name=driver_name, pod_annotations=self._pod_annotations):
            yield SUBJECT, word


class _Answer:
    """One answer of the API server, as `sscsi.core.api_questions.Reply`."""

    def __init__(self, code: int, body: Mapping[str, Any], message: str) -> None:
        self.code, self.body, self.message = code, body, message


class _Questions:
    """One look's questions, as `sscsi.core.api_questions.ApiQuestions`. What others ask for goes first."""

    def __init__(self, api: KubeApi) -> None:
        self._api = api
        self._rules: list[Any] | None = None

    def get(self, path: str) -> _Answer:
        try:
            return _Answer(200, self._call("GET", path), "")
        except ApiError as error:
            if _is_no_answer(error):
                raise unavailable(error) from error
            return _Answer(error.code, {}, str(error))

    def may(self, group: str, resource: str, verb: str, name: str = "") -> bool:
        # One request tells nearly all; where that does not grant it, or can't tell, it is asked for by itself.
        if is_granted(self._granted(), group, resource, verb, name):
            return True
        attributes = {"group": group, "resource": resource, "verb": verb, "name": name}
        status = self._review("selfsubjectaccessreviews", {"resourceAttributes": attributes})
        if status is None:
            raise ReviewRefusedError("the answer is no access review")
        return status.get("allowed") is True

    def _granted(self) -> list[Any]:
        if self._rules is None:
            try:
                status = self._review("selfsubjectrulesreviews", {"namespace": _NO_NAMESPACE})
            except ReviewRefusedError:
                status = None
            rules = status.get("resourceRules") if status else None
            self._rules = rules if isinstance(rules, list) else []
        return self._rules

    def _review(self, resource: str, spec: Object) -> Mapping[str, Any] | None:
        """The status of that review; None when the answer has none. Raises ReviewRefusedError."""
        kind = {
            "selfsubjectaccessreviews": "SelfSubjectAccessReview",
            "selfsubjectrulesreviews": "SelfSubjectRulesReview",
        }[resource]
        body = {"apiVersion": "authorization.k8s.io/v1", "kind": kind, "spec": spec}
        try:
            status = self._call("POST", f"{_AUTHORIZATION}/{resource}", body).get("status")
        except ApiError as error:
            if _is_no_answer(error):
                raise unavailable(error) from error
            raise ReviewRefusedError(str(error)) from error
        return status if isinstance(status, dict) else None

    def _call(self, method: str, path: str, body: object = None) -> Object:
        return self._api.call(method, path, body=body, timeout_seconds=_SECONDS, gives_way=True)


def _is_no_answer(error: ApiError) -> bool:
    """Whether that tells nothing of the cluster, and may be another one in a moment."""
    return error.code == 0 or error.code in _TEMPORARY or error.code >= _SERVER or error.reason == GARBAGE
