"""A published volume, as far as status objects and Secrets depend on it: what status-sync hears of a record."""

import dataclasses
import datetime as dt
import re

from sscsi.core.pod_event import PodEvent

_DATA_DIRECTORY = re.compile(r"\.\.([0-9]{4}(?:_[0-9]{2}){5})\.")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PublishedVolume:
    """One volume that the node room keeps a record of. Times are seconds since the epoch.

    `object_versions` are pairs of id and version, empty when nobody knows them (an adopted volume);
    `data_directory` is what `..data` named when the record was written, empty when the provider wrote plain
    files itself; `last_error` why the last attempt failed, redacted, empty when it did not, `failure_reason` the same in one
    word of `failure_reason.REASONS`, and `failing_since` since when none succeeded, 0 when the last one did; `adopted` says
    that the volume was found mounted and not fetched since.
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
    last_error: str
    adopted: bool
    failure_reason: str = ""
    failing_since: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class VolumeChange:
    """One message of the node room's watch.

    A `snapshot` is everything there is; otherwise `volumes` are new or changed, and those at
    `removed_target_paths` are gone. `unknown_volumes` counts mounts that the node room may have published and does not know;
    `notices` tell what went wrong with volumes, published or not.
    """

    snapshot: bool
    volumes: tuple[PublishedVolume, ...]
    removed_target_paths: tuple[str, ...]
    unknown_volumes: int = 0
    notices: tuple[PodEvent, ...] = ()


def content_time(volume: PublishedVolume) -> float:
    """When the volume's content was last written, in seconds since the epoch.

    The name of the `..data` directory begins with that time (upstream-driver reference, 4.3), which a refresh
    without news does not touch; for plain files the last success is the best there is.
    """
    match = _DATA_DIRECTORY.match(volume.data_directory)
    if match is None:
        return volume.last_success_time
    try:
        return dt.datetime.strptime(match[1] + "+0000", "%Y_%m_%d_%H_%M_%S%z").timestamp()
    except ValueError:
        return volume.last_success_time
