"""The record of a publish that has just succeeded."""

import time
from typing import Any

from sscsi.core.annotations import INTERVAL, MAX_ASK, REFRESH_AT
from sscsi.core.certificate_life import CertificateLife
from sscsi.core.provider_class import SecretProviderClass
from sscsi.core.volume_record import VolumeRecord
from sscsi.node.content import Content
from sscsi.node.provider_fetch import Versions
from sscsi.node.publish_request import PublishRequest


def boottime() -> float:
    """Seconds of CLOCK_BOOTTIME: never stepped, and counting while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def record_delivery(
    request: PublishRequest,
    boot_id: str,
    device: int,
    content: Content,
    *,
    provider_class: SecretProviderClass,
    object_versions: Versions,
    life: CertificateLife | None,
    pod_ask: str,
) -> VolumeRecord:
    """The record of content that the provider delivered now; `life` is that of its certificates, `pod_ask` what the
    pod's annotation asked for.
    """
    now, annotations = time.time(), provider_class.annotations
    return VolumeRecord(
        **_place(request, boot_id, device, content),
        class_uid=provider_class.uid,
        class_generation=provider_class.generation,
        provider=provider_class.provider,
        object_versions=object_versions,
        adopted=False,
        attempt_time=now,
        success_time=now,
        success_boottime=boottime(),
        last_error="",
        renew_time=life.renew_time if life else 0.0,
        expiry_time=life.expiry_time if life else 0.0,
        class_interval=annotations.get(INTERVAL, "")[:MAX_ASK],
        class_ask=annotations.get(REFRESH_AT, "")[:MAX_ASK],
        pod_ask=pod_ask,
    )


def record_adoption(request: PublishRequest, boot_id: str, device: int, content: Content) -> VolumeRecord:
    """The record of content that was found in place: nobody knows what versions it has or how old it is, so it
    is due at once.
    """
    return VolumeRecord(
        **_place(request, boot_id, device, content),
        class_uid="",
        class_generation=0,
        provider="",
        object_versions=(),
        adopted=True,
        attempt_time=time.time(),
        success_time=0.0,
        success_boottime=0.0,
        last_error="",
    )


def _place(request: PublishRequest, boot_id: str, device: int, content: Content) -> dict[str, Any]:
    return {
        "boot_id": boot_id,
        "device": device,
        "volume_id": request.volume_id,
        "target_path": request.target_path,
        "pod_name": request.pod_name,
        "pod_namespace": request.pod_namespace,
        "pod_uid": request.pod_uid,
        "service_account": request.service_account,
        "class_name": request.class_name,
        "data_directory": content.data_directory,
        "files": content.files,
    }
