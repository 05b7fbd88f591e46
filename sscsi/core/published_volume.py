"""A published volume, as far as status objects and Secrets depend on it: what status-sync hears of a record."""

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PublishedVolume:
    """One volume that the node room keeps a record of. Times are seconds since the epoch.

    `object_versions` are pairs of id and version, empty when nobody knows them (an adopted volume);
    `data_directory` is what `..data` named when the record was written, empty when the provider wrote plain
    files itself.
    """

    target_path: str
    pod_name: str
    pod_namespace: str
    pod_uid: str
    class_name: str
    object_versions: tuple[tuple[str, str], ...]
    data_directory: str
    last_attempt_time: float
    last_success_time: float
