"""The one place that turns errors into gRPC statuses, and writes the one log line of each call.

The codes are upstream's as measured (upstream-driver reference, 2.3 to 2.9): what Go returns as a plain error
arrives as UNKNOWN. Kubelet takes CANCELLED, DEADLINE_EXCEEDED, UNAVAILABLE, RESOURCE_EXHAUSTED and ABORTED for
"perhaps mounted" and all others for "not mounted" (sidecars reference, C8), so the choice matters.
"""

import logging
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import grpc

from sscsi import errors
from sscsi.core import log_keys, log_levels

log = logging.getLogger(__name__)

CODES: dict[type[errors.SscsiError], grpc.StatusCode] = {
    errors.ConfigError: grpc.StatusCode.INTERNAL,
    errors.DiskFullError: grpc.StatusCode.INTERNAL,
    errors.InvalidRequestError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.ClassMissingInRequestError: grpc.StatusCode.UNKNOWN,
    errors.ClassNotFoundError: grpc.StatusCode.UNKNOWN,
    errors.ClassInvalidError: grpc.StatusCode.UNKNOWN,
    errors.ClusterUnavailableError: grpc.StatusCode.UNAVAILABLE,
    # No call of ours passes this one on: it is a finding about the installation.
    errors.ReviewRefusedError: grpc.StatusCode.PERMISSION_DENIED,
    errors.RoomUnavailableError: grpc.StatusCode.UNAVAILABLE,
    errors.ObjectNotOursError: grpc.StatusCode.FAILED_PRECONDITION,
    # No call of ours passes these two on: only health pages and the registrar call a CSI driver.
    errors.DriverUnreachableError: grpc.StatusCode.UNAVAILABLE,
    errors.DriverCallError: grpc.StatusCode.UNKNOWN,
    errors.ProviderNotFoundError: grpc.StatusCode.UNKNOWN,
    # The code of a ProviderCallError is the provider's own; UNKNOWN stands in for one that gRPC has not.
    errors.ProviderCallError: grpc.StatusCode.UNKNOWN,
    errors.ProviderAnswerError: grpc.StatusCode.UNKNOWN,
    errors.ContentTooLargeError: grpc.StatusCode.UNKNOWN,
    errors.UnsupportedError: grpc.StatusCode.UNIMPLEMENTED,
    errors.VolumeBusyError: grpc.StatusCode.ABORTED,
    errors.OverloadedError: grpc.StatusCode.UNAVAILABLE,
    errors.StoppingError: grpc.StatusCode.UNAVAILABLE,
    errors.TargetPathError: grpc.StatusCode.INTERNAL,
    errors.MountError: grpc.StatusCode.UNKNOWN,
    errors.PropagationError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.ContentNotProvenError: grpc.StatusCode.UNKNOWN,
    errors.VolumeNotFoundError: grpc.StatusCode.NOT_FOUND,
    errors.RecordError: grpc.StatusCode.INTERNAL,
    errors.SecretDataError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.SocketBusyError: grpc.StatusCode.UNAVAILABLE,
    errors.ObjectError: grpc.StatusCode.UNKNOWN,
}
# Where `sscsi.v1.Classes` differs: the node room must tell a missing class from a broken one, and gives kubelet
# upstream's code itself.
CLASSES_CODES: dict[type[errors.SscsiError], grpc.StatusCode] = {
    errors.ClassNotFoundError: grpc.StatusCode.NOT_FOUND,
    errors.ClassInvalidError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.ClusterUnavailableError: grpc.StatusCode.UNAVAILABLE,
}
# Where `sscsi.v1.Volumes` does: nothing that was asked for exists, which is no matter of a CSI path.
VOLUMES_CODES: dict[type[errors.SscsiError], grpc.StatusCode] = {
    errors.VolumeNotFoundError: grpc.StatusCode.FAILED_PRECONDITION,
}
ErrorCodes = Mapping[type[errors.SscsiError], grpc.StatusCode]
"""Rows of CODES, or others in their place."""
NO_ANSWERS: ErrorCodes = MappingProxyType({})
_BY_NUMBER = {int(code.value[0]): code for code in grpc.StatusCode}
# Go's spelling of the codes, as it appears in error texts that users grep.
_IRREGULAR_GO_NAMES = {grpc.StatusCode.OK: "OK", grpc.StatusCode.CANCELLED: "Canceled"}
GO_NAMES = {
    code: _IRREGULAR_GO_NAMES.get(code) or "".join(part.capitalize() for part in code.name.split("_"))
    for code in grpc.StatusCode
}
# gRPC's default limit for the metadata of an answer is 8 KiB, and a byte of text may take three there. Beyond it the
# caller is told RESOURCE_EXHAUSTED in place of the call's own status.
MAX_TEXT_BYTES = 2560
_LEVELS = {"NodePublishVolume": log_levels.CALLS, "NodeUnpublishVolume": log_levels.CALLS}
"""Of a success's line; all others are REQUESTS."""
INTERNAL_TEXT = "internal error; the log of this program has the place"


def status_of(error: errors.SscsiError, answers: ErrorCodes = NO_ANSWERS) -> grpc.StatusCode:
    """The gRPC status of an error; a row of `answers` goes before that of CODES."""
    if isinstance(error, errors.ProviderCallError):
        return code_of(error.code)
    return answers.get(type(error), CODES[type(error)])


def code_of(number: int) -> grpc.StatusCode:
    """The code of an error's number; UNKNOWN for OK, which no error has, and for numbers that gRPC has not."""
    code = _BY_NUMBER.get(number, grpc.StatusCode.UNKNOWN)
    return grpc.StatusCode.UNKNOWN if code is grpc.StatusCode.OK else code


class StatusInterceptor(grpc.ServerInterceptor):
    """Lets servicers raise: the error becomes the call's status, and every call one log line.

    A success is worth a line at verbosity 2 when it is kubelet's publish or unpublish, at 5 otherwise: what has changed is
    told by who changed it. `answers` are errors that are an answer to another room, with their codes, where CODES may have
    others: who asked tells of them, here they are worth a line at verbosity 4. All other errors are told at ERROR. It
    keeps the handlers it has wrapped, so each server needs one of its own.
    """

    def __init__(self, answers: ErrorCodes = NO_ANSWERS) -> None:
        self._answers = answers
        self._handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], "grpc.RpcMethodHandler[Any, Any] | None"],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "grpc.RpcMethodHandler[Any, Any] | None":
        method = handler_call_details.method
        if method not in self._handlers:
            handler = continuation(handler_call_details)
            if handler is None:
                return None
            self._handlers[method] = self._wrap(method, handler)
        return self._handlers[method]

    def _wrap(
        self, method: str, handler: "grpc.RpcMethodHandler[Any, Any]"
    ) -> "grpc.RpcMethodHandler[Any, Any]":
        name = method.rpartition("/")[2]
        if handler.unary_unary is None:  # the appliance has unary and server-streaming methods only
            return grpc.unary_stream_rpc_method_handler(
                self._streaming(name, handler.unary_stream),
                handler.request_deserializer,
                handler.response_serializer,
            )
        return grpc.unary_unary_rpc_method_handler(
            self._unary(name, _LEVELS.get(name, log_levels.REQUESTS), handler.unary_unary),
            handler.request_deserializer,
            handler.response_serializer,
        )

    def _unary(self, name: str, level: int, behavior: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        def call(request: Any, context: grpc.ServicerContext) -> Any:
            begun = time.monotonic()
            try:
                answer = behavior(request, context)
            except Exception as error:  # noqa: BLE001 - one place turns errors into statuses
                code, text = _report(name, request, error, begun, self._answers)
                context.abort(code, text)
            _tell_success(name, level, request, begun)
            return answer

        return call

    def _streaming(self, name: str, behavior: Callable[[Any, Any], Any] | None) -> Callable[[Any, Any], Any]:
        def call(request: Any, context: grpc.ServicerContext) -> Any:
            begun = time.monotonic()
            try:
                yield from behavior(request, context) if behavior else ()
            except Exception as error:  # noqa: BLE001 - one place turns errors into statuses
                code, text = _report(name, request, error, begun, self._answers)
                context.abort(code, text)
            _tell_success(name, log_levels.REQUESTS, request, begun)

        return call


def _tell_success(name: str, level: int, request: Any, begun: float) -> None:
    if log.isEnabledFor(level):
        log.log(level, name, extra=_fields(name, request, grpc.StatusCode.OK, begun))


def _report(
    name: str, request: Any, error: Exception, begun: float, answers: ErrorCodes
) -> tuple[grpc.StatusCode, str]:
    if isinstance(error, errors.SscsiError):
        code, text = status_of(error, answers), _fit(str(error))
        log.log(
            log_levels.DECISIONS if type(error) in answers else log_levels.ERROR,
            "%s failed",
            name,
            extra={**_fields(name, request, code, begun), log_keys.ERROR: text},
        )
        return code, text
    code = grpc.StatusCode.INTERNAL
    log.error("%s failed unexpectedly", name, extra=_fields(name, request, code, begun), exc_info=error)
    return code, INTERNAL_TEXT


def _fit(text: str) -> str:
    """`text` as a status can carry it: cut, and with bytes of a path that are no text escaped."""
    data = text.encode(errors="backslashreplace")
    if len(data) <= MAX_TEXT_BYTES:
        return data.decode()
    return data[: MAX_TEXT_BYTES - 3].decode(errors="ignore") + "..."


def _fields(name: str, request: Any, code: grpc.StatusCode, begun: float) -> dict[str, object]:
    fields: dict[str, object] = {
        log_keys.METHOD: name,
        log_keys.CODE: GO_NAMES[code],
        log_keys.SECONDS: round(time.monotonic() - begun, 6),
    }
    volume_id = getattr(request, "volume_id", "")
    if volume_id:
        fields[log_keys.VOLUME_ID] = volume_id
    return fields
