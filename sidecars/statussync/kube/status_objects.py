"""SecretProviderClassPodStatus objects of this node: written when they differ, removed when they are surely ours.

The node's own are known by one watch on the node label, so that nothing is asked when nothing changes, and an object
that somebody edits is put right. The name belongs to a pod's name and class, not to a node: the next incarnation of a
StatefulSet's pod, or upstream's object of before, is taken over once the API server says that the pod is ours now.
"""

import dataclasses
import datetime as dt
import logging
import re
import threading
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from sidecars.statussync.kube.api import MERGE_PATCH, KubeApi, Object
from sidecars.statussync.kube.api_errors import ApiError, unavailable
from sidecars.statussync.kube.pods import read_pod
from sidecars.statussync.kube.watched import Name, Watched
from sscsi.core import log_keys, pod_status, status_conditions
from sscsi.core.provider_class import GROUP
from sscsi.errors import ClusterUnavailableError, ObjectNotOursError
from sscsi.ports import ClusterObject, ObjectKey

log = logging.getLogger(__name__)

_BASE = f"/apis/{GROUP}/v1"
_PLURAL = "secretproviderclasspodstatuses"
_NO_RIGHT = "the service account may not write status objects: see the role secretproviderclasses-role (kubectl apply -f deploy/rbac.yaml; with the chart: rbac.install=true)"
_CALL_SECONDS = 10.0
_ATTEMPTS = 4
# Nothing is removed, and no write decided on, before the first list.
_LIST_SECONDS = 5.0
# .../pods/<uid>/volumes/kubernetes.io~csi/<volume>/mount: kubelet's path of an inline volume (sidecars reference, C7).
_TARGET_PATH = re.compile(r"/pods/([^/]+)/volumes/kubernetes\.io~csi/[^/]+/mount")
# What upstream's definition of the resource has no place for: the API server drops it without a word.
_OURS_ONLY = ("conditions", "lastChangeTime")


class _MovedError(Exception):
    """The pod of that name is another node's by now."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StatusObject:
    """What is remembered of a status object in the API."""

    uid: str
    version: str
    is_going: bool
    labels: Mapping[str, str]
    owners: tuple[Mapping[str, Any], ...]
    status: Mapping[str, Any]


def keep_status(obj: Object) -> StatusObject:
    """A status object as it is remembered, from the API's."""
    metadata = obj.get("metadata") or {}
    return StatusObject(
        uid=str(metadata.get("uid", "")),
        version=str(metadata.get("resourceVersion", "")),
        is_going="deletionTimestamp" in metadata,
        labels=dict(metadata.get("labels") or {}),
        owners=tuple(metadata.get("ownerReferences") or ()),
        status=dict(obj.get("status") or {}),
    )


class KubeStatusObjects:
    """The status objects of the node `node_label` (the label's value). Threads may share it."""

    def __init__(
        self,
        api: KubeApi,
        node_label: str,
        *,
        watch_seconds: float,
        now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
    ) -> None:
        self._api = api
        self._node_label = node_label
        self._now = now
        self._keeps_ours = True
        self._written = threading.Condition()
        self._on_change: Callable[[ObjectKey], None] | None = None
        self._on_return: Callable[[], None] | None = None
        self._watched: Watched[StatusObject] = Watched(
            api,
            f"{_BASE}/{_PLURAL}",
            {"labelSelector": f"{pod_status.NODE_LABEL}={node_label}"},
            keep=keep_status,
            on_change=self._changed,
            on_return=self._returned,
            watch_seconds=watch_seconds,
        )
        self._thread = threading.Thread(target=self._watched.run, name="status-watch", daemon=True)

    def start(self, on_change: Callable[[ObjectKey], None], on_return: Callable[[], None]) -> None:
        """Begin to hear of changes; `on_change` is told of each object that somebody else changed.

        `on_return` is called when the API server answers again.
        """
        self._on_change, self._on_return = on_change, on_return
        self._thread.start()

    def close(self) -> None:
        self._watched.close()

    def list_own(self) -> set[ObjectKey]:
        """Every status object of this node that may be removed. Raises ClusterUnavailableError."""
        self._check_known()
        return {
            ObjectKey(pod_status.KIND, *name)
            for name, present in self._watched.all().items()
            if _is_as_written(present)
        }

    def uid(self, key: ObjectKey, *, timeout_seconds: float) -> str:
        """The object's uid, waited for so long; empty when it is not there then."""
        name = (key.namespace, key.name)
        with self._written:
            self._written.wait_for(lambda: self._watched.get(name) is not None, timeout_seconds)
        present = self._watched.get(name)
        return present.uid if present else ""

    def apply(self, wanted: ClusterObject) -> bool:
        """Make the object so; whether it had to be written. Raises ClusterUnavailableError, ObjectNotOursError."""
        self._check_known()
        present = self._watched.get((wanted.key.namespace, wanted.key.name))
        try:
            return self._apply(wanted, present)
        except _MovedError:
            # Its pod lives on the other node now, or nowhere; what is here is about to be unpublished.
            log.info("a status object is another node's now", extra={log_keys.OBJECT: str(wanted.key)})
            return False
        except ApiError as error:
            raise unavailable(error, no_right=_NO_RIGHT) from error

    def delete(self, key: ObjectKey) -> bool:
        """Remove the object if it is this node's and as it was written. Raises ClusterUnavailableError."""
        self._check_known()
        name = (key.namespace, key.name)
        present = self._watched.get(name)
        if present is None or not _is_as_written(present):
            return False
        preconditions = {"uid": present.uid, "resourceVersion": present.version}
        try:
            self._api.call(
                "DELETE", _path(key), body={"preconditions": preconditions}, timeout_seconds=_CALL_SECONDS
            )
        except ApiError as error:
            if error.is_not_found:
                self._watched.drop(name)
                return False
            # Of a conflict: it has changed, and the watch is about to tell; whoever asked tries again.
            raise unavailable(error, no_right=_NO_RIGHT) from error
        self._watched.drop(name)
        return True

    def _changed(self, name: Name) -> None:
        if self._on_change:
            self._on_change(ObjectKey(pod_status.KIND, *name))

    def _returned(self) -> None:
        if self._on_return:
            self._on_return()

    def _check_known(self) -> None:
        # Once it is known that the API server does not answer, nobody waits for it.
        if not self._watched.wait_listed(0 if self._watched.problem else _LIST_SECONDS):
            raise ClusterUnavailableError(
                f"the status objects of this node are not known yet: {self._watched.problem or 'no answer'}"
            )

    def _apply(self, wanted: ClusterObject, present: StatusObject | None) -> bool:
        for _ in range(_ATTEMPTS):
            if present is not None and present.is_going:
                raise ClusterUnavailableError(f"{wanted.key} is being deleted; it is made again after that")
            manifest = status_conditions.with_history(
                wanted.manifest,
                present.status if present else None,
                kept=wanted.kept_conditions,
                now=self._now(),
            )
            try:
                if present is None:
                    return self._create(wanted.key, manifest)
                return self._patch(wanted.key, manifest, present)
            except ApiError as error:
                if not (error.is_conflict or error.is_not_found):
                    raise
                present = self._look(wanted)
        raise ClusterUnavailableError(f"{wanted.key} changes too quickly to be written")

    def _create(self, key: ObjectKey, manifest: Object) -> bool:
        self._note(
            manifest,
            self._api.call("POST", _collection(key.namespace), body=manifest, timeout_seconds=_CALL_SECONDS),
        )
        return True

    def _patch(self, key: ObjectKey, manifest: Object, present: StatusObject) -> bool:
        changes = self._changes(manifest, present)
        if not changes:
            return False
        changes.setdefault("metadata", {})["resourceVersion"] = present.version
        answer = self._api.call(
            "PATCH", _path(key), body=changes, content_type=MERGE_PATCH, timeout_seconds=_CALL_SECONDS
        )
        self._note(manifest, answer)
        return True

    def _changes(self, manifest: Object, present: StatusObject) -> Object:
        """A merge patch (RFC 7386) with what differs; empty when nothing does."""
        changes: Object = {}
        metadata = manifest["metadata"]
        if present.labels.get(pod_status.NODE_LABEL) != metadata["labels"][pod_status.NODE_LABEL]:
            changes["metadata"] = {"labels": metadata["labels"]}
        if list(present.owners) != metadata["ownerReferences"]:
            changes.setdefault("metadata", {})["ownerReferences"] = metadata["ownerReferences"]
        status = {
            field: value
            for field, value in manifest["status"].items()
            if (self._keeps_ours or field not in _OURS_ONLY)
            and (present.status.get(field) or None) != (value or None)
        }
        if status:
            changes["status"] = status
        return changes

    def _note(self, manifest: Object, answer: Object) -> None:
        """Remember what was written, and whether the API has a place for what upstream's definition lacks."""
        status = answer.get("status") or {}
        if any(manifest["status"].get(field) for field in _OURS_ONLY):
            self._keeps_ours = any(status.get(field) for field in _OURS_ONLY)
        with self._written:
            self._watched.put(answer)
            self._written.notify_all()

    def _look(self, wanted: ClusterObject) -> StatusObject | None:
        """The object as it is in the API, which may be another node's; None when there is none.

        Raises ObjectNotOursError, _MovedError when it is not for this node to write.
        """
        try:
            obj = self._api.call("GET", _path(wanted.key), timeout_seconds=_CALL_SECONDS)
        except ApiError as error:
            if error.is_not_found:
                self._watched.drop((wanted.key.namespace, wanted.key.name))
                return None
            raise
        present = keep_status(obj)
        if present.labels.get(pod_status.NODE_LABEL) != self._node_label:
            self._check_ours(wanted, present)
        return present

    def _check_ours(self, wanted: ClusterObject, present: StatusObject) -> None:
        """Of two nodes that have volumes of one pod's name, the one whose pod the API has may write."""
        metadata: Any = wanted.manifest["metadata"]
        (owner,) = metadata["ownerReferences"]
        if any(other.get("uid") == owner["uid"] for other in present.owners):
            return
        if others := [
            str(other.get("name")) for other in present.owners if other.get("name") != owner["name"]
        ]:
            raise ObjectNotOursError(
                f"{wanted.key} is of pod {others[0]} on another node, whose name and class read the same; rename one"
            )
        pod = read_pod(
            self._api, wanted.key.namespace, owner["name"], owner["uid"], timeout_seconds=_CALL_SECONDS
        )
        if pod is None:
            raise _MovedError


def _is_as_written(present: StatusObject) -> bool:
    """Whether the object names one pod as its owner, and a path of that very pod: nobody else made or changed it."""
    pods = [owner for owner in present.owners if owner.get("kind") == "Pod"]
    match = _TARGET_PATH.search(str(present.status.get("targetPath", "")))
    return len(present.owners) == len(pods) == 1 and match is not None and match[1] == pods[0].get("uid")


def _collection(namespace: str) -> str:
    return f"{_BASE}/namespaces/{quote(namespace, safe='')}/{_PLURAL}"


def _path(key: ObjectKey) -> str:
    return f"{_collection(key.namespace)}/{quote(key.name, safe='')}"
