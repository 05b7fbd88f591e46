"""`sscsi run` as a child process with its log in a file, for the demonstration."""

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Self

_libc = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1
_TAIL_BYTES = 64 * 1024
# Longer than the waits of supervisord.conf together.
_STOP_SECONDS = 30.0


class Appliance:
    """One running appliance. Use it as a context: at its end the appliance is stopped, killed if need be."""

    def __init__(self, arguments: Sequence[str], environ: Mapping[str, str], *, log_path: str) -> None:
        self._log_path = log_path
        # -P: a directory `sscsi` where the user happens to stand is not the program.
        command = [sys.executable, "-P", "-m", "sscsi.cli", "run", *arguments]
        with open(log_path, "ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own program, no shell
                command,
                env=dict(environ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C is for the demonstration, which stops the appliance when it has tidied up.
                start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - no thread runs yet: gRPC starts later
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def stop(self, *, timeout_seconds: float = _STOP_SECONDS) -> int:
        """Ask it to stop, wait, kill it after `timeout_seconds`; its exit code."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            return self._process.wait()

    def log_tail(self, lines: int) -> list[str]:
        """The last lines that the appliance logged."""
        with open(self._log_path, "rb") as file:
            file.seek(max(0, os.path.getsize(self._log_path) - _TAIL_BYTES))
            return file.read().decode(errors="replace").splitlines()[-lines:]


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def is_served(path: str) -> bool:
    """Whether somebody accepts connections on the unix socket at `path`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except OSError:
            return False
    return True
