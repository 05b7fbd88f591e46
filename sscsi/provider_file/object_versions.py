"""Versions of objects: a keyed hash of the content.

Versions are shown in the status object, in logs and by tools, to people who may not read the secret. A plain
hash would let them try all short secrets until one fits; without the key they can't. The object's namespace and
id are hashed as well, so equal versions do not show that two objects have the same content.

The key is made at the first start and kept in the run directory: versions outlive a restart of the process, but
not of the node (or of the container, where the run directory goes with it); then every version changes once.
"""

import contextlib
import hashlib
import hmac
import os
import secrets
import stat

from sscsi.errors import ConfigError

_KEY_BYTES = 32
# 128 bits: far from any chance of a collision, and short enough to be read in a status object.
_VERSION_DIGITS = 32


class ObjectVersions:
    """Makes versions. `repr` shows no key."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def version(self, namespace: str, object_id: str, content: bytes) -> str:
        """The version of the object: 32 hexadecimal digits, the same as long as all three are."""
        mac = hmac.new(self._key, digestmod=hashlib.sha256)
        for name in (namespace.encode(), object_id.encode()):
            mac.update(len(name).to_bytes(8, "big") + name)
        mac.update(content)
        return mac.hexdigest()[:_VERSION_DIGITS]


def load_or_make_key(path: str) -> bytes:
    """The key kept at `path`; made when there is none. Raises ConfigError for a file that can't be it."""
    try:
        with contextlib.suppress(FileNotFoundError):
            return _load(path)
        _make(path)
        return _load(path)
    except OSError as error:
        raise ConfigError(
            f"cannot read or make {path!r} ({error.strerror}); make its directory writable, or set --run-dir",
            exit_code=1,
        ) from error


def _load(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        key = os.read(descriptor, _KEY_BYTES + 1) if stat.S_ISREG(status.st_mode) else b""
    finally:
        os.close(descriptor)
    if len(key) != _KEY_BYTES or status.st_mode & 0o077 or status.st_uid != os.geteuid():
        raise ConfigError(
            f"{path!r} is not a key of this program (a file of {_KEY_BYTES} bytes, mode 0600, its own): "
            "remove it; every object's version changes once",
            exit_code=1,
        )
    return key


def _make(path: str) -> None:
    """Put a new key at `path`, whole or not at all; the first of two processes wins."""
    temporary = f"{path}.{os.getpid()}~"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, secrets.token_bytes(_KEY_BYTES))
    finally:
        os.close(descriptor)
    try:
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        os.unlink(temporary)
