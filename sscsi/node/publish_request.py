"""A NodePublishVolume request, checked and made plain."""

import dataclasses
from collections.abc import Mapping

from sscsi.core import log_keys
from sscsi.core.provider_request import TOKENS_KEY, find_tokens
from sscsi.core.redaction import sensitive_lines, token_values
from sscsi.core.target_path import clean_target_path
from sscsi.errors import InvalidRequestError
from sscsi.pb import csi_pb2

CLASS_KEY = "secretProviderClass"
POD_NAME_KEY = "csi.storage.k8s.io/pod.name"
POD_NAMESPACE_KEY = "csi.storage.k8s.io/pod.namespace"
POD_UID_KEY = "csi.storage.k8s.io/pod.uid"
SERVICE_ACCOUNT_KEY = "csi.storage.k8s.io/serviceAccount.name"
_MAX_GID = 2**32 - 2
_MAX_GID_DIGITS = 40


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PublishRequest:
    """What a publish needs. `repr` shows neither the volume context (tokens are in it) nor secrets."""

    volume_id: str
    target_path: str
    readonly: bool
    class_name: str
    pod_name: str
    pod_namespace: str
    pod_uid: str
    service_account: str
    gid: int | None
    tokens: str = dataclasses.field(repr=False)
    volume_context: Mapping[str, str] = dataclasses.field(repr=False)
    secrets: Mapping[str, str] = dataclasses.field(repr=False)

    @property
    def pod(self) -> str:
        return f"{self.pod_namespace}/{self.pod_name}"

    def about(self) -> dict[str, object]:
        """What a log line tells of the request, by key of `log_keys`."""
        return {
            log_keys.VOLUME_ID: self.volume_id,
            log_keys.POD: self.pod,
            log_keys.CLASS: self.class_name,
            log_keys.TARGET_PATH: self.target_path,
        }

    def sensitive(self) -> list[str]:
        """Every value that may stand in no text: secrets, each of their lines, and tokens."""
        values = [line for value in self.secrets.values() for line in sensitive_lines(value.encode())]
        for tokens in (self.secrets.get(TOKENS_KEY, ""), self.volume_context.get(TOKENS_KEY, "")):
            values += token_values(tokens) if tokens else []
        return values


def parse_publish(request: csi_pb2.NodePublishVolumeRequest) -> PublishRequest:
    """Check a request in upstream's order and texts (reference, 2.4, steps 1 to 4). Raises InvalidRequestError."""
    if not request.HasField("volume_capability"):
        raise InvalidRequestError("Volume capability missing in request")
    if not request.volume_id:
        raise InvalidRequestError("Volume ID missing in request")
    if not request.target_path:
        raise InvalidRequestError("Target path missing in request")
    if not request.volume_context:
        raise InvalidRequestError("Volume attributes missing in request")
    if request.volume_capability.HasField("block"):
        raise InvalidRequestError(
            "Volume capability in request is for a block volume; this driver mounts files only"
        )
    context, secrets = dict(request.volume_context), dict(request.secrets)
    return PublishRequest(
        volume_id=request.volume_id,
        target_path=clean_target_path(request.target_path),
        readonly=request.readonly,
        class_name=context.get(CLASS_KEY, ""),
        pod_name=context.get(POD_NAME_KEY, ""),
        pod_namespace=context.get(POD_NAMESPACE_KEY, ""),
        pod_uid=context.get(POD_UID_KEY, ""),
        service_account=context.get(SERVICE_ACCOUNT_KEY, ""),
        gid=_gid(request.volume_capability.mount.volume_mount_group),
        tokens=find_tokens(context, secrets),
        volume_context=context,
        secrets=secrets,
    )


def _gid(text: str) -> int | None:
    if not text:
        return None
    # The length first: Python turns no text of thousands of digits into a number.
    if not (text.isascii() and text.isdecimal() and len(text) <= _MAX_GID_DIGITS) or int(text) > _MAX_GID:
        raise InvalidRequestError(f"volume_mount_group {text[:40]!r} in request is not a decimal group id")
    return int(text)
