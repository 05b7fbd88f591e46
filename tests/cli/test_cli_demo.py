"""`sscsi demo` as a user starts it, on the samples and on files of their own."""

import base64
import glob
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator

import pytest

from sscsi.cli import demo_options
from tests.support.waiting import wait_until

SSCSI = os.path.join(os.path.dirname(sys.executable), "sscsi")
DEMO_SECONDS = 60

CLASS = """
apiVersion: secrets-store.csi.x-k8s.io/v1
kind: SecretProviderClass
metadata: {name: mine, namespace: shop}
spec:
  provider: file
  parameters:
    objects: |
      - objectName: key
  secretObjects:
    - secretName: mine
      type: Opaque
      data: [{objectName: key, key: key}]
"""


@pytest.fixture
def place() -> Iterator[pathlib.Path]:
    """A short path: the demonstration makes sockets below it."""
    with tempfile.TemporaryDirectory(prefix="sscsi-", dir="/tmp") as directory:
        yield pathlib.Path(directory)


def demo(place: pathlib.Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environ = os.environ | {"TMPDIR": str(place)}
    return subprocess.run(
        [SSCSI, "demo", *arguments],
        env=environ,
        capture_output=True,
        text=True,
        timeout=DEMO_SECONDS,
        check=False,
    )


def own_files(place: pathlib.Path) -> list[str]:
    classes, secrets = place / "my classes", place / "my secrets"
    for directory in (classes, secrets):
        directory.mkdir()
    (classes / "mine.yaml").write_text(CLASS)
    (secrets / "key").write_text("top-secret-canary")
    return [f"--classes={classes}", f"--secrets={secrets}", "--class=mine", "--namespace=shop"]


def left(place: pathlib.Path) -> list[str]:
    return glob.glob(str(place / "sscsi-demo-*"))


@pytest.mark.root
def test_the_samples_arrive_change_and_go(place: pathlib.Path) -> None:
    answer = demo(place)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "correct horse battery staple" in answer.stdout
    assert "new horse, new battery, new staple" in answer.stdout
    before, after = re.findall(r"(?:before|after) +\.\.data -> (\S+)", answer.stdout)
    assert before.startswith("..") and after.startswith("..") and before != after
    assert "nosuid,nodev,noexec" in answer.stdout
    assert "kind: SecretProviderClassPodStatus" in answer.stdout
    assert base64.b64encode(b"correct horse battery staple").decode() in answer.stdout
    assert "HEALTHY: 5 programs running, 1 volume, no refresh failed" in answer.stdout
    assert "Ended with code 0" in answer.stdout
    assert answer.stderr == ""
    assert left(place) == []


@pytest.mark.root
def test_files_of_ones_own_are_neither_shown_nor_touched(place: pathlib.Path) -> None:
    arguments = own_files(place)
    answer = demo(place, *arguments)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "sha256" in answer.stdout
    assert "canary" not in answer.stdout + answer.stderr
    assert base64.b64encode(b"top-secret-canary").decode() not in answer.stdout
    assert (place / "my secrets" / "key").read_text() == "top-secret-canary"
    assert os.listdir(place / "my classes") == ["mine.yaml"]
    assert left(place) == []


@pytest.mark.root
def test_a_failure_shows_the_drivers_answer_and_the_last_of_the_log(place: pathlib.Path) -> None:
    answer = demo(place, "--class=no-such-class")
    assert answer.returncode == 1
    assert "NodePublishVolume: " in answer.stderr
    assert "no-such-class" in answer.stderr
    assert "supervisord/" in answer.stderr
    assert left(place) == []


@pytest.mark.root
def test_an_interrupt_in_the_middle_leaves_nothing(place: pathlib.Path) -> None:
    process = subprocess.Popen(
        [SSCSI, "demo"],
        env=os.environ | {"TMPDIR": str(place)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "What a container reads" in line:
            process.send_signal(signal.SIGINT)
            break
    _, errors = process.communicate(timeout=DEMO_SECONDS)
    assert process.returncode == 130
    assert "Interrupted" in errors
    assert left(place) == []


@pytest.mark.root
def test_the_appliance_goes_when_the_demonstration_is_killed(place: pathlib.Path) -> None:
    process = subprocess.Popen(
        [SSCSI, "demo"], env=os.environ | {"TMPDIR": str(place)}, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "What a container reads" in line:
            process.kill()
            break
    process.wait()
    process.stdout.close()
    # It went with its mounts: the directory that the tmpfs was on is what is left.
    (directory,) = left(place)
    assert os.listdir(directory) == []
    wait_until(lambda: not processes_that_name(directory), "the appliance ended")


def processes_that_name(text: str) -> list[str]:
    found = []
    for path in glob.glob("/proc/[0-9]*/environ"):
        try:
            with open(path, "rb") as file:
                if text.encode() in file.read():
                    found.append(path)
        except OSError:
            continue
    return found


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        ([], True),
        (["--classes=/c", "--secrets=/s", "--class=x"], False),
        (["--classes=/c", "--secrets=/s", "--class=x", "--show-contents"], True),
    ],
)
def test_contents_of_ones_own_files_are_for_who_asks(arguments: list[str], shown: bool) -> None:
    assert demo_options.parse(arguments, {}).show_contents is shown


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (["--no-such-flag"], 2, "--no-such-flag"),
        (["--classes=/tmp"], 2, "--secrets"),
        (["--secrets=/tmp", "--class=x"], 2, "--classes"),
        (["--classes=/tmp", "--secrets=/tmp"], 2, "--class"),
        (["word"], 2, "word"),
    ],
)
def test_a_wrong_command_line_is_named(
    place: pathlib.Path, arguments: list[str], code: int, named: str
) -> None:
    answer = demo(place, *arguments)
    assert (answer.returncode, len(answer.stderr.splitlines())) == (code, 1), answer.stderr
    assert named in answer.stderr


@pytest.mark.root
def test_a_directory_that_is_not_there_is_named(place: pathlib.Path) -> None:
    answer = demo(place, "--classes=/no/such", "--secrets=/tmp", "--class=x")
    assert answer.returncode == 1
    assert answer.stderr.startswith("sscsi demo: cannot copy directory '/no/such'")
    assert left(place) == []


@pytest.mark.root
def test_a_machine_that_allows_no_mounts_is_told_with_the_setting_to_change(place: pathlib.Path) -> None:
    script = 'echo 0 > /proc/sys/user/max_mnt_namespaces && exec "$@"'
    answer = subprocess.run(
        ["unshare", "--user", "--map-root-user", "sh", "-c", script, "sh", SSCSI, "demo"],
        env=os.environ | {"TMPDIR": str(place)},
        capture_output=True,
        text=True,
        timeout=DEMO_SECONDS,
        check=False,
    )
    assert answer.returncode == 1
    assert "user.max_mnt_namespaces" in answer.stderr
    assert len(answer.stderr.splitlines()) == 1
