"""`sscsi refresh` as an operator runs it, against a node room's real socket."""

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator

import grpc
import pytest

from sscsi.core import run_files
from sscsi.pb import sscsi_pb2
from tests.cli.fake_node import SECONDS, SSCSI, Node, deaf_socket, serving_node, sscsi, sscsi_as_nobody
from tests.support.require import require
from tests.support.waiting import wait_until

Result = sscsi_pb2.RefreshResult


@pytest.fixture
def directory() -> Iterator[str]:
    """A short path: sockets are made below it."""
    with tempfile.TemporaryDirectory(prefix="sscsi-", dir="/tmp") as path:
        yield path


@pytest.fixture
def node(directory: str) -> Iterator[Node]:
    with serving_node(directory, Node()) as node:
        node.results = (result(1, Result.CHANGED), result(2, Result.UNCHANGED))
        yield node


def result(number: int, outcome: "Result.Outcome.ValueType", message: str = "") -> Result:
    return Result(
        target_path=f"/pods/{number}/mount",
        pod_namespace="shop",
        pod_name=f"web-{number}",
        class_name="web-shop",
        outcome=outcome,
        message=message,
    )


def refresh(directory: str, *arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    return sscsi("refresh", directory, *arguments, **variables)


@pytest.mark.parametrize(
    ("argument", "request_sent"),
    [
        ("--all", sscsi_pb2.RefreshRequest(all=True)),
        ("--class=shop/web-shop", sscsi_pb2.RefreshRequest(namespace="shop", class_name="web-shop")),
        ("--pod=shop/web-1", sscsi_pb2.RefreshRequest(namespace="shop", pod_name="web-1")),
    ],
)
def test_what_is_selected_is_what_node_hears(
    directory: str, node: Node, argument: str, request_sent: sscsi_pb2.RefreshRequest
) -> None:
    answer = refresh(directory, argument)
    assert (answer.returncode, answer.stderr) == (0, "")
    assert answer.stdout.splitlines() == [
        "shop/web-1, class web-shop: changed",
        "shop/web-2, class web-shop: unchanged",
        "2 volumes: 1 changed, 1 unchanged",
    ]
    assert node.requests == [request_sent]


@pytest.mark.parametrize(
    ("outcome", "word"),
    [
        (Result.FAILED, "failed"),
        (Result.PENDING, "pending"),
        (Result.OUTCOME_UNSPECIFIED, "unknown"),
        (99, "unknown"),
    ],
)
def test_what_is_not_done_turns_the_code_and_stands_last_with_its_reason(
    directory: str, node: Node, outcome: "Result.Outcome.ValueType", word: str
) -> None:
    node.results = (result(1, outcome, "no such\nsecret \x1b[31m"), result(2, Result.CHANGED))
    answer = refresh(directory, "--all")
    assert (answer.returncode, answer.stderr) == (1, "")
    assert answer.stdout.splitlines() == [
        "shop/web-2, class web-shop: changed",
        f"shop/web-1, class web-shop: {word}: no such?secret ?[31m",
        f"2 volumes: 1 changed, 1 {word}",
    ]


def test_machines_get_the_same_as_json(directory: str, node: Node) -> None:
    node.results = (result(1, Result.FAILED, "no such secret"), result(2, Result.UNCHANGED))
    answer = refresh("", "--all", "--json", SSCSI_RUN_DIR=directory)
    assert (answer.returncode, answer.stderr) == (1, "")
    document = json.loads(answer.stdout)
    assert document["results"][1] == {
        "namespace": "shop",
        "pod": "web-1",
        "class_name": "web-shop",
        "target_path": "/pods/1/mount",
        "outcome": "failed",
        "message": "no such secret",
    }
    del document["results"]
    assert document == {
        "version": 1,
        "done": False,
        "trouble": "",
        "counts": {"changed": 0, "unchanged": 1, "pending": 0, "failed": 1, "unknown": 0},
    }


@pytest.mark.parametrize(
    ("code", "details", "told"),
    [
        (
            grpc.StatusCode.FAILED_PRECONDITION,
            "no volume of class shop/x is here",
            "no volume of class shop/x is here",
        ),
        (grpc.StatusCode.FAILED_PRECONDITION, "", "no volume is selected"),
        (grpc.StatusCode.UNAVAILABLE, "the driver is stopping", "node refused it: the driver is stopping"),
        (grpc.StatusCode.UNIMPLEMENTED, "", "node refused it: UNIMPLEMENTED"),
    ],
)
def test_a_refusal_is_told_in_nodes_words(
    directory: str, node: Node, code: grpc.StatusCode, details: str, told: str
) -> None:
    node.refusal = (code, details)
    answer = refresh(directory, "--all")
    assert (answer.returncode, answer.stdout, answer.stderr) == (1, "", f"sscsi refresh: {told}\n")
    document = json.loads(refresh(directory, "--all", "--json").stdout)
    assert (document["done"], document["trouble"], document["results"]) == (False, told, [])


def test_an_answer_without_volumes_is_not_taken_for_done(directory: str, node: Node) -> None:
    node.results = ()
    answer = refresh(directory, "--all")
    assert (answer.returncode, answer.stderr) == (1, "sscsi refresh: no volume is selected\n")


def test_more_volumes_than_grpcs_own_limit_arrive(directory: str, node: Node) -> None:
    node.results = tuple(result(number, Result.UNCHANGED, "x" * 1000) for number in range(6000))
    answer = refresh(directory, "--all")
    assert answer.returncode == 0
    assert answer.stdout.splitlines()[-1] == "6000 volumes: 6000 unchanged"


def test_a_node_that_does_not_answer_in_time(directory: str, node: Node) -> None:
    node.is_mute.set()
    answer = refresh(directory, "--all", "--timeout=300ms")
    assert (answer.returncode, answer.stdout) == (1, "")
    assert answer.stderr.startswith("sscsi refresh: node does not answer within 0.3 s")
    assert "--timeout" in answer.stderr
    assert "it goes on" in answer.stderr


def test_nobody_is_there_to_answer(directory: str) -> None:
    def trouble(run_directory: str) -> str:
        answer = refresh(run_directory, "--all", "--timeout=5s")
        assert (answer.returncode, answer.stdout) == (1, "")
        return answer.stderr

    assert "there is no directory '/no/such'" in trouble("/no/such")
    assert "nothing of an appliance is in" in trouble(directory)
    with open(os.path.join(directory, run_files.WATCHDOG_STATE), "wb"):
        pass
    assert f"there is no node.sock in {directory!r}" in trouble(directory)
    with deaf_socket(os.path.join(directory, run_files.NODE)):
        pass
    assert "nobody listens on node.sock" in trouble(directory)


def test_another_user_is_told_to_ask_as_root(directory: str, node: Node) -> None:
    require("root")
    os.chmod(directory, 0o755)
    answer = sscsi_as_nobody("refresh", directory, "--all")
    assert (answer.returncode, answer.stdout) == (1, "")
    assert answer.stderr == "sscsi refresh: this user may not ask node (node.sock is root's); ask as root\n"
    assert node.requests == []


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "exactly one of --all, --class=NAMESPACE/NAME and --pod=NAMESPACE/NAME"),
        (["--all=false"], "exactly one of"),
        (["--all", "--pod=shop/web-1"], "exactly one of"),
        (["--class=shop/a", "--pod=shop/web-1"], "exactly one of"),
        (["--class=web-shop"], "--class: must be NAMESPACE/NAME, not 'web-shop'"),
        (["--class="], "--class"),
        (["--pod=/web-1"], "--pod"),
        (["--pod=shop/"], "--pod"),
        (["--pod=shop/web/1"], "--pod"),
        (["--all", "--timeout=0s"], "--timeout"),
        (["--all", "word"], "'word'"),
        (["--no-such-flag"], "--no-such-flag"),
    ],
)
def test_a_wrong_command_line_is_code_2_and_named(
    directory: str, node: Node, arguments: list[str], named: str
) -> None:
    answer = refresh(directory, *arguments)
    assert (answer.returncode, answer.stdout) == (2, "")
    (line,) = answer.stderr.splitlines()
    assert line.startswith("sscsi refresh: ")
    assert named in line
    assert node.requests == []


def test_an_interrupt_ends_the_wait_in_one_line(directory: str, node: Node) -> None:
    node.is_mute.set()
    command = [SSCSI, "refresh", "--all", f"--run-dir={directory}"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            wait_until(lambda: node.requests, "node is asked", seconds=SECONDS)
            process.send_signal(signal.SIGINT)
            output = process.communicate(timeout=SECONDS)
        finally:
            process.kill()
    assert (process.returncode, *output) == (
        130,
        "",
        "sscsi refresh: interrupted; what is under way goes on\n",
    )


def test_help_tells_what_it_is_for_and_its_codes() -> None:
    answer = refresh("", "--help")
    assert (answer.returncode, answer.stderr) == (0, "")
    for word in (
        "sscsi refresh",
        "--all",
        "--class",
        "--pod",
        "SSCSI_RUN_DIR",
        "--json",
        "--timeout=1m",
        "Code 0",
    ):
        assert word in answer.stdout
    assert "sscsi refresh" in sscsi("--help", "").stdout
