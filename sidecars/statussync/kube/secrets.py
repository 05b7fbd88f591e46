"""Secrets from classes: made, kept as they should be, never taken from anybody, and left to the garbage collector.

A Secret is looked at by name when there is a reason to, and every few minutes; it is never listed or watched, so no
right to do so is needed, and no other Secret ever comes here. Several nodes write one Secret: what each adds to its
owners is a strategic merge by uid (Kubernetes, "Update API Objects in Place Using kubectl patch"), which loses nobody's.
"""

import hashlib
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from sidecars.statussync.kube.api import STRATEGIC_PATCH, KubeApi, Object
from sidecars.statussync.kube.api_errors import ApiError, unavailable
from sscsi.core import secret_data
from sscsi.errors import ClusterUnavailableError, ObjectNotOursError, SecretDataError
from sscsi.ports import ClusterObject, ObjectKey

TAKE_OVER = "secrets-store.csi.k8s.io/allow-takeover"
_CALL_SECONDS = 10.0
_ATTEMPTS = 5
# A hundred pods of one Deployment start together: what was right a moment ago is not looked at for each of them.
_FRESH_SECONDS = 5.0
# Without the right to write Secrets nothing changes from one minute to the next.
_FORBIDDEN_SECONDS = 60.0
_NO_RIGHT = (
    "the service account may not write Secrets: install the role secretprovidersyncing-role (kubectl apply -f "
    "deploy/rbac-secretprovidersyncing.yaml; syncSecret.enabled=true in the chart), or remove secretObjects from the class"
)


class KubeSecrets:
    """Secrets by name. Threads may share it; one Secret is worked on by one at a time."""

    def __init__(self, api: KubeApi, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._api = api
        self._clock = clock
        self._lock = threading.Lock()
        # By Secret: a digest of what it was made to be, and when that was seen to be so.
        self._seen: dict[ObjectKey, tuple[bytes, float]] = {}
        # By namespace: until when nobody need ask.
        self._forbidden: dict[str, float] = {}

    def apply(self, wanted: ClusterObject) -> bool:
        """Make the Secret so; whether it had to be written.

        Raises ClusterUnavailableError, ObjectNotOursError, and SecretDataError for what the API server will never take.
        """
        key = wanted.key
        digest = _digest(wanted.manifest)
        if self._is_fresh(key, digest):
            return False
        if not wanted.manifest["metadata"]["ownerReferences"]:  # type: ignore[index] # made by secret_data
            raise ClusterUnavailableError(
                f"{key}: no pod that uses it is known to the API any more; it is not written"
            )
        self._check_allowed(key)
        try:
            is_written = self._apply(key, dict(wanted.manifest))
        except ApiError as error:
            raise self._explained(key, error) from error
        now = self._clock()
        with self._lock:
            # What is not fresh any more is of no use to anybody.
            self._seen = {other: seen for other, seen in self._seen.items() if now - seen[1] < _FRESH_SECONDS}
            self._seen[key] = (digest, now)
        return is_written

    def _is_fresh(self, key: ObjectKey, digest: bytes) -> bool:
        with self._lock:
            seen = self._seen.get(key)
        return seen is not None and seen[0] == digest and self._clock() - seen[1] < _FRESH_SECONDS

    def _check_allowed(self, key: ObjectKey) -> None:
        with self._lock:
            until = self._forbidden.get(key.namespace, float("-inf"))
        if self._clock() < until:
            raise ClusterUnavailableError(f"{key}: {_NO_RIGHT}")

    def _apply(self, key: ObjectKey, manifest: Object) -> bool:
        for _ in range(_ATTEMPTS):
            present = self._look(key)
            try:
                if present is None:
                    self._api.call("POST", _collection(key), body=manifest, timeout_seconds=_CALL_SECONDS)
                    return True
                _check_ours(key, manifest, present)
                if present.get("immutable") or present.get("type", "Opaque") != manifest["type"]:
                    if not _differs(manifest, present):
                        return False
                    self._remove(key, present)
                    continue
                patch = _patch(manifest, present)
                if not patch:
                    return False
                # It is that very Secret, or none: what was made in between has owners of its own.
                patch.setdefault("metadata", {})["uid"] = present["metadata"]["uid"]
                self._api.call(
                    "PATCH",
                    _path(key),
                    body=patch,
                    content_type=STRATEGIC_PATCH,
                    timeout_seconds=_CALL_SECONDS,
                )
                return True
            except ApiError as error:
                # Made, replaced or collected since the look.
                if not (error.is_conflict or error.is_not_found):
                    raise
        raise ClusterUnavailableError(f"{key} changes too quickly to be written")

    def _look(self, key: ObjectKey) -> Object | None:
        try:
            present = self._api.call("GET", _path(key), timeout_seconds=_CALL_SECONDS)
        except ApiError as error:
            if error.is_not_found:
                return None
            raise
        if "deletionTimestamp" in present["metadata"]:
            raise ClusterUnavailableError(f"{key} is being deleted; it is made again after that")
        return present

    def _remove(self, key: ObjectKey, present: Object) -> None:
        metadata = present["metadata"]
        preconditions = {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}
        self._api.call(
            "DELETE", _path(key), body={"preconditions": preconditions}, timeout_seconds=_CALL_SECONDS
        )

    def _explained(self, key: ObjectKey, error: ApiError) -> Exception:
        # The API server's own words may quote what is in the Secret: its reason and the field's name may not.
        where = f" ({', '.join(error.fields)})" if error.fields else ""
        if error.is_forbidden:
            now = self._clock()
            with self._lock:
                self._forbidden = {name: until for name, until in self._forbidden.items() if until > now}
                self._forbidden[key.namespace] = now + _FORBIDDEN_SECONDS
            return ClusterUnavailableError(f"{key}: {_NO_RIGHT}")
        if error.is_invalid:
            return SecretDataError(f"{key}: the API server does not take it: {error.reason}{where}")
        if error.code:
            return ClusterUnavailableError(
                f"{key}: the API server answered {error.code} {error.reason}{where}"
            )
        return unavailable(error)


def _check_ours(key: ObjectKey, manifest: Object, present: Object) -> None:
    """Raise ObjectNotOursError for a Secret that somebody else, or another class, made."""
    labels = present["metadata"].get("labels") or {}
    annotations = present["metadata"].get("annotations") or {}
    is_offered = annotations.get(TAKE_OVER) == "true"
    if labels.get(secret_data.MANAGED_LABEL) != "true" and not is_offered:
        raise ObjectNotOursError(
            f"{key} is there and was not made by this driver; remove it, choose another secretName, or let it be taken "
            f'over with the annotation {TAKE_OVER}: "true"'
        )
    ours = manifest["metadata"]["annotations"][secret_data.CLASS_ANNOTATION]
    other = annotations.get(secret_data.CLASS_ANNOTATION, ours)
    if other != ours and not is_offered and _has_other_owners(manifest, present):
        raise ObjectNotOursError(
            f"{key} is made by SecretProviderClass {other} already; give one of the two another secretName"
        )


def _has_other_owners(manifest: Object, present: Object) -> bool:
    """Whether somebody owns the Secret beside those for whom it is wanted here."""
    ours = {owner["uid"] for owner in manifest["metadata"]["ownerReferences"]}
    return any(owner.get("uid") not in ours for owner in present["metadata"].get("ownerReferences") or ())


def _differs(manifest: Object, present: Object) -> bool:
    return bool(_patch(manifest, present)) or present.get("type", "Opaque") != manifest["type"]


def _patch(manifest: Object, present: Object) -> Object:
    """A strategic merge patch with what differs; empty when nothing does. What others added to metadata stays."""
    patch: Object = {}
    metadata: Object = {}
    for field in ("labels", "annotations"):
        there = present["metadata"].get(field) or {}
        missing = {
            name: value
            for name, value in (manifest["metadata"].get(field) or {}).items()
            if there.get(name) != value
        }
        if missing:
            metadata[field] = missing
    if owners := _owner_changes(
        manifest["metadata"]["ownerReferences"], present["metadata"].get("ownerReferences") or ()
    ):
        metadata["ownerReferences"] = owners
    if metadata:
        patch["metadata"] = metadata
    there = present.get("data") or {}
    data: dict[str, str | None] = {
        name: value for name, value in manifest["data"].items() if there.get(name) != value
    }
    data.update(dict.fromkeys(there.keys() - manifest["data"].keys()))
    if data:
        patch["data"] = data
    return patch


def _owner_changes(wanted: Sequence[Mapping[str, Any]], present: Sequence[Mapping[str, Any]]) -> list[Object]:
    """What to merge into the owners, by uid: those that are missing, and out with former incarnations of those."""
    there = {owner.get("uid") for owner in present}
    missing = [owner for owner in wanted if owner["uid"] not in there]
    names = {(owner["kind"], owner["name"]) for owner in missing}
    former = [owner for owner in present if (owner.get("kind"), owner.get("name")) in names]
    return [*({"$patch": "delete", "uid": owner["uid"]} for owner in former), *map(dict, missing)]


def _digest(manifest: Mapping[str, object]) -> bytes:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).digest()


def _collection(key: ObjectKey) -> str:
    return f"/api/v1/namespaces/{quote(key.namespace, safe='')}/secrets"


def _path(key: ObjectKey) -> str:
    return f"{_collection(key)}/{quote(key.name, safe='')}"
