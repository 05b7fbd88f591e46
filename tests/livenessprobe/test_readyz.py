"""/livez and /readyz, and what /metrics tells of the rooms: with rooms that are well, wrong, dead and hanging."""

import contextlib
import threading
import time
from collections.abc import Iterator

import pytest

from sscsi.core.room_status import RoomStatus
from tests.livenessprobe.fake_driver import FakeDriver, says, says_after, serving, silence_at
from tests.livenessprobe.metrics_text import named
from tests.livenessprobe.program import Answer, Ours, Place, Running, get, metrics, running
from tests.livenessprobe.rooms import WELL, FakeRoom, fake_room, fake_rooms
from tests.support.waiting import wait_until

WITH_REGISTRAR = {"SSCSI_REGISTRAR_AUTOSTART": "true"}
ALL_WELL = """\
[+]ping ok
[+]csi-driver ok
[+]kubelet-registration ok
[+]csi-socket ok
[+]providers-found ok
[+]statussync-connected ok
readyz check passed
"""


@contextlib.contextmanager
def appliance(ours: Ours, place: Place, *flags: str, **environ: str) -> Iterator[Running]:
    """The liveness probe as `sscsi run` starts it."""
    variables = {"SSCSI_RUN_DIR": place.run, "SSCSI_HEALTH_ENDPOINT": "127.0.0.1:0", **environ}
    with running(ours, place, *flags, environ=variables) as program:
        program.address()
        yield program


def wait_for_line(program: Running, line: str) -> None:
    wait_until(
        lambda: line in get(program.address(), "/readyz?verbose").body.splitlines(), f"{line!r} is there"
    )


def once_ready(program: Running, target: str = "/readyz") -> Answer:
    """The answer as soon as it is 200: who is slow to answer the page is not waited for."""
    answers: list[Answer] = []

    def is_ready() -> bool:
        answers.append(get(program.address(), target))
        return answers[-1].status == 200

    wait_until(is_ready, "it is ready")
    return answers[-1]


def test_an_appliance_that_is_well_is_ready(ours: Ours, place: Place) -> None:
    with (
        fake_rooms(place),
        serving(FakeDriver(), place.probe_socket),
        appliance(ours, place, **WITH_REGISTRAR) as program,
    ):
        assert once_ready(program).body == "ok"
        wait_until(lambda: once_ready(program, "/readyz?verbose").body == ALL_WELL, "all is well")
        verbose = once_ready(program, "/readyz?verbose")
        assert verbose.headers["Content-Type"] == "text/plain; charset=utf-8"


def test_this_process_is_alive_whatever_the_others_do(ours: Ours, place: Place) -> None:
    with (
        silence_at(place.probe_socket),
        appliance(ours, place, "--probe-timeout=10m", **WITH_REGISTRAR) as program,
    ):
        assert get(program.address(), "/livez").body == "ok"
        assert get(program.address(), "/livez?verbose").body == "[+]ping ok\nlivez check passed\n"


@pytest.mark.parametrize("state", ["waiting for the driver", "waiting for kubelet"])
def test_it_is_not_ready_until_kubelet_has_confirmed(ours: Ours, place: Place, state: str) -> None:
    with fake_rooms(place) as rooms, serving(FakeDriver(), place.probe_socket):
        rooms["registrar"].status = RoomStatus(state=state)
        with appliance(ours, place, **WITH_REGISTRAR) as program:
            answer = get(program.address(), "/readyz")
            assert answer.status == 500
            lines = answer.body.splitlines()
            assert lines[2] == "[-]kubelet-registration failed: reason withheld"
            assert lines[-1] == "readyz check failed"
            assert f"the registrar is {state}" in program.log
            rooms["registrar"].status = WELL["registrar"]
            wait_until(lambda: get(program.address(), "/readyz").status == 200, "it is ready")
            assert "ready again" in program.log


def test_it_is_not_ready_when_the_registrar_is_dead(ours: Ours, place: Place) -> None:
    with (
        fake_room(place, "node"),
        fake_room(place, "statussync"),
        serving(FakeDriver(), place.probe_socket),
        appliance(ours, place, **WITH_REGISTRAR) as program,
    ):
        assert get(program.address(), "/readyz").status == 500


def test_without_a_registrar_there_is_no_registration_to_wait_for(ours: Ours, place: Place) -> None:
    with (
        fake_room(place, "node"),
        fake_room(place, "statussync"),
        serving(FakeDriver(), place.probe_socket),
        appliance(ours, place) as program,
    ):
        answer = once_ready(program, "/readyz?verbose")
        assert "registration" not in answer.body
        assert "registrar" not in get(program.address(), "/metrics").body


@pytest.mark.parametrize("ready", [True, False])
def test_it_is_ready_only_while_the_driver_answers_and_is_ready(
    ours: Ours, place: Place, ready: bool
) -> None:
    driver = FakeDriver()
    driver.probe = says(ready=ready)
    with fake_rooms(place), appliance(ours, place) as program:
        assert "[-]csi-driver failed: reason withheld" in get(program.address(), "/readyz").body
        with serving(driver, place.probe_socket):
            if not ready:
                assert get(program.address(), "/readyz").status == 500
                return
            wait_until(lambda: get(program.address(), "/readyz").status == 200, "it is ready")
        wait_until(lambda: get(program.address(), "/readyz").status == 500, "it is not ready any more")


@pytest.mark.parametrize(
    ("room", "status", "line"),
    [
        ("node", RoomStatus(state="waiting for the socket", facts={"providers": "a"}), "csi-socket"),
        ("node", RoomStatus(state="serving", facts={"providers": ""}), "providers-found"),
        (
            "statussync",
            RoomStatus(state="serving", facts={"node_connected": "false"}),
            "statussync-connected",
        ),
    ],
)
def test_what_is_for_information_fails_nothing(
    ours: Ours, place: Place, room: str, status: RoomStatus, line: str
) -> None:
    with fake_rooms(place) as rooms, serving(FakeDriver(), place.probe_socket):
        rooms[room].status = status
        with appliance(ours, place, **WITH_REGISTRAR) as program:
            assert once_ready(program).body == "ok"

            def bad() -> list[str]:
                lines = once_ready(program, "/readyz?verbose").body.splitlines()
                return [text for text in lines if text.startswith("[-]")]

            expected = [f"[-]{line} failed: reason withheld (for information)"]
            wait_until(lambda: bad() == expected, f"it tells {expected} and no more")


def test_the_reason_stays_in_the_log(ours: Ours, place: Place) -> None:
    with fake_rooms(place) as rooms, serving(FakeDriver(), place.probe_socket):
        rooms["registrar"].status = RoomStatus(state="canary", problems=("canary",))
        with appliance(ours, place, **WITH_REGISTRAR) as program:
            assert "canary" not in get(program.address(), "/readyz?verbose").body
            wait_until(
                lambda: get(program.address(), "/readyz").status and "canary" in program.log,
                "the reason is in the log",
            )


def test_a_check_can_be_left_out(ours: Ours, place: Place) -> None:
    with (
        fake_room(place, "node"),
        serving(FakeDriver(), place.probe_socket),
        appliance(ours, place, **WITH_REGISTRAR) as program,
    ):
        target = "/readyz?exclude=kubelet-registration"
        assert once_ready(program, target).body == "ok"
        answer = once_ready(program, target + "&exclude=nothing&verbose")
        assert "[+]kubelet-registration excluded: ok\n" in answer.body
        assert 'no matches for "nothing"\n' in answer.body
        assert get(program.address(), "/readyz").status == 500


def test_who_asks_can_forge_no_line(ours: Ours, place: Place) -> None:
    with serving(FakeDriver(), place.probe_socket), appliance(ours, place) as program:
        target = "/readyz?verbose&exclude=a%22%0A[%2B]forged+ok%1B[2J%5C"
        lines = get(program.address(), target).body.splitlines()
        assert r'no matches for "a\"\n[+]forged ok\x1b[2J\\"' in lines[-2]
        assert not [line for line in lines if line.startswith("[+]forged")]


def test_a_change_is_logged_once(ours: Ours, place: Place) -> None:
    with appliance(ours, place) as program:
        for _ in range(4):
            get(program.address(), "/readyz")
        assert program.log.count("not ready") == 1


def test_rooms_that_hang_delay_a_page_by_a_fraction_of_a_second_once(ours: Ours, place: Place) -> None:
    with (
        fake_rooms(place) as rooms,
        serving(FakeDriver(), place.probe_socket),
        appliance(ours, place) as program,
    ):
        wait_for_line(program, "[+]statussync-connected ok")
        for name in ("node", "statussync"):
            rooms[name].go_on.clear()
        # Each was asked at a moment of its own, so each may delay a page once.
        wait_for_line(program, "[-]csi-socket failed: reason withheld (for information)")
        wait_for_line(program, "[-]statussync-connected failed: reason withheld (for information)")
        asked = rooms["statussync"].questions
        seconds = []
        for page in ("/readyz?verbose", "/metrics") * 10:
            begun = time.monotonic()
            assert get(program.address(), page).status == 200
            seconds.append(time.monotonic() - begun)
        # One of each at least; the machine may be busy with something else for the others.
        assert max(min(seconds[::2]), min(seconds[1::2])) < 0.2
        # One question is under way, and no other is asked meanwhile.
        assert rooms["statussync"].questions == asked
        for name in ("node", "statussync"):
            rooms[name].go_on.set()
        wait_for_line(program, "[+]statussync-connected ok")


def test_a_driver_that_hangs_does_not_hold_readiness_up(ours: Ours, place: Place) -> None:
    driver = FakeDriver()
    with (
        fake_rooms(place),
        serving(driver, place.probe_socket),
        appliance(ours, place, "--probe-timeout=3s") as program,
    ):
        wait_until(lambda: get(program.address(), "/readyz").status == 200, "it is ready")
        driver.probe = driver.hang
        # While it is asked, what it answered last stands in.
        wait_until(lambda: get(program.address(), "/readyz").status == 500, "it is not ready")
        asked = driver.probes
        for _ in range(10):
            assert get(program.address(), "/readyz").status == 500
        assert driver.probes - asked < 10, "not each of them waited for an answer of the driver"


@pytest.mark.parametrize("takes_seconds", [0.6, 2.0])
def test_a_driver_that_answers_slowly_is_ready_however_seldom_it_is_asked(
    ours: Ours, place: Place, takes_seconds: float
) -> None:
    driver = FakeDriver()
    driver.probe = says_after(takes_seconds)
    with (
        fake_rooms(place),
        serving(driver, place.probe_socket),
        appliance(ours, place, "--probe-timeout=60s") as program,
    ):
        wait_until(lambda: get(program.address(), "/readyz").status == 200, "it is ready")
        # An answer is fresh for a second; then the driver is asked anew, and its answer is late again, or is not.
        asked = driver.probes
        while driver.probes < asked + 2:
            assert get(program.address(), "/readyz").status == 200
            threading.Event().wait(0.1)


def test_why_the_driver_fails_is_in_the_log(ours: Ours, place: Place) -> None:
    driver = FakeDriver()
    driver.probe = says(ready=False)
    with (
        fake_rooms(place),
        serving(driver, place.probe_socket),
        appliance(ours, place, "--probe-timeout=60s") as program,
    ):
        assert get(program.address(), "/readyz").status == 500
        assert "csi-driver failed: driver responded but is not ready" in program.log
        driver.probe = says(ready=True)
        wait_until(lambda: get(program.address(), "/readyz").status == 200, "it is ready")


def test_a_driver_that_never_answered_is_not_ready_and_the_log_says_how_long_it_had(
    ours: Ours, place: Place
) -> None:
    driver = FakeDriver()
    driver.probe = driver.hang
    with (
        fake_rooms(place),
        serving(driver, place.probe_socket),
        appliance(ours, place, "--probe-timeout=60s") as program,
    ):
        assert get(program.address(), "/readyz").status == 500
        assert "csi-driver failed: no answer within 1.5 s" in program.log


def test_scrapes_that_come_together_ask_once(ours: Ours, place: Place) -> None:
    with fake_rooms(place) as rooms, appliance(ours, place) as program:
        node = rooms["node"]
        node.go_on.clear()
        callers = [
            threading.Thread(target=get, args=(program.address(), page))
            for page in ("/metrics", "/readyz") * 5
        ]
        for caller in callers:
            caller.start()
        # It answers one question after the other.
        wait_until(lambda: node.questions or node.metrics_questions, "the room is asked")
        node.go_on.set()
        for caller in callers:
            caller.join()
        assert (node.questions, node.metrics_questions) == (1, 1)


def test_the_metrics_tell_which_rooms_answer(ours: Ours, place: Place) -> None:
    with (
        fake_room(place, "node"),
        fake_room(place, "registrar") as registrar,
        appliance(ours, place, **WITH_REGISTRAR) as program,
    ):
        expected = {"node": 1, "statussync": 0, "registrar": 1}

        def as_they_are() -> bool:
            samples = metrics(program.address())
            ups = {room: named(samples, "sscsi_room_up", room=room) for room in expected}
            return ups == expected and named(samples, "sscsi_kubelet_registered") == 1

        wait_until(as_they_are, "it tells who answers")
        registrar.status = RoomStatus(state="waiting for kubelet")
        wait_until(
            lambda: named(metrics(program.address()), "sscsi_kubelet_registered") == 0,
            "the registration is gone",
        )
        hang(registrar)
        wait_until(
            lambda: named(metrics(program.address()), "sscsi_room_up", room="registrar") == 0,
            "the registrar hangs",
        )


def test_a_room_that_comes_back_is_up_again(ours: Ours, place: Place) -> None:
    with appliance(ours, place) as program:
        for _ in range(2):
            with fake_room(place, "node"):
                wait_until(
                    lambda: named(metrics(program.address()), "sscsi_room_up", room="node") == 1, "it is up"
                )
            wait_until(
                lambda: named(metrics(program.address()), "sscsi_room_up", room="node") == 0, "it is down"
            )


def hang(room: FakeRoom) -> None:
    room.go_on.clear()
