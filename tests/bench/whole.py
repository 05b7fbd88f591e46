"""The whole appliance under measurement: forked by `sscsi run`, or exec'ed by a stock supervisord."""

import contextlib
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import psutil

from tests.bench.errors import BenchError
from tests.bench.kubelet_client import KubeletClient
from tests.bench.processes import die_with_parent, log_tail, pause
from tests.bench.registrations import Registrations, kubelet
from tests.bench.sides import write_class
from tests.bench.tree_memory import tree
from tests.bench.volumes import Content
from tests.support.appliance_place import SSCSI, AppliancePlace, free_address

FORKED = "forked"
EXECED = "exec'ed"
FORMS = (FORKED, EXECED)

_CONF = os.path.join(
    os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "supervisord.conf"
)
_SUPERVISORD = os.path.join(os.path.dirname(SSCSI), "supervisord")
# As the README tells to prepare a stock supervisord.
_PREPARE = 'eval "$(sscsi run --print-env)" && install -d -m 2750 -g "${SSCSI_PROBE_USER##*:}" "$SSCSI_RUN_DIR" && env -0'
_PROBE_USER = 65532
_LONGEST_SECONDS = 30.0
_POLL_SECONDS = 0.004


class WholeAppliance:
    """One running appliance. Times are of time.monotonic(), here and in what it is asked."""

    def __init__(
        self,
        place: AppliancePlace,
        popen: "subprocess.Popen[bytes]",
        started_at: float,
        registrations: Registrations,
    ) -> None:
        self.place = place
        self.started_at = started_at
        self.registrations = registrations
        self.kubelet = KubeletClient(place.path("csi.sock"))
        self._popen = popen

    @property
    def pid(self) -> int:
        return self._popen.pid

    def programs(self) -> dict[str, psutil.Process]:
        """The programs that run now, supervisord among them."""
        return {name: psutil.Process(pid) for name, pid in tree(self.pid).items()}

    def when(self, what: str, fact: Callable[[], bool]) -> float:
        """The time at which `fact` was first seen to hold. Raises BenchError when that takes too long."""
        return self.when_all({what: fact})[what]

    def when_all(self, facts: Mapping[str, Callable[[], bool]]) -> dict[str, float]:
        """The time at which each fact was first seen to hold; it is not asked again then.

        Raises BenchError when one takes too long, or the appliance ends.
        """
        deadline = time.monotonic() + _LONGEST_SECONDS
        found: dict[str, float] = {}
        while len(found) < len(facts):
            for what, fact in facts.items():
                if what not in found and fact():
                    found[what] = time.monotonic()
            missing = ", ".join(what for what in facts if what not in found)
            if self._popen.poll() is not None:
                raise BenchError(f"the appliance ended with code {self._popen.returncode}:\n{self._tail()}")
            if time.monotonic() > deadline:
                raise BenchError(f"not within {_LONGEST_SECONDS:.0f} s: {missing}\n{self._tail()}")
            pause(_POLL_SECONDS)
        return found

    def kill(self, program: psutil.Process) -> float:
        """SIGKILL; the time of it. Returns when the process is no more, so that nothing is asked of it."""
        killed_at = time.monotonic()
        program.send_signal(signal.SIGKILL)
        self.when(f"the end of process {program.pid}", lambda: _is_gone(program))
        return killed_at

    def stop(self) -> float:
        """SIGTERM; the seconds until it has ended. Raises BenchError when it ends otherwise than as asked."""
        begun = time.monotonic()
        self._popen.terminate()
        try:
            code = self._popen.wait(_LONGEST_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise BenchError(f"SIGTERM did not end the appliance:\n{self._tail()}") from error
        if code != 0:
            raise BenchError(f"SIGTERM ended the appliance with code {code}:\n{self._tail()}")
        return time.monotonic() - begun

    def end(self) -> None:
        """Leave nothing of it, however it is."""
        if self._popen.poll() is not None:
            return
        self._popen.terminate()
        try:
            self._popen.wait(_LONGEST_SECONDS)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()

    def _tail(self) -> str:
        return log_tail(self.place.log)


@contextlib.contextmanager
def whole_appliance(
    form: str,
    root: str,
    provider_directory: str,
    contents: Sequence[Content],
    *,
    delay_seconds: float,
    changes: Mapping[str, str] | None = None,
) -> Iterator[WholeAppliance]:
    """An appliance that has just been started, so long after the kubelet beside it. `root` is a directory to make;
    `changes` are of its environment.
    """
    os.mkdir(root, 0o755)
    place = AppliancePlace(root)
    for content in contents:
        write_class(place.path("classes"), content)
    environ = _environment(place, provider_directory) | dict(changes or {})
    command = [SSCSI, "run"]
    if form == EXECED:
        environ = _prepared(environ)
        command = [_SUPERVISORD, "--configuration", _CONF]
    with kubelet(place.path("registration"), root) as registrations, open(place.log, "ab") as log:
        pause(delay_seconds)
        started_at = time.monotonic()
        popen = subprocess.Popen(
            command,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            preexec_fn=die_with_parent,  # noqa: PLW1509 - no thread runs in the benchmark
        )
        appliance = WholeAppliance(place, popen, started_at, registrations)
        try:
            yield appliance
        finally:
            appliance.end()


def _environment(place: AppliancePlace, provider_directory: str) -> dict[str, str]:
    environ = place.environ | {
        "KUBE_NODE_NAME": "bench",
        "PATH": os.path.dirname(SSCSI) + os.pathsep + os.environ.get("PATH", os.defpath),
        "SSCSI_METRICS_ADDR": free_address(),
        "SSCSI_NODE_ARGS": "--require-shared-propagation=false",  # the mount namespace is private, on purpose
        "SSCSI_PROVIDER_DIRS": provider_directory,
    }
    if not (_everybody_may_run(os.path.realpath(sys.executable)) and _exists(_PROBE_USER, place)):
        environ["SSCSI_PROBE_USER"] = f"{os.geteuid()}:{os.getegid()}"
    return environ


def _everybody_may_run(path: str) -> bool:
    """Whether another user gets at a program: an interpreter in somebody's home directory is out of reach."""
    while path != "/":
        if not os.stat(path).st_mode & stat.S_IXOTH:
            return False
        path = os.path.dirname(path)
    return True


def _exists(user: int, place: AppliancePlace) -> bool:
    """Whether there is such a user here: a user namespace may have but one."""
    try:
        os.chown(place.path("secrets"), user, -1)
    except OSError:
        return False
    os.chown(place.path("secrets"), os.geteuid(), -1)
    return True


def _prepared(environ: Mapping[str, str]) -> dict[str, str]:
    answer = subprocess.run(["sh", "-c", _PREPARE], env=environ, capture_output=True, check=False)
    if answer.returncode:
        raise BenchError(f"sscsi run --print-env: {answer.stderr.decode(errors='replace')}")
    return dict(entry.split("=", 1) for entry in answer.stdout.decode().split("\0") if "=" in entry)


def _is_gone(process: psutil.Process) -> bool:
    try:
        return process.status() in {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}
    except psutil.NoSuchProcess:
        return True
