"""Objects that exist before the fork stop counting their references, so that children do not unshare them.

CPython writes to every object it touches: its count of references. In a forked child each such write copies a page,
and that was three quarters of what a room took for itself (docs/performance.md). An *immortal* object has a count that
is never written (PEP 683, which names this use). There is no call in Python to make one before 3.15, so the count is
set from here, on the interpreters of which it is known how: CPython 3.12 to 3.14, 64 bit, little endian, with the GIL.
Everywhere else nothing is done, and nothing but memory is lost.

What is immortal is never freed. That is right for what a process imported before its first program: modules,
classes, functions, constants. They live as long as the process does anyway.
"""

import ctypes
import gc
import platform
import sys
import sysconfig
import types

# The interpreter's own value (object.h, refcount.h). Up to 3.13 that is all bits of the count's 32, the only number that
# incrementing passes over. 3.14 does so from this one on: extensions that were built for the stable ABI of before 3.12
# (psutil, protobuf) count all the same, with 64 bits, and need the room above it, or the count begins anew at 0.
_IMMORTAL = 3 << 30 if sys.version_info >= (3, 14) else 0xFFFFFFFF
# Decrementing passes over all that is negative as a signed number.
_FIRST_IMMORTAL = 1 << 31
_KNOWN_VERSIONS = ((3, 12), (3, 13), (3, 14))
_SOME_REFERENCES = 1000


def make_immortal() -> int:
    """Make every object that is reachable now immortal; how many were made so. 0: not on this interpreter."""
    if not is_possible():
        return 0
    count = 0
    for address in _addresses():
        references = ctypes.c_uint32.from_address(address)
        if references.value < _FIRST_IMMORTAL:
            references.value = _IMMORTAL
            count += 1
    return count


def is_possible() -> bool:
    """Whether this interpreter keeps its counts as this module knows them; it is tried on an object made for it."""
    return (
        platform.python_implementation() == "CPython"
        and sys.version_info[:2] in _KNOWN_VERSIONS
        and sys.byteorder == "little"
        and sys.maxsize > 2**32
        and not sysconfig.get_config_var("Py_GIL_DISABLED")
        # A build that traces references has other fields first.
        and not hasattr(sys, "getobjects")
        and _is_count_where_expected()
    )


def _is_count_where_expected() -> bool:
    probe = object()
    references = ctypes.c_uint32.from_address(id(probe))
    before = references.value
    more = [probe] * _SOME_REFERENCES
    if references.value != before + _SOME_REFERENCES:
        return False
    del more
    if references.value != before:
        return False
    references.value = _IMMORTAL
    more = [probe] * _SOME_REFERENCES
    del more
    return references.value == _IMMORTAL


def _addresses() -> set[int]:
    """Of the garbage collector's objects and all that they lead to: strings, numbers, code and its constants."""
    waiting = gc.get_objects()
    # After that, so that it is not found itself.
    found: set[int] = set()
    while waiting:
        each = waiting.pop()
        if id(each) not in found:
            found.add(id(each))
            waiting.extend(gc.get_referents(each))
            if isinstance(each, types.CodeType):
                # The collector does not ask code what it leads to; each use of a constant counts (2 MiB).
                waiting.append(each.co_consts)
    return found
