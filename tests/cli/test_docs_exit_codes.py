"""The exit codes in docs/codes.md: every row is seen to be true, on real programs."""

import contextlib
import os
import re
import signal
import subprocess
import sys
from typing import NamedTuple

import pytest

from sscsi.cli.__main__ import _USAGE
from tests.cli import test_cli_demo, test_cli_refresh
from tests.support.appliance_place import STOP_SECONDS, AppliancePlace, new_place, started
from tests.support.checkout import console_scripts
from tests.support.doc_tables import table
from tests.support.waiting import wait_until

BIN = os.path.dirname(sys.executable)
ROWS = [(program.strip("`"), int(code)) for program, code, _ in table("codes.md", "## Exit codes")]
# Where not even root makes a directory.
NOWHERE = "/proc/sscsi"
GOOD_CLASS = "{apiVersion: secrets-store.csi.x-k8s.io/v1, kind: SecretProviderClass, metadata: {name: a}, spec: {provider: x, parameters: {a: b}}}"


class Call(NamedTuple):
    """A command line after the program's name, its stdin, and variables beside PATH."""

    arguments: tuple[str, ...] = ()
    stdin: str = ""
    variables: tuple[tuple[str, str], ...] = ()


WITHOUT_CLUSTER = (("SSCSI_CLUSTER", f"dir:{NOWHERE}"), ("SSCSI_RUN_DIR", NOWHERE))
CALLS = {
    ("sscsi run", 1): Call(variables=WITHOUT_CLUSTER),
    ("sscsi status", 1): Call((f"--run-dir={NOWHERE}",)),
    ("sscsi refresh", 1): Call((f"--run-dir={NOWHERE}", "--all")),
    ("sscsi who", 1): Call((f"--run-dir={NOWHERE}", "password")),
    ("sscsi doctor", 1): Call(variables=WITHOUT_CLUSTER),
    ("sscsi lint", 0): Call(("-",), GOOD_CLASS),
    ("sscsi lint", 1): Call(("-",), GOOD_CLASS.replace("x-k8s.io/v1", "x-k8s.io/v9")),
    ("sscsi demo", 1): Call((f"--classes={NOWHERE}", f"--secrets={NOWHERE}", "--class=a")),
    ("sscsi-node", 1): Call(variables=WITHOUT_CLUSTER),
    ("sscsi-statussync", 1): Call(variables=WITHOUT_CLUSTER),
    ("sscsi-provider-file", 1): Call((f"--root={NOWHERE}",), variables=WITHOUT_CLUSTER),
    ("sscsi-registrar", 1): Call(
        (f"--kubelet-registration-path={NOWHERE}/csi.sock", f"--plugin-registration-path={NOWHERE}")
    ),
    ("sscsi-livenessprobe", 1): Call(("--http-endpoint=off",)),
    ("sscsi-watchdog", 1): Call(),
    ("sscsi-launch", 126): Call(("--", "/etc/passwd")),
    ("sscsi-launch", 127): Call(("--", NOWHERE)),
}
# Of a running appliance that is well.
WELL = {
    ("sscsi status", 0): Call(),
    ("sscsi refresh", 0): Call(("--all",)),
    ("sscsi who", 0): Call(("password",)),
    ("sscsi doctor", 0): Call(),
}
ROOMS = sorted(console_scripts().keys() - {"sscsi", "sscsi-launch"})
STOPPED = {("sscsi run", 0), *((room, 0) for room in ROOMS)}
WRONG_FLAG = {row for row in ROWS if row[1] == 2}
ELSEWHERE = {
    ("sscsi demo", 0): test_cli_demo.test_the_samples_arrive_change_and_go,
    ("sscsi demo", 130): test_cli_demo.test_an_interrupt_in_the_middle_leaves_nothing,
    ("sscsi refresh", 130): test_cli_refresh.test_an_interrupt_ends_the_wait_in_one_line,
}


def call(program: str, case: Call, environ: dict[str, str] | None = None) -> int:
    name, *command = program.split()
    answer = subprocess.run(
        [os.path.join(BIN, name), *command, *case.arguments],
        input=case.stdin,
        env={"PATH": os.environ["PATH"], "SSCSI_RUN_DIR": NOWHERE, **(environ or {}), **dict(case.variables)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in answer.stderr
    return answer.returncode


class PlaceWithoutKubelet(AppliancePlace):
    """An appliance that has nobody to register with."""

    @property
    def sockets(self) -> list[str]:
        return [path for path in super().sockets if "reg" not in os.path.basename(path)]

    @property
    def environ(self) -> dict[str, str]:
        return super().environ | {"SSCSI_KUBELET_REGISTRATION_PATH": ""}


def test_every_row_is_seen_in_this_file_and_no_other() -> None:
    assert len(ROWS) == len(set(ROWS))
    assert set(ROWS) == {*CALLS, *WELL, *STOPPED, *WRONG_FLAG, *ELSEWHERE}


def test_every_command_and_program_has_rows() -> None:
    commands = re.findall(r"^  sscsi (\w+)", _USAGE, re.MULTILINE)
    assert {program for program, _ in ROWS} == {
        *(f"sscsi {command}" for command in commands),
        *ROOMS,
        "sscsi-launch",
    }


@pytest.mark.parametrize(("program", "code"), sorted(WRONG_FLAG))
def test_a_wrong_flag(program: str, code: int) -> None:
    assert call(program, Call(("--nonsense",))) == code


@pytest.mark.parametrize(("program", "code"), CALLS)
def test_a_call_that_ends_at_once(program: str, code: int) -> None:
    assert call(program, CALLS[program, code]) == code


@pytest.mark.root
def test_an_appliance_that_is_well_until_it_is_asked_to_stop() -> None:
    with new_place() as new:
        place = PlaceWithoutKubelet.__new__(PlaceWithoutKubelet)
        vars(place).update(vars(new))
        with started(place) as appliance:
            volume = place.write_class("web")
            place.kubelet.publish(volume)
            for (program, code), case in WELL.items():
                # A program of less than three seconds is not yet called running.
                wait_until(lambda: call(program, case, place.environ) == code, f"{program}: {code}")  # noqa: B023
            appliance.terminate()
            assert appliance.wait(STOP_SECONDS) == 0
        ended = dict(re.findall(r"stopped: (\S+) \((?:exit status )?(.*?)\)", place.log_text()))
    assert ended == {room.removeprefix("sscsi-"): "0" for room in ROOMS if room != "sscsi-registrar"}


def test_a_registrar_that_is_asked_to_stop() -> None:
    with new_place() as place, contextlib.ExitStack() as stack:
        process = subprocess.Popen(
            [
                os.path.join(BIN, "sscsi-registrar"),
                f"--csi-address={place.path('csi.sock')}",
                f"--kubelet-registration-path={place.path('csi.sock')}",
                f"--plugin-registration-path={place.path('registration')}",
            ],
            stderr=stack.enter_context(open(place.log, "w", encoding="utf-8")),
        )
        stack.callback(process.wait)
        stack.callback(process.kill)
        wait_until(lambda: "waiting for the driver" in place.log_text(), "it waits")
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_SECONDS) == 0
