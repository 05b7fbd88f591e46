"""A file that one living process has: the kernel gives its lock up with the process, however that ends (flock(2))."""

import fcntl
import os


class LockFile:
    """The lock at `path`. The file stays when the lock is given up: without it, two could lock two different files."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor = -1

    def hold(self) -> bool:
        """Whether it is ours: taken now, or before. False: another has it. Raises OSError where it can't be made."""
        if self._descriptor >= 0:
            return True
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self._path, flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Let others have it; nothing when it is not ours."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
