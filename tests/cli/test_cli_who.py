"""`sscsi who` as an operator runs it, against a node room's real socket."""

import json
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from sscsi.core import run_files
from sscsi.pb import sscsi_pb2
from tests.cli.fake_node import Node, serving_node, sscsi, sscsi_as_nobody
from tests.support.require import require


@pytest.fixture
def directory() -> Iterator[str]:
    """A short path: sockets are made below it."""
    with tempfile.TemporaryDirectory(prefix="sscsi-", dir="/tmp") as path:
        yield path


@pytest.fixture
def node(directory: str) -> Iterator[Node]:
    with serving_node(directory, Node()) as node:
        node.volumes = (
            volume("web-1", [("shop/db", "v2"), ("shop/key", "7")]),
            volume(
                "web-2", [("shop/db", "v1")], last_error="no such secret", failure_reason="ProviderDenied"
            ),
            volume("web-3", [("shop/db2", "v2"), ("shop/[db]", "v2"), ("-db", "v2")]),
        )
        node.volumes[1].failing_since = time.time() - 4000
        yield node


def volume(pod: str, versions: Sequence[tuple[str, str]], **changes: Any) -> sscsi_pb2.Volume:
    return sscsi_pb2.Volume(
        target_path=f"/pods/{pod}/mount",
        pod_namespace="shop",
        pod_name=pod,
        pod_uid=f"uid-of-{pod}",
        service_account="web",
        class_name="web-shop",
        provider="aws",
        object_versions=[sscsi_pb2.ObjectVersion(id=name, version=version) for name, version in versions],
        last_attempt_time=time.time() - 40,
        last_success_time=time.time() - 7300,
        **changes,
    )


def who(directory: str, *arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    return sscsi("who", directory, "--timeout=60s", *arguments, **variables)


def holders(answer: "subprocess.CompletedProcess[str]") -> list[tuple[str, str, str]]:
    """Pod, object and version of each."""
    found = json.loads(answer.stdout)["holders"]
    assert (answer.returncode, answer.stderr) == (0 if found else 1, "")
    return [(one["pod"], one["object"], one["object_version"]) for one in found]


def test_who_holds_which_version_is_a_table(directory: str, node: Node) -> None:
    answer = who(directory, "shop/db")
    assert (answer.returncode, answer.stderr) == (0, "")
    rows = [re.split("  +", line) for line in answer.stdout.splitlines()]
    head = [
        "POD",
        "OBJECT",
        "VERSION",
        "FETCHED",
        "CLASS",
        "PROVIDER",
        "SERVICE ACCOUNT",
        "POD UID",
        "REFRESH",
    ]
    common = ["2h01m ago", "web-shop", "aws", "web"]
    assert rows == [
        head,
        ["shop/web-2", "shop/db", "v1", *common, "uid-of-web-2", "fails for 1h06m: ProviderDenied"],
        ["shop/web-1", "shop/db", "v2", *common, "uid-of-web-1", "ok"],
        ["2 pods, 2 versions"],
        ["Of 1 mount nobody knows whose they are until the next publish."],
    ]


def test_machines_get_the_same_as_json(directory: str, node: Node) -> None:
    answer = who("", "shop/db", "--json", SSCSI_RUN_DIR=directory)
    document = json.loads(answer.stdout)
    failing, well = document.pop("holders")
    assert document == {
        "version": 1,
        "volumes": 3,
        "unknown_contents": 0,
        "unknown_mounts": 1,
        "trouble": "",
    }
    assert 7300 <= well.pop("last_success_seconds_ago") < 7400
    assert well == {
        "namespace": "shop",
        "pod": "web-1",
        "pod_uid": "uid-of-web-1",
        "service_account": "web",
        "class_name": "web-shop",
        "provider": "aws",
        "target_path": "/pods/web-1/mount",
        "object": "shop/db",
        "object_version": "v2",
        "failing_since": None,
        "failure_reason": "",
        "last_error": "",
    }
    assert (failing["failure_reason"], failing["last_error"]) == ("ProviderDenied", "no such secret")
    assert failing["failing_since"] == node.volumes[1].failing_since


@pytest.mark.parametrize(
    ("arguments", "pods"),
    [
        (["shop/db"], ["web-2", "web-1"]),
        (["db"], []),
        (["SHOP/DB"], []),
        (["shop/[db]"], ["web-3"]),
        (["--", "-db"], ["web-3"]),
        (["shop/db", "--version=v2"], ["web-1"]),
        (["shop/db", "--version=v"], []),
        (["--match=shop/db*"], ["web-2", "web-1", "web-3"]),
        (["--match=*db"], ["web-3", "web-2", "web-1"]),
        (["--match=shop/d?2"], ["web-3"]),
        (["--match=*", "--version=7"], ["web-1"]),
    ],
)
def test_an_id_is_meant_in_full_and_a_pattern_as_a_shell_has_it(
    directory: str, node: Node, arguments: list[str], pods: list[str]
) -> None:
    assert [pod for pod, _, _ in holders(who(directory, "--json", *arguments))] == pods


def test_several_objects_are_counted(directory: str, node: Node) -> None:
    answer = who(directory, "--match=shop/*")
    assert "3 pods, 5 versions of 4 objects" in answer.stdout.splitlines()


def test_that_nobody_holds_it_is_code_1(directory: str, node: Node) -> None:
    node.volumes = (*node.volumes, volume("old", (), adopted=True))
    answer = who(directory, "other")
    assert (answer.returncode, answer.stderr) == (1, "")
    assert answer.stdout.splitlines() == [
        "No pod holds it, of 4 volumes on this node.",
        "Of 1 volume nobody knows the content until the next refresh (adopted).",
        "Of 1 mount nobody knows whose they are until the next publish.",
    ]


def test_foreign_text_is_harmless_to_a_terminal(directory: str, node: Node) -> None:
    node.volumes = (volume("web-1", [("a\n\x1b[31m", "v\r\u202e")]),)
    answer = who(directory, "--match=a*")
    assert answer.returncode == 0
    assert "a??[31m" in answer.stdout
    assert len(answer.stdout.splitlines()) == 4
    assert not set(answer.stdout) & set("\x1b\r\u202e")


def test_nobody_is_there_to_answer(directory: str) -> None:
    answer = who("/no/such", "shop/db")
    assert (answer.returncode, answer.stdout) == (1, "")
    assert answer.stderr.startswith("sscsi who: there is no directory '/no/such'")
    with open(os.path.join(directory, run_files.WATCHDOG_STATE), "wb"):
        pass
    answer = who(directory, "shop/db", "--json")
    document = json.loads(answer.stdout)
    assert (answer.returncode, answer.stderr, document["holders"], document["volumes"]) == (1, "", [], None)
    assert "there is no node.sock" in document["trouble"]


def test_a_node_that_does_not_answer_in_time(directory: str, node: Node) -> None:
    node.is_mute.set()
    answer = sscsi("who", directory, "shop/db", "--timeout=200ms")
    assert (answer.returncode, answer.stdout) == (1, "")
    assert answer.stderr.startswith("sscsi who: node does not answer within 0.2 s")


def test_another_user_is_told_to_ask_as_root(directory: str, node: Node) -> None:
    require("root")
    os.chmod(directory, 0o755)
    answer = sscsi_as_nobody("who", directory, "shop/db", "--timeout=60s")
    assert (answer.returncode, answer.stdout) == (1, "")
    assert answer.stderr == "sscsi who: this user may not ask node (node.sock is root's); ask as root\n"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "exactly one of OBJECT and --match=PATTERN"),
        ([""], "exactly one of"),
        (["shop/db", "--match=*"], "exactly one of"),
        (["shop/db", "shop/key"], "'shop/key'"),
        (["shop/db", "--timeout=-1s"], "--timeout"),
        (["-db"], "--db"),
    ],
)
def test_a_wrong_command_line_is_code_2_and_named(arguments: list[str], named: str) -> None:
    answer = sscsi("who", "", *arguments)
    assert (answer.returncode, answer.stdout) == (2, "")
    (line,) = answer.stderr.splitlines()
    assert line.startswith("sscsi who: ")
    assert named in line


def test_help_tells_what_it_is_for_and_its_codes() -> None:
    answer = sscsi("who", "", "--help")
    assert (answer.returncode, answer.stderr) == (0, "")
    for word in ("sscsi who OBJECT", "--match", "--version", "SSCSI_RUN_DIR", "--json", "Code 0"):
        assert word in answer.stdout
    assert "sscsi who" in sscsi("--help", "").stdout
