"""The node room as an operator's commands and the audit log see it, through its real sockets."""

import json
import os
import re
import subprocess
from typing import Any

import grpc
import pytest

from tests.cli.fake_node import sscsi
from tests.fakes.fake_provider import FakeProvider, files_answer
from tests.fakes.fake_status_sync import FakeStatusSync
from tests.support.node_place import NodePlace
from tests.support.node_room import publish_request, room_in_process

pytestmark = pytest.mark.root


def run(place: NodePlace, command: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return sscsi(command, place.run_directory, "--timeout=20s", *arguments)


def document(answer: "subprocess.CompletedProcess[str]") -> dict[str, Any]:
    assert answer.stderr == ""
    found: dict[str, Any] = json.loads(answer.stdout)
    return found


def test_a_change_is_fetched_by_command_seen_by_who_and_kept_by_the_audit_log(
    place: NodePlace, status_sync: FakeStatusSync, provider: FakeProvider
) -> None:
    audit = os.path.join(place.base, "audit.log")
    flags = ("--enable-secret-rotation", "--rotation-poll-interval=1h", f"--audit-log={audit}", "--nodeid=n1")
    with room_in_process(place, *flags) as node:
        assert run(place, "refresh", "--all").stderr == "sscsi refresh: no volume on this node is selected\n"
        node.publish(publish_request(place.target_path(), secrets={"password": "canary-of-a-secret"}))
        provider.answer = files_answer(("secret", 0o644, b"second content"), version="v2")
        answer = run(place, "refresh", "--class=default/app")
        assert (answer.returncode, answer.stderr) == (0, "")
        assert answer.stdout == "default/web-0, class app: changed\n1 volume: 1 changed\n"
        assert run(place, "refresh", "--pod=default/web-0").stdout.endswith("1 volume: 1 unchanged\n")
        (holder,) = document(run(place, "who", "secret", "--json"))["holders"]
        assert (holder["pod"], holder["pod_uid"], holder["object_version"]) == ("web-0", "pod-uid-1", "v2")
        assert run(place, "who", "secret", "--version=v1").returncode == 1

        provider.error = (grpc.StatusCode.PERMISSION_DENIED, "no access to secret")
        answer = run(place, "refresh", "--all")
        assert answer.returncode == 1
        assert "default/web-0, class app: failed: " in answer.stdout
        assert "no access to secret" in answer.stdout
        assert re.search(r" fails for \d+s: ProviderDenied\n", run(place, "who", "secret").stdout)
        (item,) = document(run(place, "status", "--json"))["volumes"]["items"]
        assert (item["failure_reason"], item["failing"], item["refresh_interval_seconds"]) == (
            "ProviderDenied",
            True,
            3600,
        )
    with open(audit, encoding="ascii") as file:
        text = file.read()
    assert not [
        canary for canary in ("canary-of-a-secret", "first content", "second content") if canary in text
    ]
    lines = [json.loads(line) for line in text.splitlines()]
    assert [(line["event"], line["trigger"], line["live"]) for line in lines] == [
        ("delivered", "publish", True),
        ("refreshed", "command", True),
        ("unchanged", "command", False),
    ]
    assert [line["objects"][0]["version"] for line in lines] == ["v1", "v2", "v2"]
    assert {(line["pod"], line["class"], line["node"], line["target_path"]) for line in lines} == {
        ("web-0", "app", "n1", place.target_path())
    }
