"""The alerts on pages of a real appliance: none when it is well, and those of what is broken in it.

Its pages are minutes apart only in the eyes of the alerts, which are not what is tested here: a page is scraped until it
shows the state, and then stands for an hour.
"""

import os
import signal
import urllib.request
from collections.abc import Iterator

import pytest

from sscsi.cli.errors import CallFailedError
from tests.deploy.rule_file import Scrapes, firing, rules
from tests.livenessprobe.metrics_text import named, parse
from tests.support.appliance_place import free_address, new_place
from tests.support.require import require
from tests.support.supervised import Supervised, supervised
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.root]

_MINUTES = 60


class Watched:
    """An appliance with its metrics page."""

    def __init__(self, running: Supervised, address: str) -> None:
        self.running = running
        self._address = address

    def page(self) -> str:
        with urllib.request.urlopen(f"http://{self._address}/metrics", timeout=20) as answer:
            return str(answer.read().decode())

    def page_with(self, name: str, wanted: float, **labels: str) -> str:
        """A page on which the metric has at least that value, or none at all for 0."""
        pages: list[str] = []

        def shows() -> bool:
            pages.append(self.page())
            samples = parse(pages[-1])
            try:
                value = named(samples, name, **labels)
            except AssertionError:
                return False
            ups = {has: up for (metric, has), up in samples.items() if metric == "sscsi_room_up"}
            # A room that is slow to answer is not waited for; that it is down is no part of what is looked for.
            others = [up for has, up in ups.items() if ("room", labels.get("room")) not in has]
            return all(others) and (value >= wanted if wanted else value == 0)

        wait_until(shows, f"{name}{labels} is {wanted:g}")
        return pages[-1]


@pytest.fixture(scope="module")
def appliance() -> Iterator[Watched]:
    require("root")
    address = free_address()
    with new_place() as place, supervised(place, f"--metrics-addr={address}") as running:
        running.wait_running()
        watched = Watched(running, address)
        for room in ("node", "statussync", "registrar"):
            watched.page_with("sscsi_room_up", 1, room=room)
        watched.page_with("sscsi_kubelet_registered", 1)
        watched.page_with("sscsi_watchdog_up", 1)
        yield watched


def fired(*pages: str) -> set[str]:
    """What fires in the end when each of the pages stands for an hour."""
    scrapes = Scrapes()
    for page in pages:
        for _ in range(_MINUTES):
            scrapes.add(page)
    return {rule.name for rule in rules().values() if scrapes.times[-1] in firing(rule, scrapes)}


def test_idle_or_with_a_volume_nothing_fires(appliance: Watched) -> None:
    idle = appliance.page_with("sscsi_volumes", 0)
    assert fired(idle) == set()
    kubelet = appliance.running.place.kubelet
    volume = appliance.running.place.write_class("well")
    kubelet.publish(volume)
    try:
        with_volume = appliance.page_with("sscsi_volumes", 1)
    finally:
        kubelet.unpublish(volume)
    assert fired(idle, with_volume) == set()


def test_a_room_that_hangs_fires(appliance: Watched) -> None:
    before = appliance.page_with("sscsi_room_up", 1, room="node")
    pid = appliance.running.pid_of("node")
    os.kill(pid, signal.SIGSTOP)
    try:
        hanging = appliance.page_with("sscsi_room_up", 0, room="node")
    finally:
        os.kill(pid, signal.SIGCONT)
    assert fired(before, hanging) == {"SscsiNodeRoomDown"}
    assert fired(hanging, appliance.page_with("sscsi_room_up", 1, room="node")) == set()


def test_a_pod_of_a_class_whose_provider_is_not_there_fires(appliance: Watched) -> None:
    place = appliance.running.place
    volume = place.write_class("nowhere", provider="nobody")
    before = appliance.page_with("sscsi_volumes_unpublished", 0)
    with pytest.raises(CallFailedError):
        place.kubelet.publish(volume)
    waiting = appliance.page_with("sscsi_volumes_unpublished", 1)
    assert fired(before, waiting) == {"SscsiPublishesFailing"}
