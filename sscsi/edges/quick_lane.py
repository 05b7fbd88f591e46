"""Threads of their own for calls that never wait for anybody.

gRPC for Python runs every call of a server in one pool, first come, first served: behind five hundred publishes
that arrived together, Probe would wait its turn. grpcio lets a method name another pool by an attribute of its
function (`experimental_thread_pool`, in grpc/_server.py since 1.41); a release that no longer knows the attribute
runs these calls in the common pool, correct and later.
"""

from collections.abc import Callable
from concurrent import futures
from typing import Any

import grpc


class QuickLane(grpc.ServerInterceptor):
    """Runs `methods` (their last names) in `pool`. Must be the outermost interceptor: it marks the final function."""

    def __init__(self, methods: frozenset[str], pool: futures.ThreadPoolExecutor) -> None:
        self._methods = methods
        self._pool = pool

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], "grpc.RpcMethodHandler[Any, Any] | None"],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "grpc.RpcMethodHandler[Any, Any] | None":
        handler = continuation(handler_call_details)
        if handler is not None and handler_call_details.method.rpartition("/")[2] in self._methods:
            handler.unary_unary.experimental_thread_pool = self._pool  # type: ignore[union-attr]
        return handler
