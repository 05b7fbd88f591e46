"""What the API server knows of the driver, asked with status-sync's own credentials."""

import dataclasses
import email.utils
import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

from sscsi.cli.doctor_place import Place
from sscsi.core.cluster_rights import rights_words
from sscsi.core.finding import Word, fail, ok, skip, warn
from sscsi.core.installation import crd_words, csidriver_words
from sscsi.errors import ClusterUnavailableError, ConfigError, ReviewRefusedError

_SMALL_SKEW_SECONDS, _LARGE_SKEW_SECONDS = 5.0, 60.0
_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer of the API server: code, object (empty when it is none), its `Date` and the moments around it."""

    code: int
    body: Mapping[str, Any]
    date: str
    asked_at: float
    answered_at: float

    @property
    def message(self) -> str:
        """What it says of itself when it refuses."""
        text = self.body.get("message")
        return text if isinstance(text, str) and text else f"HTTP {self.code}"


class ApiServer:
    """Requests, each sent once and bounded in time. All raise ClusterUnavailableError without an answer."""

    def __init__(self, place: Place) -> None:
        # The Kubernetes client is 20 MiB that who has no cluster does without.
        from sidecars.statussync.credentials import kubeconfig_paths  # noqa: PLC0415
        from sidecars.statussync.kube.connection import Connection, loader  # noqa: PLC0415

        paths = kubeconfig_paths(place.settings.statussync.kubeconfig, place.environ)
        self._connection = Connection(loader(paths)())
        self._timeout_seconds = place.timeout_seconds

    def get(self, path: str) -> Answer:
        return self._ask("GET", path, None)

    def may(self, group: str, resource: str, verb: str, name: str = "") -> bool:
        """Whether we may do that in every namespace, with every object or with that of `name`.

        Raises ReviewRefusedError when the server does not tell.
        """
        attributes = {"group": group, "resource": resource, "verb": verb, "name": name}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        answer = self._ask("POST", _REVIEWS, json.dumps(review).encode())
        status = answer.body.get("status")
        if not isinstance(status, dict):
            raise ReviewRefusedError(f"no access review: {answer.message}")
        return status.get("allowed") is True

    def close(self) -> None:
        self._connection.close()

    def _ask(self, method: str, path: str, body: bytes | None) -> Answer:
        import urllib3  # noqa: PLC0415 - as above

        from sidecars.statussync.kube.api_errors import unanswered  # noqa: PLC0415

        headers = {"accept": "application/json", "content-type": "application/json"}
        timeout = urllib3.Timeout(total=self._timeout_seconds)
        asked_at = time.time()
        try:
            response = self._connection.request(method, path, headers=headers, body=body, timeout=timeout)
        except urllib3.exceptions.HTTPError as error:
            raise ClusterUnavailableError(str(unanswered(error, f"{method} {path}"))) from error
        try:
            document = json.loads(response.data)
        except (ValueError, RecursionError):
            document = {}
        return Answer(
            code=response.status,
            body=document if isinstance(document, dict) else {},
            date=response.headers.get("Date", ""),
            asked_at=asked_at,
            answered_at=time.time(),
        )


class ApiChecks:
    """The checks that ask the API server; the first of them finds out whether the others can."""

    def __init__(self) -> None:
        self._server: ApiServer | None = None
        self._why_not = ""
        self._version: Answer | None = None

    def close(self) -> None:
        """Close the connections."""
        if self._server:
            self._server.close()

    def check_api_server(self, place: Place) -> Iterator[Word]:
        """Whether it answers, to our credentials."""
        if not place.is_in_cluster:
            self._why_not = "there is no API server: SSCSI_CLUSTER=dir:"
            yield skip(self._why_not)
            return
        self._why_not = "the API server can't be asked; see api-server"
        cure = "status-sync needs the pod's service account, or --kubeconfig; see docs/kubernetes.md"
        try:
            server = ApiServer(place)
            version = server.get("/version")
        except (ConfigError, ClusterUnavailableError) as error:
            yield fail(str(error), cure)
            return
        if version.code != 200:
            server.close()
            yield fail(f"GET /version: {version.message}", cure)
            return
        if "gitVersion" not in version.body:
            server.close()
            yield fail("GET /version: the answer is not an API server's", "see HTTPS_PROXY and NO_PROXY")
            return
        self._server, self._version, self._why_not = server, version, ""
        yield ok(f"it answers, Kubernetes {version.body['gitVersion']}")

    def check_clock(self, _place: Place) -> Iterator[Word]:
        """Whether this node's clock goes as the API server's does: tokens are good for a time."""
        parsed = (
            email.utils.parsedate_to_datetime(self._version.date)
            if self._version and self._version.date
            else None
        )
        if self._version is None or parsed is None:
            yield skip(self._why_not or "the API server's answer has no Date")
            return
        # Its date leaves fractions of a second out, and was written at some moment between question and answer.
        date = parsed.timestamp()
        behind = max(date - self._version.answered_at, 0.0)
        ahead = max(self._version.asked_at - (date + 1.0), 0.0)
        skew = max(behind, ahead)
        words = f"this clock is {skew:.1f} s {'behind' if behind else 'ahead of'} the API server's"
        cure = "have the clocks of the nodes set (chrony, systemd-timesyncd): tokens are refused outside of their time"
        if skew > _LARGE_SKEW_SECONDS:
            yield fail(words, cure)
        elif skew > _SMALL_SKEW_SECONDS:
            yield warn(words, cure)
        else:
            yield ok("this clock goes as the API server's does")

    def check_csidriver(self, place: Place) -> Iterator[Word]:
        """What kubelet does for the driver."""
        if self._server is None:
            yield skip(self._why_not)
            return
        yield from csidriver_words(self._server, place.settings.node.driver_name, _provider_names(place))

    def check_crds(self, _place: Place) -> Iterator[Word]:
        """Whether our kinds are served, as we know them."""
        if self._server is None:
            yield skip(self._why_not)
            return
        yield from crd_words(self._server)

    def check_rights(self, place: Place) -> Iterator[Word]:
        """Whether status-sync may do what it does."""
        if self._server is None:
            yield skip(self._why_not)
            return
        yield from rights_words(
            self._server,
            driver_name=place.settings.node.driver_name,
            pod_annotations=place.settings.statussync.pod_annotations,
        )


def _provider_names(place: Place) -> frozenset[str]:
    from sscsi.edges.provider_sockets import ProviderSockets  # noqa: PLC0415 - gRPC is for who asks

    sockets = ProviderSockets(place.settings.node.provider_directories, max_answer_bytes=1)
    return frozenset(sockets.names())
