"""A record of a published volume, complete; a test says only what matters to it."""

import dataclasses
from typing import Any

from sscsi.core.volume_record import VolumeRecord


def make_record(target_path: str = "/pods/u/mount", **changes: Any) -> VolumeRecord:
    """A record of a volume at `target_path`, fetched once."""
    record = VolumeRecord(
        boot_id="boot",
        device=7,
        volume_id="csi-1",
        target_path=target_path,
        pod_name="web-0",
        pod_namespace="default",
        pod_uid="pod-uid-1",
        service_account="default",
        class_name="app",
        class_uid="uid",
        class_generation=1,
        provider="fake",
        data_directory="..2026_11_24_01_02_03.1",
        files=(),
        object_versions=(("secret", "v1"),),
        adopted=False,
        attempt_time=1.0,
        success_time=1.0,
        success_boottime=1.0,
        last_error="",
    )
    return dataclasses.replace(record, **changes)
