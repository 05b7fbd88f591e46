"""A program of the control plane as a child process: started, killed, started again, made to stand still."""

import ctypes
import os
import signal
import subprocess
from collections.abc import Sequence

# Found before the fork: after it, another thread's lock may stay locked for ever.
_prctl = ctypes.CDLL(None).prctl
_PR_SET_PDEATHSIG = 1
_LOG_TAIL_BYTES = 4000


class Child:
    """It runs in `directory` and logs to a file there; it ends with the thread that started it."""

    def __init__(self, command: Sequence[str], *, directory: str) -> None:
        self._command = command
        self._directory = directory
        self._name = os.path.basename(command[0])
        self._log = os.path.join(directory, f"{self._name}.log")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert self._process is None, f"{self._name} runs already"
        with open(self._log, "ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - one system call, and no lock
            )

    def check(self) -> None:
        """Fail, with the end of its log, when it has ended by itself."""
        assert self._process is not None, f"{self._name} was not started"
        code = self._process.poll()
        assert code is None, f"{self._name} has ended with {code}:\n{self._log_tail()}"

    def kill(self) -> None:
        """End it at once, as a crash would; nothing happens when it does not run."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Its sockets stay, and nobody answers."""
        assert self._process is not None, f"{self._name} does not run"
        self._signal(signal.SIGSTOP)
        # Until all its threads have stopped, one may still answer.
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WNOWAIT)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None, f"{self._name} does not run"
        self._process.send_signal(number)

    def _log_tail(self) -> str:
        with open(self._log, "rb") as log:
            log.seek(max(os.path.getsize(self._log) - _LOG_TAIL_BYTES, 0))
            return log.read().decode(errors="replace")


def _die_with_parent() -> None:
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
