"""What all programs have in common is imported once, in the process that they are forked from.

Measured as the memory of the whole process tree, each page counted once (docs/performance.md).
"""

import contextlib
import ctypes
import gc
import importlib
import logging
import re
import sys
from collections.abc import Iterator

from sscsi.cli.immortal_objects import make_immortal
from sscsi.cli.programs import MODULES
from sscsi.core import log_levels
from sscsi.core.log_keys import REASON

log = logging.getLogger(__name__)

# What gRPC imports at the first channel and the first server only: 1.5 MiB in each program otherwise.
_GRPC_LATE = ("grpc._channel", "grpc._interceptor", "grpc._server", "grpc._simple_stubs", "grpc.experimental")
# OpenSSL's libraries are 4 MiB that no program here needs: HTTP without TLS, and hashes that Python has itself.
_OPENSSL = ("_hashlib", "_ssl")

_MADV_DONTNEED = 4
_MAPPING = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \d+ +(/.*)$", re.MULTILINE)
_READ_ONLY = ("r--p", "r-xp")


@contextlib.contextmanager
def without_openssl() -> Iterator[None]:
    """What is imported in this block for the first time does without OpenSSL; what is imported later may have it.

    The standard library takes a missing module for a Python that was built without it: `http.client` has no
    HTTPS then, and `hashlib` its own code.
    """
    hidden = [name for name in _OPENSSL if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment] # importlib's way to say: not there
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


def import_shared() -> None:
    """Import what the programs have in common, so that processes forked from this one share it.

    No thread is started and nothing of the environment is read by it. What exists now is put out of sight of the
    garbage collector, and of reference counting where that can be had: both write to the objects, and so unshare them,
    in every child.
    """
    with without_openssl():
        for module in ("hashlib", "supervisor.supervisord", *MODULES.values(), *_GRPC_LATE):
            importlib.import_module(module)
    gc.collect()
    make_immortal()
    gc.freeze()
    _forget_loading()
    _trim_heap()


def _trim_heap() -> None:
    """Give back what importing left free in the heap, a megabyte, where the C library can (malloc_trim(3): glibc)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(ctypes.c_size_t(0))


def _forget_loading() -> None:
    """Give back the pages of libraries that were only needed to load them: tables of symbols and relocations.

    They are the page cache's, unchanged: what is needed again is there again at its first use. They would count as
    this process's own for good otherwise, some 5 MiB.
    """
    libc = ctypes.CDLL(None)
    for start, end in _unchanged_mappings():
        libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _MADV_DONTNEED)


def _unchanged_mappings() -> Iterator[tuple[int, int]]:
    """Address and end of each read-only mapping of a file in which no page was ever written to (proc_pid_smaps(5))."""
    try:
        with open("/proc/self/smaps", encoding="utf-8", errors="surrogateescape") as file:
            text = file.read()
    except OSError as error:
        # Nothing is lost but memory.
        log.log(log_levels.DECISIONS, "the mappings can't be read", extra={REASON: error.strerror})
        return
    found = list(_MAPPING.finditer(text))
    for match in found:
        facts = text[match.end() : text.find("VmFlags:", match.end())]
        if match[3] in _READ_ONLY and "\nAnonymous:             0 kB\n" in facts:
            yield int(match[1], 16), int(match[2], 16)
