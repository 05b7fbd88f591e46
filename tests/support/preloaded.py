"""Programs started by fork from a process that has imported them already, as the appliance's supervisord does.

A sweep starts a node room hundreds of times. Forked from a process that holds the modules (design, section 4), a
start costs a tenth of what exec and import cost, and the program is the same one: its console script's `main`,
with arguments, environment and log of its own.

`python -m tests.support.preloaded MODULE...` is that process: it reads one JSON request a line and answers each
with the id of the program started. It forks twice, so that the program is an orphan, which the test run adopts
(`leftovers.adopt_orphans`): the test itself waits for it.
"""

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence

_WAIT_SECONDS = 60.0


class Program:
    """One program that was started, by its process id."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._descriptor = os.pidfd_open(pid)
        self._code: int | None = None

    def is_alive(self) -> bool:
        return not self._has_ended(0)

    def wait(self, *, seconds: float = _WAIT_SECONDS) -> int:
        """Its exit code once it has ended, or the negated number of the signal that ended it."""
        assert self._has_ended(seconds), f"process {self.pid} did not end in {seconds} s"
        assert self._code is not None
        return self._code

    def terminate(self) -> int:
        """SIGTERM, and its exit code."""
        return self._signal(signal.SIGTERM)

    def kill(self) -> int:
        """SIGKILL, and the code for that."""
        return self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> int:
        if self._code is None:
            signal.pidfd_send_signal(self._descriptor, number)
        return self.wait()

    def _has_ended(self, seconds: float) -> bool:
        if self._code is not None:
            return True
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        if not poll.poll(seconds * 1000):
            return False
        _, status = os.waitpid(self.pid, 0)
        self._code = os.waitstatus_to_exitcode(status)
        os.close(self._descriptor)
        return True


class Preloaded:
    """The process that holds the modules. One caller at a time."""

    def __init__(self, modules: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, *modules], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def start(
        self, module: str, arguments: Sequence[str], *, environ: Mapping[str, str], log_file: str
    ) -> Program:
        """Run `main` of `module`, with its output appended to `log_file`."""
        assert self._process.stdin is not None and self._process.stdout is not None
        request = {"module": module, "arguments": list(arguments), "environ": dict(environ), "log": log_file}
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, f"the process that holds {module} has ended"
        return Program(int(answer))

    def close(self) -> None:
        """End it; programs that it started go on."""
        self._process.communicate()


@contextlib.contextmanager
def preloaded(*modules: str) -> Iterator[Preloaded]:
    """A process that holds `modules` until the block ends."""
    holder = Preloaded(modules)
    try:
        yield holder
    finally:
        holder.close()


def main() -> int:
    """Hold the modules and fork on request, until stdin ends."""
    for name in sys.argv[1:]:
        importlib.import_module(name)
    gc.freeze()
    for line in sys.stdin.buffer:
        os.write(1, b"%d\n" % _start(json.loads(line)))
    return 0


def _start(request: dict[str, object]) -> int:
    reader, writer = os.pipe()
    between = os.fork()
    if between == 0:
        pid = os.fork()
        if pid == 0:
            os.close(reader)
            os.close(writer)
            _become(request)
        os.write(writer, b"%d" % pid)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        pid = int(answer.read())
    os.waitpid(between, 0)
    return pid


def _become(request: dict[str, object]) -> None:
    """Be the program; never returns."""
    log = os.open(str(request["log"]), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.close(log)
    os.close(nothing)
    environ, arguments = request["environ"], request["arguments"]
    assert isinstance(environ, dict) and isinstance(arguments, list)
    os.environ.clear()
    os.environ.update(environ)
    sys.argv = [str(request["module"]), *arguments]
    code = 1
    try:
        code = importlib.import_module(str(request["module"])).main()
    except BaseException as error:  # noqa: BLE001 - nobody above would print it
        sys.excepthook(type(error), error, error.__traceback__)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    sys.exit(main())
