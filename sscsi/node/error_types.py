"""Upstream's label `error_type`, from a fixed set of words (reference upstream-driver.md, 8.1).

Upstream copies a provider's own error code into the label. Here such a code becomes the name of a gRPC code, Unknown
when it is none: a provider, or who can make it fail, does not make series.
"""

import grpc

from sscsi import errors
from sscsi.edges.grpc_status import GO_NAMES

FAILED_TO_MOUNT = "FailedToMount"
FAILED_TO_ENSURE_MOUNT_POINT = "FailedToEnsureMountPoint"
CLASS_NOT_FOUND = "SecretProviderClassNotFound"
GRPC_PROVIDER_ERROR = "GRPCProviderError"
FILE_WRITE_ERROR = "FileWriteError"
UPSTREAM_WORDS = (
    FAILED_TO_MOUNT,
    FAILED_TO_ENSURE_MOUNT_POINT,
    CLASS_NOT_FOUND,
    GRPC_PROVIDER_ERROR,
    FILE_WRITE_ERROR,
)
PROVIDER_CODES = tuple(name for code, name in GO_NAMES.items() if code is not grpc.StatusCode.OK)
ERROR_TYPES = (*UPSTREAM_WORDS, *PROVIDER_CODES)

_UNKNOWN = GO_NAMES[grpc.StatusCode.UNKNOWN]
_BY_ERROR: dict[type[errors.SscsiError], str] = {
    errors.TargetPathError: FAILED_TO_ENSURE_MOUNT_POINT,
    errors.ClassNotFoundError: CLASS_NOT_FOUND,
    # Upstream looks in its cache, and has this word for whatever goes wrong there.
    errors.ClusterUnavailableError: CLASS_NOT_FOUND,
    errors.RoomUnavailableError: CLASS_NOT_FOUND,
    # Upstream's word for it is the empty one.
    errors.ProviderNotFoundError: GRPC_PROVIDER_ERROR,
    errors.ProviderCallError: GRPC_PROVIDER_ERROR,
    errors.ProviderAnswerError: GRPC_PROVIDER_ERROR,
    errors.ContentTooLargeError: FILE_WRITE_ERROR,
    errors.ContentNotProvenError: FILE_WRITE_ERROR,
    errors.RecordError: FILE_WRITE_ERROR,
}
_BY_SPELLING = {
    spelling: name
    for code, name in GO_NAMES.items()
    if code is not grpc.StatusCode.OK
    # As Go prints it, as the specification writes it, and as a number.
    for spelling in (name.lower(), code.name.replace("_", "").lower(), str(code.value[0]))
}


def error_type(error: errors.SscsiError) -> str:
    """One of ERROR_TYPES; what has no row of its own kept the volume from being mounted."""
    if isinstance(error, errors.ProviderAnswerError) and error.provider_code:
        return known_code(error.provider_code)
    return _BY_ERROR.get(type(error), FAILED_TO_MOUNT)


def known_code(provider_code: str) -> str:
    """A provider's own error code as one of PROVIDER_CODES: `PermissionDenied`, `PERMISSION_DENIED` and `7` are one."""
    return _BY_SPELLING.get(provider_code.replace("_", "").strip().lower(), _UNKNOWN)
