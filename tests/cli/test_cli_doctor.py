"""`sscsi doctor` on a real appliance, on real mounts and on a real API server."""

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from sscsi.cli.doctor import FLAGS, checks, examine
from sscsi.cli.doctor_api import Answer, ApiChecks
from sscsi.cli.doctor_mounts import check_kubelet_root, check_propagation
from sscsi.cli.doctor_place import Place, find_place
from sscsi.cli.doctor_probe import PREFIX, probe_mount
from sscsi.core.finding import Outcome
from sscsi.edges.linux_mounts import own_mounts
from tests.kubeapi.kube_api import SERVICE_ACCOUNT, KubeApi
from tests.kubeapi.test_rights import without
from tests.kubeapi.upstream_crds import upstream_crds
from tests.support.appliance_place import SSCSI, new_place, started
from tests.support.checkout import ROOT
from tests.support.waiting import wait_until

CSIDRIVER = os.path.join(ROOT, "deploy", "csidriver.yaml")
DRIVER = "secrets-store.csi.k8s.io"
_SECONDS = 60.0


@pytest.fixture
def directory() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="sscsi-", dir="/tmp") as path:
        yield path


def place_in(directory: str, **variables: str) -> Place:
    """A node without an appliance, whose kubelet's root is below `directory`."""
    settings = {"CSI_ENDPOINT": f"unix://{directory}/csi.sock", "KUBE_NODE_NAME": "node-1", **variables}
    return find_place(
        settings, os.path.join(directory, "run"), os.path.join(directory, "kubelet"), timeout_seconds=_SECONDS
    )


def outcomes(place: Place) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for finding in examine(place):
        found.setdefault(finding.check, set()).add(str(finding.outcome))
    return found


def doctor(environ: Mapping[str, str], *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [SSCSI, "doctor", *arguments],
        env=dict(environ),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.root
def test_a_running_appliance_is_well_but_for_kubelet() -> None:
    with new_place() as place, started(place):
        # Without the variables of the appliance: it is asked for its own.
        environ = {"PATH": os.environ["PATH"], "HOME": place.root}
        answer = doctor(environ, "--json", f"--run-dir={place.path('run')}", f"--kubelet-root={place.root}")
        document = json.loads(answer.stdout)
        found: dict[str, set[str]] = {}
        for finding in document["findings"]:
            found.setdefault(finding["check"], set()).add(finding["outcome"])
        assert answer.returncode == 1
        assert document["healthy"] is False
        assert document["findings"][0]["found"] == "from the running appliance"
        failed = {check for check, values in found.items() if "fail" in values}
        # There is no kubelet to confirm the driver, nor to have made its directory of pods.
        assert failed == {"kubelet-root", "registration"}
        for check in ("run-directory", "sockets", "same-driver", "providers", "state-directory"):
            assert found[check] == {"ok"}, document
        for check in ("api-server", "clock", "csidriver", "crds", "rights"):
            assert found[check] == {"skip"}
        # Asking the registrar was not taken for kubelet's question.
        assert "kubelet has asked" not in place.log_text()


@pytest.mark.root
def test_a_socket_that_others_may_ask_and_a_provider_that_is_dead_are_told() -> None:
    with new_place() as place, started(place):
        os.chmod(place.path("run", "node.sock"), 0o666)
        os.mkdir(place.path("providers"))
        subprocess.run(
            [
                sys.executable,
                "-c",
                "import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])",
                place.path("providers", "dead.sock"),
            ],
            check=True,
        )
        answer = doctor(place.environ, "--timeout=1s")
        lines = [line.split(maxsplit=2) for line in answer.stdout.splitlines()]
        failed = {(check, rest.partition(" ")[0]) for outcome, check, rest in lines if outcome == "fail"}
        assert ("sockets", place.path("run", "node.sock")) in failed
        assert ("providers", "dead:") in failed


def test_nothing_at_all_is_a_failure_with_a_cure_for_each(directory: str) -> None:
    answer = doctor({"PATH": os.environ["PATH"]}, f"--run-dir={directory}/none")
    assert answer.returncode == 1
    failures = [line for line in answer.stdout.splitlines() if line.startswith("fail")]
    assert failures
    assert all(" -> " in line for line in failures)


@pytest.mark.parametrize("flag", ["--no-such-flag", "--timeout=0", "word"])
def test_wrong_flags_are_code_2(flag: str) -> None:
    answer = doctor(os.environ, flag)
    assert (answer.returncode, answer.stdout) == (2, "")


@contextlib.contextmanager
def pods_mount(directory: str, propagation: str) -> Iterator[str]:
    """Kubelet's directory of pods as a mount of its own."""
    pods = os.path.join(directory, "kubelet", "pods")
    os.makedirs(pods)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", pods], check=True)
    try:
        subprocess.run(["mount", f"--make-{propagation}", pods], check=True)
        yield pods
    finally:
        subprocess.run(["umount", pods], check=True)


@pytest.mark.root
def test_a_mount_that_is_not_shared_is_told_with_the_cure(directory: str) -> None:
    with pods_mount(directory, "private"):
        (word,) = check_propagation(place_in(directory))
        refused = place_in(directory, SSCSI_NODE_ARGS="--require-shared-propagation")
        (refusal,) = check_propagation(refused)
    # This is no pod: node publishes with a warning, unless it is told not to.
    assert (word.outcome, refusal.outcome) == (Outcome.WARN, Outcome.FAIL)
    for one in (word, refusal):
        assert "is not shared" in one.found
        assert "linux.kubeletRootDir" in one.cure


@pytest.mark.root
def test_a_probe_mount_reaches_who_shares_the_mount_and_is_taken_away(directory: str) -> None:
    script = (
        "import ctypes, sys\n"
        "from tests.cli.test_cli_doctor import check_propagation, place_in\n"
        "assert ctypes.CDLL(None).unshare(0x20000) == 0\n"
        "(word,) = check_propagation(place_in(sys.argv[1]), sys.argv[2])\n"
        "print(word.outcome, word.found)\n"
    )
    with pods_mount(directory, "shared") as pods:
        answer = subprocess.run(
            [sys.executable, "-c", script, directory, str(os.getpid())],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert answer.stdout == "ok a probe mount was made and taken away again, and the host saw it\n", (
            answer.stderr
        )
        assert os.listdir(pods) == []


@pytest.mark.root
def test_a_host_that_does_not_see_the_probe_mount_is_told(directory: str) -> None:
    own = os.readlink("/proc/self/ns/mnt")
    with pods_mount(directory, "shared"):
        host = subprocess.Popen(["unshare", "--mount", "--propagation", "private", "sleep", "600"])
        try:
            wait_until(lambda: os.readlink(f"/proc/{host.pid}/ns/mnt") != own, "it has mounts of its own")
            wait_until(
                lambda: (
                    not any(
                        one.shared
                        for one in own_mounts(str(host.pid))
                        if one.mount_point.startswith(directory)
                    )
                ),
                "they are private",
            )
            (word,) = check_propagation(place_in(directory), str(host.pid))
        finally:
            host.kill()
            host.wait()
    assert (word.outcome, "did not see it" in word.found) == (Outcome.FAIL, True)


@pytest.mark.root
def test_in_a_pod_the_cure_names_the_directory_that_is_to_be_mounted(directory: str) -> None:
    script = (
        "import sys\n"
        "from tests.cli.test_cli_doctor import check_propagation, place_in\n"
        "(word,) = check_propagation(place_in(sys.argv[1]), sys.argv[2])\n"
        "print(word.outcome, word.found, word.cure, sep='\\n')\n"
    )
    pods = os.path.join(directory, "kubelet", "pods")
    own = os.path.join(pods, "some-uid")
    os.makedirs(own)
    with open(os.path.join(own, "etc-hosts"), "w", encoding="ascii"):
        pass
    # Shared, but with nobody: as in a container whose host has the directory on a mount that is private.
    shell = 'mount --bind "$1" "$1" && mount --make-shared "$1" && mount --bind "$1/some-uid/etc-hosts" /etc/hosts'
    answer = subprocess.run(
        [
            *("unshare", "--mount", "--propagation", "private"),
            *("sh", "-c", f'{shell} && shift && exec "$@"', "sh", pods),
            *(sys.executable, "-c", script, directory, str(os.getpid())),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert os.listdir(own) == ["etc-hosts"]
    outcome, found, cure = answer.stdout.splitlines()
    assert (outcome, "did not see it" in found) == ("fail", True), answer.stderr
    assert f"volumeMount of {pods}, whose hostPath" in cure


@pytest.mark.root
def test_what_a_killed_doctor_left_goes_with_the_next_probe(directory: str) -> None:
    left = os.path.join(directory, f"{PREFIX}old")
    os.mkdir(left)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", left], check=True)
    os.utime(left, (time.time() - 1000, time.time() - 1000))
    with probe_mount(directory) as entry:
        assert entry.filesystem == "tmpfs"
    assert os.listdir(directory) == []
    assert not [one for one in own_mounts() if one.mount_point.startswith(directory)]


def test_kubelets_root_is_told_by_what_is_there(directory: str) -> None:
    (word,) = check_kubelet_root(place_in(directory))
    assert word.outcome is Outcome.FAIL
    assert "linux.kubeletRootDir" in word.cure
    os.makedirs(os.path.join(directory, "kubelet", "pods"))
    (word,) = check_kubelet_root(place_in(directory))
    assert word.outcome is Outcome.WARN
    os.mkdir(os.path.join(directory, "kubelet", "pods", "a-pod"))
    (word,) = check_kubelet_root(place_in(directory))
    assert word.outcome is Outcome.OK


@pytest.mark.root
@pytest.mark.parametrize(
    ("root", "outcome", "words"),
    [
        ("real", "ok", "has 1 pods"),
        ("wrong", "fail", "real/kubelet (after"),
        ("none", "fail", "real/kubelet (after"),
    ],
)
def test_a_pod_tells_where_kubelets_root_really_is(
    directory: str, root: str, outcome: str, words: str
) -> None:
    pod = os.path.join(directory, "real", "kubelet", "pods", "some-uid")
    for path in (pod, os.path.join(directory, "wrong", "kubelet", "pods", "other")):
        os.makedirs(path)
    with open(os.path.join(pod, "etc-hosts"), "w", encoding="ascii"):
        pass
    script = 'mount --bind "$1" /etc/hosts && exec "$2" doctor --run-dir="$3" --kubelet-root="$4"'
    arguments = [os.path.join(pod, "etc-hosts"), SSCSI, directory, os.path.join(directory, root, "kubelet")]
    answer = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", *arguments],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    (line,) = (line for line in answer.stdout.splitlines() if line.split()[1] == "kubelet-root")
    assert line.split()[0] == outcome
    assert words in line


def in_cluster(directory: str, kubeconfig: str) -> Place:
    return place_in(directory, KUBECONFIG=kubeconfig)


def asked(directory: str, kubeconfig: str) -> dict[str, list[Any]]:
    """What the checks say that ask the API server."""
    api, place = ApiChecks(), in_cluster(directory, kubeconfig)
    names = ("api-server", "clock", "csidriver", "crds", "rights")
    try:
        return {name: list(checks(api)[name](place)) for name in names}
    finally:
        api.close()


def is_told(words: list[Any]) -> bool:
    """Whether the API server has told the fields of both kinds."""
    return [str(word.outcome) for word in words] == ["ok", "ok"]


def has_warnings(directory: str, kube_api: KubeApi, count: int) -> bool:
    """Whether so many kinds lack fields."""
    words = asked(directory, kube_api.admin_kubeconfig)["crds"]
    return sum("without" in word.found for word in words) == count


def test_the_drivers_own_account_has_all_it_needs(kube_api: KubeApi, directory: str) -> None:
    kubeconfig = kube_api.kubeconfig_for(SERVICE_ACCOUNT)
    # The API server tells the schemas of CRDs a moment after it serves them.
    wait_until(lambda: is_told(asked(directory, kubeconfig)["crds"]), "the schemas are told")
    with kube_api.applied(CSIDRIVER):
        words = asked(directory, kubeconfig)
    found = {name: {str(word.outcome) for word in said} for name, said in words.items()}
    assert found == {
        "api-server": {"ok"},
        "clock": {"ok"},
        "csidriver": {"ok"},
        "crds": {"ok"},
        "rights": {"ok"},
    }


def test_a_right_that_is_missing_is_told(kube_api: KubeApi, directory: str) -> None:
    kubeconfig = kube_api.kubeconfig_for(SERVICE_ACCOUNT)
    with without(kube_api, "", "pods", "get"):
        (word,) = (word for word in asked(directory, kubeconfig)["rights"] if word.outcome is Outcome.FAIL)
    assert word.found == "no right to get pods in every namespace"
    with without(kube_api, "", "pods", "watch"):
        (word,) = (word for word in asked(directory, kubeconfig)["rights"] if word.outcome is Outcome.WARN)
    assert word.found.startswith("no right to watch pods")
    with without(kube_api, "storage.k8s.io", "csidrivers", "get"):
        words = asked(directory, kubeconfig)
    (word,) = (word for word in words["rights"] if word.outcome is Outcome.WARN)
    assert word.found.startswith(f"no right to get csidrivers {DRIVER}")
    assert "deploy/rbac.yaml" in word.cure
    assert [word.outcome for word in words["csidriver"]] == [Outcome.SKIP]


def test_upstreams_crds_are_told_by_the_fields_that_they_lack(kube_api: KubeApi, directory: str) -> None:
    with upstream_crds(kube_api):
        wait_until(lambda: has_warnings(directory, kube_api, 2), "both schemas are told")
        words = asked(directory, kube_api.admin_kubeconfig)["crds"]
    assert [str(word.outcome) for word in words] == ["warn", "warn"]
    assert "spec.secretObjects[].data[].jsonKey" in words[0].found
    assert "status.conditions" in words[1].found


def test_a_csidriver_is_read_from_the_api_server(kube_api: KubeApi, directory: str) -> None:
    (missing,) = asked(directory, kube_api.admin_kubeconfig)["csidriver"]
    assert (missing.outcome, "there is no CSIDriver" in missing.found) == (Outcome.FAIL, True)
    with kube_api.applied(CSIDRIVER):
        (word,) = asked(directory, kube_api.admin_kubeconfig)["csidriver"]
    assert word.outcome is Outcome.OK


def test_an_api_server_that_does_not_answer_is_one_failure(kube_api: KubeApi, directory: str) -> None:
    api = ApiChecks()
    place = dataclasses.replace(in_cluster(directory, kube_api.admin_kubeconfig), timeout_seconds=0.5)
    with kube_api.paused():
        words = [word for name in ("api-server", "crds", "rights") for word in checks(api)[name](place)]
    api.close()
    assert [str(word.outcome) for word in words] == ["fail", "skip", "skip"]
    assert "no answer" in words[0].found


def test_no_api_server_is_one_failure_and_the_rest_is_skipped(directory: str) -> None:
    words = asked(directory, os.path.join(directory, "no-kubeconfig"))
    assert [str(word.outcome) for said in words.values() for word in said] == ["fail", *["skip"] * 4]


@pytest.mark.parametrize(
    ("seconds", "outcome"),
    [
        (0, Outcome.OK),
        (-3, Outcome.OK),
        (30, Outcome.WARN),
        (-30, Outcome.WARN),
        (90, Outcome.FAIL),
        (-90, Outcome.FAIL),
    ],
)
def test_a_clock_that_goes_wrong(directory: str, seconds: int, outcome: Outcome) -> None:
    api = ApiChecks()
    now = 1_800_000_000.0
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(now + seconds))
    api._version = Answer(code=200, body={}, date=date, asked_at=now, answered_at=now + 0.1)
    (word,) = api.check_clock(place_in(directory))
    assert word.outcome is outcome
    if seconds in {30, -30}:
        assert ("behind" if seconds > 0 else "ahead") in word.found


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), LookupError("of its own")])
def test_a_check_that_raises_is_a_failure_of_its_own(
    directory: str, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def away(_path: str) -> list[str]:
        raise error

    place = place_in(directory, SSCSI_CLUSTER=f"dir:{directory}")
    # One of the others waits for its whole time-out then.
    place = dataclasses.replace(place, kubelet_root="", timeout_seconds=1.0)
    monkeypatch.setattr("sscsi.cli.doctor_mounts.os.path.isdir", away)
    found = outcomes(place)
    assert found["state-directory"] == {"fail"}
    assert found["api-server"] == {"skip"}


def test_the_page_has_every_check_and_every_flag() -> None:
    with open(os.path.join(ROOT, "docs", "doctor.md"), encoding="utf-8") as file:
        text = file.read()
    headings = [line.removeprefix("### ") for line in text.splitlines() if line.startswith("### ")]
    assert headings == ["configuration", *checks(ApiChecks())]
    assert all(f"`--{flag.name}`" in text for flag in FLAGS)
