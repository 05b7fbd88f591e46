"""SecretProviderClassPodStatus: the object that shows what a pod has mounted (upstream-driver reference, 5.2, 5.3).

Same name, label, owner reference and fields as upstream's, so that both can run in one cluster. Where upstream
fails the mount, a name that the API would refuse is replaced by a derived one (`kubernetes_names.subdomain`).
"""

from collections.abc import Iterable, Sequence

from sscsi.core import status_conditions
from sscsi.core.kubernetes_names import label_value, subdomain
from sscsi.core.provider_class import GROUP
from sscsi.core.published_volume import PublishedVolume, content_time
from sscsi.core.status_conditions import Condition

KIND = "SecretProviderClassPodStatus"
API_VERSION = f"{GROUP}/v1"
NODE_LABEL = "internal.secrets-store.csi.k8s.io/node-name"


def status_name(volume: PublishedVolume) -> str:
    """Name of the status object; volumes of one pod with one class share it."""
    return subdomain(f"{volume.pod_name}-{volume.pod_namespace}-{volume.class_name}")


def select_volume(volumes: Sequence[PublishedVolume]) -> PublishedVolume:
    """The volume that the object shows, of all (at least one) that have its name.

    Stable on purpose, or each refresh would be a write: two volumes of one pod take turns in being the newest.
    Only of two incarnations of a pod, whose volumes overlap for a moment, the one tried last is the living.
    """
    last_attempt: dict[str, float] = {}
    for volume in volumes:
        last_attempt[volume.pod_uid] = max(volume.last_attempt_time, last_attempt.get(volume.pod_uid, 0.0))

    def rank(volume: PublishedVolume) -> tuple[str, str, float, str, str]:
        return (
            volume.pod_name,
            volume.class_name,
            -last_attempt[volume.pod_uid],
            volume.pod_uid,
            volume.target_path,
        )

    return min(volumes, key=rank)


def build_status(
    volumes: Sequence[PublishedVolume], *, node_id: str, synced: Condition | None
) -> dict[str, object]:
    """The manifest of the status object of `volumes` (at least one, which all have its name).

    `synced` is there for a class with `secretObjects` only. `lastChangeTime` is there when the volume itself tells it.
    """
    volume = select_volume(volumes)
    conditions = [status_conditions.ready(), status_conditions.refreshed(volumes)]
    status: dict[str, object] = {
        "podName": volume.pod_name,
        "secretProviderClassName": volume.class_name,
        "mounted": True,
        "targetPath": volume.target_path,
        "objects": [
            {"id": identifier, "version": version}
            for identifier, version in _sorted_versions(volume.object_versions)
        ],
        "conditions": [condition.document() for condition in [*conditions, *([synced] if synced else [])]],
    }
    if volume.data_directory:
        status["lastChangeTime"] = status_conditions.stamp(content_time(volume))
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {
            "name": status_name(volume),
            "namespace": volume.pod_namespace,
            "labels": {NODE_LABEL: label_value(node_id)},
            "ownerReferences": [
                {"apiVersion": "v1", "kind": "Pod", "name": volume.pod_name, "uid": volume.pod_uid}
            ],
        },
        "status": status,
    }


def _sorted_versions(versions: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """By id in byte order; of equal ids the last stays, as in upstream's map."""
    return sorted(dict(versions).items(), key=lambda entry: entry[0].encode())
