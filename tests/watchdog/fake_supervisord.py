"""supervisord's side of the pipes: a `sscsi-watchdog` process whose events a test sends."""

import os
import select
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from sidecars.watchdog.events import DONE, READY
from sscsi.core.watchdog_state import WatchdogState, from_json
from tests.support.checkout import ROOT
from tests.watchdog.supervisord_words import envelope, state_envelope

_WAIT_SECONDS = 60.0


class FakeSupervisord:
    """One watchdog under this process. It never decides on the end of this process: SSCSI_SUPERVISOR_PID is set."""

    def __init__(self, run_directory: Path, *, environ: Mapping[str, str] | None = None) -> None:
        self.run_directory = run_directory
        self._serial = -1
        self._log = run_directory.parent / "log"
        with open(self._log, "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "sidecars.watchdog", f"--run-dir={run_directory}", "-v=4"],
                cwd=ROOT,
                env={
                    **os.environ,
                    "SUPERVISOR_ENABLED": "1",
                    "SSCSI_SUPERVISOR_PID": str(os.getpid()),
                    **(environ or {}),
                },
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                bufsize=0,
            )

    def expect_ready(self) -> None:
        assert self._read(len(READY)) == READY

    def send(self, data: bytes) -> None:
        self._pipe(self.process.stdin).write(data)

    def tell(self, name: str, body: str = "") -> None:
        """An event, and its answer."""
        self._serial += 1
        self.send(envelope(name, body, serial=self._serial))
        assert self._read(len(DONE)) == DONE

    def tell_state(self, program: str, state: str, *, from_state: str = "STARTING", pid: int = 0) -> None:
        """A change of state, and its answer."""
        self._serial += 1
        self.send(state_envelope(program, state, from_state=from_state, pid=pid, serial=self._serial))
        assert self._read(len(DONE)) == DONE

    def close_events(self) -> None:
        self._pipe(self.process.stdin).close()

    def wait(self) -> int:
        """Its exit code; nothing but the protocol was on its stdout."""
        code = self.process.wait(_WAIT_SECONDS)
        assert self._pipe(self.process.stdout).read() == b""
        return code

    def state(self) -> WatchdogState:
        return from_json((self.run_directory / "watchdog.json").read_bytes())

    def log(self) -> str:
        return self._log.read_text()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._pipe(self.process.stdin).close()
        self._pipe(self.process.stdout).close()

    def _read(self, size: int) -> bytes:
        descriptor = self._pipe(self.process.stdout).fileno()
        data = b""
        deadline = time.monotonic() + _WAIT_SECONDS
        while len(data) < size:
            readable, _, _ = select.select([descriptor], [], [], deadline - time.monotonic())
            assert readable, f"the watchdog says nothing; so far: {data!r}; its log:\n{self.log()}"
            piece = os.read(descriptor, size - len(data))
            assert piece, f"the watchdog ended; its log:\n{self.log()}"
            data += piece
        return data

    @staticmethod
    def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
        assert pipe
        return pipe
