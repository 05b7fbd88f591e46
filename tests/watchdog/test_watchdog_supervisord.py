"""The watchdog under a stock supervisord, with small programs in the rooms' places.

What happens here takes supervisord and the kernel some ten seconds each, so all of it happens at once: every
supervisord is started before the first test looks.
"""

import os
import signal
from collections.abc import Iterator
from concurrent import futures

import pytest

from tests.support.waiting import wait_until
from tests.watchdog.stock_supervisord import FATAL, LOOPS, STAYS_UP, StockSupervisord, stubborn_eater

_EATEN_BYTES = 64 * 2**20
_SCENES: dict[str, dict[str, str | tuple[str, str]]] = {
    "fatal": {"registrar": FATAL, "node": STAYS_UP},
    "loop": {"node": LOOPS},
    "others": {"statussync": FATAL, "livenessprobe": LOOPS, "node": STAYS_UP},
    "eater": {"provider-file": (stubborn_eater(_EATEN_BYTES), "stopwaitsecs=1\nautorestart=true")},
}

Scenes = dict[str, StockSupervisord]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scenes]:
    directory = tmp_path_factory.mktemp("stock")
    flags = {"eater": "--memory-budgets=provider-file=32Mi --stop-grace=1s"}
    scenes = {
        name: StockSupervisord(directory / name, programs, flags=flags.get(name, ""))
        for name, programs in _SCENES.items()
    }
    yield scenes
    with futures.ThreadPoolExecutor() as pool:
        list(pool.map(StockSupervisord.close, scenes.values()))


def test_a_critical_program_that_is_fatal_ends_supervisord(scenes: Scenes) -> None:
    assert scenes["fatal"].ends_by_itself(seconds=30)
    registrar = scenes["fatal"].program("registrar")
    assert registrar
    assert registrar.state == "FATAL"


def test_a_critical_program_that_ends_five_times_in_two_minutes_ends_supervisord(scenes: Scenes) -> None:
    assert scenes["loop"].ends_by_itself(seconds=30)
    node = scenes["loop"].program("node")
    assert node
    assert len(node.recent_exit_times) == 5


def test_any_other_program_may_fail_and_loop(scenes: Scenes) -> None:
    others = scenes["others"]
    others.wait_for("statussync", "FATAL")

    def loops() -> bool:
        probe = others.program("livenessprobe")
        return probe is not None and probe.restarts >= 7

    wait_until(loops, "livenessprobe ended more than five times")
    assert others.is_up()
    node = others.wait_for("node", "RUNNING")
    assert (node.restarts, node.last_exit_time) == (0, None)


def test_killed_the_watchdog_is_back_with_all_counts(scenes: Scenes) -> None:
    others = scenes["others"]
    watchdog = others.wait_for("watchdog", "RUNNING")
    probe = others.program("livenessprobe")
    assert probe
    os.kill(watchdog.pid, signal.SIGKILL)

    def is_back() -> bool:
        again = others.program("watchdog")
        return (
            again is not None
            and again.restarts == 1
            and again.state == "RUNNING"
            and again.pid != watchdog.pid
        )

    wait_until(is_back, "another watchdog writes")
    after, node = others.program("livenessprobe"), others.program("node")
    assert after
    assert node
    assert after.restarts >= probe.restarts
    assert (node.state, node.restarts) == ("RUNNING", 0)
    assert others.is_up()


def test_a_program_over_its_memory_budget_is_started_anew_even_if_it_does_not_mind(scenes: Scenes) -> None:
    eater = scenes["eater"]

    def first_is_seen() -> bool:
        program = eater.program("provider-file")
        return program is not None and program.pss_bytes is not None and program.pss_bytes > _EATEN_BYTES

    wait_until(first_is_seen, "the eater was measured")
    first = eater.program("provider-file")
    assert first

    def is_another() -> bool:
        program = eater.program("provider-file")
        return program is not None and program.restarts == 1 and program.pid not in {0, first.pid}

    wait_until(is_another, f"another eater runs; the log: {eater.log()}", seconds=60.0)
    again = eater.program("provider-file")
    assert again
    assert again.over_budget_restarts == 1
    assert again.last_exit_time
    assert not os.path.exists(f"/proc/{first.pid}")
