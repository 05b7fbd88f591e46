"""What can go wrong between us and an API server, in one class and one translation."""

import ssl
from collections.abc import Mapping, Sequence
from typing import Any

import urllib3

from sscsi.core.redaction import clean_message
from sscsi.errors import ClusterUnavailableError

UNREACHABLE = "Unreachable"
GARBAGE = "Garbage"

_NOT_FOUND = 404
_CONFLICT = 409
_GONE = 410
_TOO_MANY = 429
_FORBIDDEN = 403
_UNAUTHORIZED = 401
_INVALID = (400, 413, 415, 422)
_SERVER = 500


class ApiError(Exception):
    """A request that did not do what it was for.

    `code` is the HTTP status, 0 when there was no answer; `reason` the API's word for it (metav1.Status), or one of
    the two above; `fields` are the places that the API server complains of; `retry_after_seconds` is what it asked for.
    `was_sent` is False when the server can't have seen the request.
    """

    def __init__(
        self,
        message: str,
        *,
        code: int,
        reason: str,
        fields: tuple[str, ...] = (),
        retry_after_seconds: float = 0.0,
        was_sent: bool = True,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.fields = fields
        self.retry_after_seconds = retry_after_seconds
        self.was_sent = was_sent

    @property
    def is_not_found(self) -> bool:
        return self.code == _NOT_FOUND

    @property
    def is_conflict(self) -> bool:
        """Somebody else's write came first, or the object exists already, or is another one than it was."""
        return self.code == _CONFLICT

    @property
    def is_gone(self) -> bool:
        """The version that a watch was to go on from is no longer kept."""
        return self.code == _GONE

    @property
    def is_forbidden(self) -> bool:
        return self.code == _FORBIDDEN

    @property
    def is_unauthorized(self) -> bool:
        return self.code == _UNAUTHORIZED

    @property
    def is_invalid(self) -> bool:
        """The API server will never take this very request."""
        return self.code in _INVALID

    def may_be_repeated(self, method: str) -> bool:
        """Whether the same request may go well in a moment, and does no harm if the first one went well after all."""
        if self.code == _TOO_MANY or not self.was_sent:
            return True
        return method == "GET" and (self.code >= _SERVER or self.reason in {UNREACHABLE, GARBAGE})


def from_status(
    code: int, body: Mapping[str, Any], *, retry_after: str, what: str, sensitive: Sequence[str] = ()
) -> ApiError:
    """The error of an answer: `body` is a metav1.Status or empty, `what` the request in words, `sensitive` what must
    not be in the error.
    """
    reason = clean_message(_text(body.get("reason")), sensitive) or f"HTTP {code}"
    details = body.get("details")
    causes = details.get("causes") if isinstance(details, dict) else None
    fields = tuple(
        clean_message(_text(cause.get("field")), sensitive)
        for cause in (causes if isinstance(causes, list) else ())
        if isinstance(cause, dict) and _text(cause.get("field"))
    )
    message = clean_message(_text(body.get("message")), sensitive)
    return ApiError(
        f"{what}: {message or reason}",
        code=code,
        reason=reason,
        fields=fields,
        retry_after_seconds=_seconds(retry_after),
    )


def unanswered(error: urllib3.exceptions.HTTPError, what: str) -> ApiError:
    """The error of a request, `what` in words, that no answer came to."""
    # A proxy that does not lead to the server has not told it anything.
    cause = error.original_error if isinstance(error, urllib3.exceptions.ProxyError) else error
    was_sent = cause is error and not isinstance(
        error, (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError)
    )
    why = f"no answer ({type(error).__name__})"
    inner = cause.args[0] if isinstance(cause, urllib3.exceptions.SSLError) and cause.args else None
    if isinstance(inner, ssl.SSLCertVerificationError):
        was_sent = False
        why = f"the server's certificate is not accepted: {inner.verify_message.rstrip('.')}"
    return ApiError(f"{what}: {why}", code=0, reason=UNREACHABLE, was_sent=was_sent)


def unavailable(error: ApiError, *, no_right: str = "") -> ClusterUnavailableError:
    """The error as the rest of status-sync knows it: to be tried again later, whatever it is.

    `no_right` is the cure when it is forbidden.
    """
    cure = no_right if error.is_forbidden else ""
    if error.is_unauthorized:
        cure = "the credentials are not accepted; they are read anew with each try"
    return ClusterUnavailableError(f"{error}; {cure}" if cure else str(error))


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _seconds(text: str) -> float:
    return min(float(text), 60.0) if text.isascii() and text.isdecimal() and len(text) < 6 else 0.0
