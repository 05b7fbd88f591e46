"""kill -9 of supervisord itself: its programs end with it, whatever they do, and `sscsi run` serves again."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent import futures

import psutil
import pytest

from sscsi.cli.errors import CallFailedError
from tests.fakes import fake_provider
from tests.fakes.fake_provider import FakeProvider, files_answer
from tests.support.appliance_place import DRIVER, SSCSI, AppliancePlace, new_place
from tests.support.checkout import ROOT
from tests.support.fake_kubelet import fake_kubelet
from tests.support.supervised import LONG_SECONDS, PROGRAMS, has_pending, is_alive, stop_now, supervised
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.root]

# From its first instruction to the last program's first; a start takes some 0.7 s here.
_MOMENTS_SECONDS = [0.2, 0.4, 0.5, 0.55, 0.6, 0.65, 0.7, 0.8, 1.0]


@pytest.fixture
def place() -> Iterator[AppliancePlace]:
    with new_place() as made:
        yield made


def wait_ended(pids: Iterable[int]) -> float:
    """How long it takes until none of them lives."""
    begun, left = time.monotonic(), list(pids)
    wait_until(lambda: not any(map(is_alive, left)), "no orphan lives", seconds=LONG_SECONDS)
    return time.monotonic() - begun


def test_no_program_survives_supervisord_and_the_next_run_serves_on(
    place: AppliancePlace, capsys: pytest.CaptureFixture[str]
) -> None:
    with fake_kubelet(place.path("registration")) as kubelet:
        with supervised(place, kubelet=kubelet) as appliance:
            volume = place.write_class("kept")
            place.kubelet.publish(volume)
            pids = appliance.pids()
            assert set(pids) == set(PROGRAMS)
            appliance.process.kill()
            ended_after = wait_ended(pids.values())
        begun = time.monotonic()
        with supervised(place, kubelet=kubelet) as appliance:
            all_work = [appliance.works(program, since=begun) for program in PROGRAMS]
            registered_after = kubelet.registered[DRIVER].time - begun
            assert all(all_work)
            place.kubelet.unpublish(volume)
        assert place.mounts() == []
    with capsys.disabled():
        print(
            f"\n  no program lived {ended_after:.2f} s after supervisord; the next run was registered after "
            f"{registered_after:.2f} s"
        )


def test_a_publish_that_hangs_in_a_provider_keeps_no_program_alive(place: AppliancePlace) -> None:
    provider = FakeProvider()
    provider.answer = files_answer(("password", 0o644, b"of the provider"))
    provider.hold.clear()
    volume = place.write_class("hanging", provider="fake")
    with (
        fake_provider.serving(provider, place.path("providers", "fake.sock")),
        futures.ThreadPoolExecutor(1) as kubelet,
    ):
        with supervised(place) as appliance:
            call = kubelet.submit(place.kubelet.publish, volume)
            assert provider.waiting.acquire(timeout=LONG_SECONDS)
            pids = appliance.pids()
            appliance.process.kill()
            wait_ended(pids.values())
            with pytest.raises(CallFailedError):
                call.result(LONG_SECONDS)
        provider.hold.set()
        with supervised(place):
            with open(place.kubelet.publish(volume) + "/password", encoding="utf-8") as file:
                assert file.read() == "of the provider"
            place.kubelet.unpublish(volume)
    assert place.mounts() == []


@pytest.mark.parametrize("asked", [signal.SIGTERM, signal.SIGHUP], ids=["stops", "reloads"])
def test_no_program_survives_when_supervisord_is_killed_while_it(
    place: AppliancePlace, asked: signal.Signals
) -> None:
    with supervised(place) as appliance:
        pids = appliance.pids()
        stop_now(pids["node"])
        appliance.process.send_signal(asked)
        wait_until(lambda: has_pending(pids["node"], signal.SIGTERM), "it waits for node")
        appliance.process.kill()
        wait_ended(pids.values())


def test_no_program_survives_a_stock_supervisord_that_is_killed_while_they_start(
    place: AppliancePlace,
) -> None:
    """Their interpreters have just been started, or not even that: none of them can have seen its parent yet."""
    script = (
        'eval "$(sscsi run --print-env)" && '
        'install -d -m 2750 -g "${SSCSI_PROBE_USER##*:}" "$SSCSI_RUN_DIR" && exec supervisord --configuration "$1"'
    )
    # By exec, another user must be able to read the Python that this machine has, which may be somebody's own.
    user = {"SSCSI_PROBE_USER": f"{os.geteuid()}:{os.getegid()}"}
    environ = place.environ | user | {"PATH": os.path.dirname(SSCSI) + ":" + os.environ["PATH"]}
    conf = os.path.join(ROOT, "supervisord.conf")
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    with open(place.log, "ab") as log:
        process = subprocess.Popen(
            ["sh", "-c", script, "sh", conf],
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    wait_until(
        lambda: len(psutil.Process(process.pid).children()) == len(PROGRAMS),
        "all are forked",
        seconds=LONG_SECONDS,
    )
    process.kill()
    process.wait()
    wait_ended({child.pid for child in psutil.Process().children(recursive=True)} - before)


def test_no_program_survives_when_supervisord_is_killed_at_any_moment_of_the_start(
    place: AppliancePlace,
) -> None:
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    for seconds in _MOMENTS_SECONDS:
        with open(place.log, "ab") as log:
            process = subprocess.Popen([SSCSI, "run"], env=place.environ, stdout=log, stderr=log)
        threading.Event().wait(seconds)
        process.kill()
        process.wait()
        # Orphans are adopted by the test run.
        wait_ended({child.pid for child in psutil.Process().children(recursive=True)} - before)
    with supervised(place) as appliance:
        assert set(appliance.pids()) == set(PROGRAMS)
