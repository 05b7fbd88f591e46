"""docs/status.md, held against the program that it describes."""

import json
import os
from collections.abc import Iterator
from typing import Any

from sscsi.cli.status import FLAGS, as_json
from sscsi.cli.status_observation import Observation, SeenVolumes
from sscsi.cli.status_report import judge
from sscsi.cli.status_screen import render
from sscsi.process.flags import usage
from tests.cli.status_making import (
    MIB,
    NOW,
    make_failing,
    make_late,
    make_observation,
    make_program,
    make_room,
    make_rooms,
    make_volume,
    make_watchdog,
)

PAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "docs", "status.md")


def page() -> str:
    with open(PAGE, encoding="utf-8") as file:
        return file.read()


def example() -> Observation:
    """A night on which a secret is gone and kubelet's confirmation is missing."""
    problem = "kubelet could not register the driver: node id is empty"
    restarted = make_program(
        "statussync",
        pss_bytes=14 * MIB,
        start_time=NOW - 300,
        cpu_seconds=2.0,
        restarts=1,
        last_exit_time=NOW - 301,
    )
    sizes = {"node": (21, 39), "registrar": (11, 29), "livenessprobe": (10, 28), "watchdog": (9, 27)}
    programs = {
        name: make_program(name, pss_bytes=pss * MIB, rss_bytes=rss * MIB)
        for name, (pss, rss) in sizes.items()
    }
    error = (
        "rpc error: code = NotFound desc = fetching secret shop/db-password: no such version (provider 'aws', "
        "region eu-central-1)"
    )
    volumes = [
        make_failing(
            "web-7d9f8b6c5-x2x7p",
            age=15_120,
            error=error,
            failing_since=NOW - 15_000,
            failure_reason="ProviderFailed",
        ),
        make_late(
            "job-4x9kq", due=63, waits_for="kubelet's next call: the service account tokens have expired"
        ),
    ]
    volumes += [make_volume(f"web-{number}") for number in range(9)]
    volumes += [make_volume("old", adopted=True, last_success_time=0.0)]
    return make_observation(
        watchdog=make_watchdog(programs | {"statussync": restarted}),
        rooms=make_rooms(
            registrar=make_room(
                "registrar",
                state="waiting for kubelet",
                registered_since="",
                registrations="0",
                last_error=problem,
                problems=[problem],
            )
        ),
        volumes=SeenVolumes(volumes=tuple(volumes), unknown=0),
    )


def test_the_example_is_what_the_program_prints() -> None:
    shown = "".join(f"{line}\n" for line in render(judge(example())).split("\n"))
    assert shown in page()


def test_the_healthy_verdict_is_as_the_program_words_it() -> None:
    assert f"{render(judge(make_observation())).splitlines()[0]}\n" in page()


def test_every_flag_is_in_the_table() -> None:
    for flag in FLAGS:
        default = usage("x", [flag]).partition(f"--{flag.name}=")[2].split()[0]
        assert f"| `--{flag.name}` | `{default}` |" in page()
        assert flag.variable in page()


def test_every_field_of_the_json_shape_is_explained() -> None:
    text = page()
    node = make_room("node", last_failed_publish_time=str(NOW - 12))
    document = json.loads(as_json(judge(make_observation(rooms=make_rooms(node=node)))))
    fields = set(names(document))
    assert {"healthy", "fault", "registered_since", "last_success_seconds_ago"} <= fields
    assert [name for name in sorted(fields) if f"`{name}`" not in text] == []


def names(document: Any) -> Iterator[str]:
    """Every key, at any depth; the names of programs are none."""
    if isinstance(document, list):
        for item in document:
            yield from names(item)
    elif isinstance(document, dict):
        for key, value in document.items():
            if not (isinstance(value, dict) and "fault" in value):
                yield key
            yield from names(value)


def test_the_json_shape_of_version_1_keeps_its_names() -> None:
    document = json.loads(as_json(judge(make_observation())))
    assert document["version"] == 1
    assert {
        key: sorted(value) for key, value in document.items() if isinstance(value, dict) and key != "programs"
    } == {
        "supervisor": ["alive", "pid", "reported_seconds_ago"],
        "registration": [
            "driver",
            "endpoint",
            "last_error",
            "last_error_time",
            "registered",
            "registered_since",
            "registrations",
            "socket",
            "state",
            "wanted",
        ],
        "volumes": [
            "adopted",
            "count",
            "failing",
            "items",
            "last_failed_publish",
            "late",
            "oldest_success_seconds_ago",
            "trouble",
            "unknown",
            "unpublished",
        ],
        "status_sync": ["last_problem", "node_connected", "problems", "queue_depth", "snapshot_seen"],
        "memory": ["container_bytes", "container_max_bytes", "programs_pss_bytes"],
    }
