"""The life of the file provider's server, from its start to its stop."""

import logging
import os
import threading

from sscsi.core.log_keys import PATH
from sscsi.edges.grpc_status import StatusInterceptor
from sscsi.edges.rooted_files import Opener, open_root
from sscsi.edges.unix_socket import AddServices, SocketServer
from sscsi.errors import ConfigError, ObjectError
from sscsi.process.thread_pool import BlockingAwarePool

log = logging.getLogger(__name__)

_WATCH_SECONDS = 1.0
_ROOT_ONLY = 0o600
# Answers that are made at once: each may take a few times --max-response-bytes of memory.
_RUNNING_LIMIT = 8


def check_root(path: str, opener: Opener) -> None:
    """Raise ConfigError unless `path` is a directory that this process may enter."""
    cure = "make that directory, or set --root (variable SSCSI_FILE_PROVIDER_ROOT) to another"
    try:
        with open_root(path, opener):
            may_enter = os.access(path, os.X_OK)
    except ObjectError as error:
        raise ConfigError(f"flag --root: {error}; {cure}", exit_code=1) from error
    if not may_enter:
        raise ConfigError(
            f"flag --root: user {os.geteuid()} may not enter directory {path!r}; change its owner or mode",
            exit_code=1,
        )


def run_server(path: str, add_services: AddServices, stop: threading.Event, stop_grace_seconds: float) -> int:
    """Serve on socket `path` until `stop` is set (0) or the path is no longer ours (1). The exit code."""
    pool = BlockingAwarePool("provider-file", running_limit=_RUNNING_LIMIT)
    errors = [StatusInterceptor()]
    server = SocketServer(path, mode=_ROOT_ONLY, add_services=add_services, pool=pool, interceptors=errors)
    try:
        if not server.serve(stop):
            return 0
        while not stop.wait(_WATCH_SECONDS):
            if not server.is_ours():
                log.error("the socket was replaced or removed; starting anew", extra={PATH: server.path})
                return 1
        return 0
    finally:
        server.stop_accepting(stop_grace_seconds).wait()
        server.close()
        pool.shutdown()
