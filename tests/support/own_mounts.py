"""The private mount namespace that the whole test run lives in, so that no mount of a test outlives it."""

import dataclasses
import functools
import os

from sscsi.edges.namespaces import enter_private_mounts
from sscsi.errors import ConfigError

# uid_map of the first user namespace: everybody is who they are (user_namespaces(7)).
_FIRST_USER_NAMESPACE = ["0", "0", "4294967295"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class OwnMounts:
    """What the test run may do: `entered` that it can mount; `is_root` that it is root outside of it, too.

    `reason` says why it can't mount.
    """

    entered: bool
    is_root: bool
    reason: str


@functools.cache
def own_mounts() -> OwnMounts:
    """Enter the namespace at the first call, which must come before any thread; later calls tell how it went."""
    is_root = os.geteuid() == 0 and _words("/proc/self/uid_map") == _FIRST_USER_NAMESPACE
    reason = _why_not()
    if not reason:
        enter_private_mounts()
    return OwnMounts(entered=not reason, is_root=is_root and not reason, reason=reason)


def _why_not() -> str:
    """Try it in a child: half a success (a user namespace that may not mount) would spoil this process."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            enter_private_mounts()
        except ConfigError as error:
            os.write(writer, str(error).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, encoding="utf-8") as answer:
        reason = answer.read()
    os.waitpid(child, 0)
    return reason


def _words(path: str) -> list[str]:
    with open(path, encoding="ascii") as file:
        return file.read().split()
