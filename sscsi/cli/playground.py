"""The demonstration's own little machine: one tmpfs with classes, secrets, sockets, records and pods in it.

The user's files are copied, never touched: the demonstration changes a secret, and status-sync writes beside
the classes.
"""

import contextlib
import dataclasses
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator

from sscsi.edges.linux_mounts import LinuxMounter
from sscsi.errors import ConfigError, MountError

_MAX_BYTES = 256 * 1024 * 1024
_MAX_INODES = 65536
# 107 bytes, less those of /sscsi-demo-12345678/run/providers/.file.sock~ with a little to spare.
_MAX_PARENT_BYTES = 60


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Playground:
    """Absolute paths, all below `root`."""

    root: str

    @property
    def classes(self) -> str:
        """What `--cluster=dir:` reads; status and Secrets appear in `status` below it."""
        return os.path.join(self.root, "classes")

    @property
    def secrets(self) -> str:
        """The file provider's root."""
        return os.path.join(self.root, "secrets")

    @property
    def status(self) -> str:
        """Where the objects that a cluster would get are written."""
        return os.path.join(self.classes, "status")

    @property
    def run_directory(self) -> str:
        return os.path.join(self.root, "run")

    @property
    def record_directories(self) -> tuple[str, str]:
        """Where records of volumes are: the state directory, and the one for when that is full."""
        return os.path.join(self.root, "records"), os.path.join(self.run_directory, "records")

    @property
    def pods(self) -> str:
        return os.path.join(self.root, "pods")

    @property
    def socket(self) -> str:
        return os.path.join(self.root, "csi.sock")

    @property
    def sockets(self) -> tuple[str, ...]:
        """The sockets of the three rooms, kubelet's first."""
        run = self.run_directory
        return self.socket, os.path.join(run, "statussync.sock"), os.path.join(run, "providers", "file.sock")

    @property
    def log(self) -> str:
        return os.path.join(self.root, "appliance.log")


@contextlib.contextmanager
def open_playground(*, classes: str, secrets: str) -> Iterator[Playground]:
    """Make the tmpfs and copy the two directories into it; when the block ends everything in it is gone.

    The caller is in a mount namespace of its own. Raises ConfigError (code 1) for files that can't be copied
    and for a machine that lets nobody mount.
    """
    root = tempfile.mkdtemp(prefix="sscsi-demo-", dir=_short_directory())
    mounter = LinuxMounter(require_shared=False)
    try:
        with _mounted(mounter, root):
            playground = Playground(root=root)
            for directory in (playground.run_directory, playground.pods):
                os.mkdir(directory, mode=0o750)
            # Classes are read from the directory itself, not from below it; so is what is copied of it.
            _copy(classes, playground.classes, ignore=_directories)
            _copy(secrets, playground.secrets)
            for directory in (playground.classes, playground.secrets):
                os.chmod(directory, 0o700)
            yield playground
    finally:
        os.rmdir(root)


def _short_directory() -> str:
    """The user's place for temporary files, unless a socket's path would get longer in it than unix(7) allows."""
    directory = tempfile.gettempdir()
    return directory if len(os.fsencode(directory)) <= _MAX_PARENT_BYTES else "/tmp"


@contextlib.contextmanager
def _mounted(mounter: LinuxMounter, root: str) -> Iterator[None]:
    try:
        mounter.mount_tmpfs(root, size_bytes=_MAX_BYTES, max_inodes=_MAX_INODES, gid=None)
    except MountError as error:
        raise ConfigError(str(error), exit_code=1) from error
    try:
        # The liveness probe, whose user is nobody else's, goes through it to the run directory.
        os.chmod(root, 0o711)  # noqa: S103 - to go through is not to list, and what is in it is closed
        yield
    finally:
        mounter.unmount(root)


def _directories(directory: str, names: list[str]) -> list[str]:
    return [name for name in names if os.path.isdir(os.path.join(directory, name))]


def _copy(
    source: str, destination: str, *, ignore: Callable[[str, list[str]], list[str]] | None = None
) -> None:
    try:
        shutil.copytree(source, destination, symlinks=True, ignore=ignore)
    except shutil.Error as error:
        first = error.args[0][0]
        raise ConfigError(f"cannot copy {first[0]!r}: {first[2]}", exit_code=1) from error
    except OSError as error:
        raise ConfigError(f"cannot copy directory {source!r}: {error.strerror}", exit_code=1) from error
