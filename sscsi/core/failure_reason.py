"""Why a publish or a refresh failed, in words of two fixed sets: one for conditions, one for metrics.

Whatever a provider says, the sets stay as they are: a label of a metric or a reason of a condition is never foreign text.
"""

from sscsi import errors

PROVIDER_NOT_FOUND = "ProviderNotFound"
PROVIDER_UNAVAILABLE = "ProviderUnavailable"
PROVIDER_THROTTLED = "ProviderThrottled"
PROVIDER_TIMED_OUT = "ProviderTimedOut"
PROVIDER_DENIED = "ProviderDenied"
PROVIDER_FAILED = "ProviderFailed"
ANSWER_INVALID = "ProviderAnswerInvalid"
CONTENT_TOO_LARGE = "ContentTooLarge"
CLASS_NOT_FOUND = "ClassNotFound"
CLASS_INVALID = "ClassInvalid"
CLASS_UNAVAILABLE = "ClassUnavailable"
REQUEST_INVALID = "RequestInvalid"
WRITE_FAILED = "WriteFailed"
REASONS = (
    PROVIDER_NOT_FOUND,
    PROVIDER_UNAVAILABLE,
    PROVIDER_THROTTLED,
    PROVIDER_TIMED_OUT,
    PROVIDER_DENIED,
    PROVIDER_FAILED,
    ANSWER_INVALID,
    CONTENT_TOO_LARGE,
    CLASS_NOT_FOUND,
    CLASS_INVALID,
    CLASS_UNAVAILABLE,
    REQUEST_INVALID,
    WRITE_FAILED,
)
"""Reasons of the condition `Refreshed`, of log lines and of `sscsi_refresh_failures_total`."""

PASSING = frozenset(
    {PROVIDER_NOT_FOUND, PROVIDER_UNAVAILABLE, PROVIDER_THROTTLED, PROVIDER_TIMED_OUT, CLASS_UNAVAILABLE}
)
"""What is over with the next try, perhaps, and has hit every class of the provider; the rest somebody has to mend in one."""

# The numbers are gRPC's status codes.
CANCELLED, DEADLINE_EXCEEDED, NOT_FOUND, PERMISSION_DENIED = 1, 4, 5, 7
RESOURCE_EXHAUSTED, UNAVAILABLE, UNAUTHENTICATED = 8, 14, 16
_BY_CODE = {
    CANCELLED: PROVIDER_UNAVAILABLE,
    DEADLINE_EXCEEDED: PROVIDER_TIMED_OUT,
    PERMISSION_DENIED: PROVIDER_DENIED,
    RESOURCE_EXHAUSTED: PROVIDER_THROTTLED,
    UNAVAILABLE: PROVIDER_UNAVAILABLE,
    UNAUTHENTICATED: PROVIDER_DENIED,
}
_BY_ERROR: dict[type[errors.SscsiError], str] = {
    errors.ProviderNotFoundError: PROVIDER_NOT_FOUND,
    errors.ProviderAnswerError: ANSWER_INVALID,
    errors.ContentNotProvenError: ANSWER_INVALID,
    errors.ContentTooLargeError: CONTENT_TOO_LARGE,
    errors.ClassNotFoundError: CLASS_NOT_FOUND,
    errors.ClassInvalidError: CLASS_INVALID,
    errors.ClassMissingInRequestError: CLASS_INVALID,
    errors.ClusterUnavailableError: CLASS_UNAVAILABLE,
    errors.InvalidRequestError: REQUEST_INVALID,
    errors.OverloadedError: PROVIDER_UNAVAILABLE,
    errors.StoppingError: PROVIDER_UNAVAILABLE,
}


def failure_reason(error: errors.SscsiError) -> str:
    """The word of REASONS for an error; what has no row of its own happened while writing."""
    if isinstance(error, errors.ProviderCallError):
        return _BY_CODE.get(error.code, PROVIDER_FAILED)
    if isinstance(error, errors.ProviderAnswerError) and error.provider_code:
        return PROVIDER_FAILED
    return _BY_ERROR.get(type(error), WRITE_FAILED)
