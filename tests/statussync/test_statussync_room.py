"""The room as it runs: a process, real sockets, real volumes on disk, signals, and a node room that comes and goes."""

import json
import os
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from sscsi.core.annotations import REFRESH_AT
from sscsi.core.published_volume import PublishedVolume
from sscsi.core.refresh_ask import RefreshAsk
from tests.statussync.making import make_event, make_volume
from tests.statussync.status_sync_process import MODULE, StatusSync
from tests.support.preloaded import Preloaded, preloaded
from tests.support.waiting import wait_until

CLASS = """\
apiVersion: secrets-store.csi.x-k8s.io/v1
kind: SecretProviderClass
metadata:
  name: app
  annotations: {note: mine}
spec:
  provider: file
  parameters:
    objects: CANARY-of-parameters
  secretObjects:
    - secretName: db
      type: Opaque
      data:
        - {objectName: password, key: k}
"""
TLS_CLASS = """\
apiVersion: secrets-store.csi.x-k8s.io/v1
kind: SecretProviderClass
metadata: {name: tls}
spec:
  provider: file
  secretObjects:
    - secretName: tls
      type: kubernetes.io/tls
      data:
        - {objectName: password, key: tls.crt}
        - {objectName: password, key: tls.key}
"""
CANARY = b"CANARY-of-content"


@pytest.fixture(scope="module")
def programs() -> Iterator[Preloaded]:
    with preloaded(MODULE) as holder:
        yield holder


@pytest.fixture
def room(tmp_path: Path, programs: Preloaded) -> Iterator[StatusSync]:
    room = StatusSync(tmp_path, programs)
    yield room
    room.close()


STATUS = "SecretProviderClassPodStatus default/web-default-app"
SECRET = "Secret default/db"


def test_it_serves_classes_and_leaves_with_its_socket(room: StatusSync) -> None:
    (room.cluster / "app.yaml").write_text(CLASS)
    room.start()
    assert stat.S_IMODE(room.socket_path.stat().st_mode) == 0o600
    spc = room.get()
    assert (spc.namespace, spc.name, spc.provider) == ("default", "app", "file")
    assert dict(spc.parameters) == {"objects": "CANARY-of-parameters"}
    assert dict(spc.annotations) == {"note": "mine"}
    assert [entry.secret_name for entry in spc.secret_objects] == ["db"]
    assert spc.uid
    assert spc.generation > 0
    assert room.terminate() == 0
    assert not room.socket_path.exists()


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("", grpc.StatusCode.NOT_FOUND, 'SecretProviderClass.secrets-store.csi.x-k8s.io "app" not found'),
        (
            CLASS.replace("provider: file", "provider: 1"),
            grpc.StatusCode.FAILED_PRECONDITION,
            "SecretProviderClass default/app can't be used: app.yaml:7: spec.provider: must be a string",
        ),
    ],
)
def test_a_class_that_is_not_there_or_broken_has_its_own_status(
    room: StatusSync, text: str, code: grpc.StatusCode, message: str
) -> None:
    (room.cluster / "app.yaml").write_text(text)
    room.start()
    with pytest.raises(grpc.RpcError) as caught:
        room.get()
    assert caught.value.code() is code
    assert (caught.value.details() or "").startswith(message)


def test_a_directory_that_is_away_is_unavailable_and_the_room_stays(room: StatusSync) -> None:
    (room.cluster / "app.yaml").write_text(CLASS)
    room.start()
    room.cluster.rename(room.cluster.with_name("away"))
    with pytest.raises(grpc.RpcError) as caught:
        room.get()
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    room.cluster.with_name("away").rename(room.cluster)
    assert room.get().name == "app"


def test_volumes_get_their_objects_and_lose_them(room: StatusSync) -> None:
    (room.cluster / "app.yaml").write_text(CLASS)
    volume = room.publish()
    room.node.put(volume)
    room.node.start()
    room.start()
    objects = room.wait_for(STATUS, SECRET)
    assert objects[STATUS]["status"]["targetPath"] == volume.target_path
    assert objects[STATUS]["metadata"]["labels"] == {"internal.secrets-store.csi.k8s.io/node-name": "node-1"}
    assert objects[SECRET]["data"] == {"k": "czNjcmV0"}
    (owner,) = objects[SECRET]["metadata"]["ownerReferences"]
    assert owner["uid"] == objects[STATUS]["metadata"]["uid"]
    room.node.remove(volume)
    room.wait_for()


def test_after_kill_9_and_changes_meanwhile_a_restart_makes_everything_right(room: StatusSync) -> None:
    (room.cluster / "app.yaml").write_text(CLASS)
    room.node.start()
    room.start()
    staying, going = room.publish(), room.publish(pod_name="going", pod_uid="uid-2")
    room.node.put(staying)
    room.node.put(going)
    room.wait_for(STATUS, SECRET, "SecretProviderClassPodStatus default/going-default-app")
    room.kill()
    room.node.remove(going)
    coming = room.publish(pod_name="coming", pod_uid="uid-3")
    room.node.put(coming)
    (room.cluster / "status/secrets/default/.sscsi-new-half").write_text("half")
    (room.cluster / "app.yaml").write_text(CLASS.replace("secretName: db", "secretName: other"))
    room.start()
    room.wait_for(STATUS, "SecretProviderClassPodStatus default/coming-default-app", "Secret default/other")
    assert not (room.cluster / "status/secrets/default/.sscsi-new-half").exists()


def test_killed_at_any_moment_it_leaves_whole_files_and_ends_right(room: StatusSync) -> None:
    (room.cluster / "app.yaml").write_text(CLASS)
    room.node.start()
    expected = set()
    for number in range(5):
        room.start()
        for index in range(20):
            name = f"pod-{number}-{index}"
            room.node.put(room.publish(pod_name=name, pod_uid=name))
            expected.add(f"SecretProviderClassPodStatus default/{name}-default-app")
        room.kill()
        assert all(manifest["kind"] for manifest in room.objects().values())
    room.start()
    objects = room.wait_for(SECRET, *expected)
    assert len(objects[SECRET]["metadata"]["ownerReferences"]) == len(expected)


def test_the_node_room_may_be_away_at_the_start_and_start_anew_with_other_volumes(room: StatusSync) -> None:
    (room.cluster / "app.yaml").write_text(CLASS)
    room.start()
    assert room.get().name == "app"
    assert room.status().facts["node_connected"] == "false"
    first = room.publish()
    room.node.put(first)
    room.node.start()
    room.wait_for(STATUS, SECRET)
    room.node.stop()
    wait_until(lambda: room.status().facts["node_connected"] == "false", "the watch has ended")
    assert room.objects().keys() == {STATUS, SECRET}
    room.node.remove(first)
    room.node.put(room.publish(pod_name="other", pod_uid="uid-2"))
    room.node.start()
    room.wait_for("SecretProviderClassPodStatus default/other-default-app", SECRET)


def test_a_node_room_that_hangs_delays_no_look_up_and_no_stop(room: StatusSync) -> None:
    (room.cluster / "app.yaml").write_text(CLASS)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as hanging:
        hanging.bind(str(room.run / "node.sock"))
        hanging.listen()
        room.start()
        for _ in range(20):
            assert room.get().name == "app"
        assert room.terminate() == 0


def test_secrets_are_ensured_before_the_watch_tells_of_the_volume(room: StatusSync) -> None:
    (room.cluster / "app.yaml").write_text(CLASS)
    room.node.start()
    room.start()
    volume = room.publish()
    assert room.ensure(volume) == []
    assert room.objects()[SECRET]["data"] == {"k": "czNjcmV0"}
    room.wait_for(STATUS, SECRET)


def test_what_cannot_be_ensured_is_said_by_class_and_field(room: StatusSync) -> None:
    (room.cluster / "app.yaml").write_text(CLASS.replace("objectName: password", "objectName: none"))
    room.start()
    (problem,) = room.ensure(room.publish())
    assert problem.endswith(
        "default/app: spec.secretObjects[0].data[0].objectName: file matching objectName none not found in the pod"
    )
    with pytest.raises(grpc.RpcError) as caught:
        room.ensure(make_volume(class_name=""))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_many_volumes_are_ensured_at_once(room: StatusSync) -> None:
    (room.cluster / "app.yaml").write_text(CLASS)
    room.node.start()
    room.start()
    volumes = [room.publish(pod_name=f"pod-{index}", pod_uid=str(index)) for index in range(40)]
    problems: list[str] = []

    def ensure(volume: PublishedVolume) -> None:
        problems.extend(room.ensure(volume, timeout=20.0))

    callers = [threading.Thread(target=ensure, args=(volume,)) for volume in volumes]
    for caller in callers:
        caller.start()
    assert room.get().name == "app"
    for caller in callers:
        caller.join(60)
    assert problems == []
    assert SECRET in room.objects()


def test_a_notice_leaves_the_objects_as_they_are(room: StatusSync) -> None:
    (room.cluster / "app.yaml").write_text(CLASS)
    room.node.put(room.publish())
    room.node.start()
    room.start()
    room.wait_for(STATUS, SECRET)
    room.node.notify(make_event(message="CANARY"))
    room.node.put(room.publish(pod_name="next", pod_uid="uid-2"))
    room.wait_for(STATUS, SECRET, "SecretProviderClassPodStatus default/next-default-app")
    assert room.status().facts["problems"] == "0"


def test_a_change_of_a_class_is_noticed_without_a_call(room: StatusSync) -> None:
    (room.cluster / "app.yaml").write_text(CLASS)
    room.node.put(room.publish())
    room.node.start()
    room.start()
    room.wait_for(STATUS, SECRET)
    (room.cluster / "app.yaml").write_text(CLASS.replace("key: k", "key: other"))
    wait_until(lambda: "other" in room.objects()[SECRET]["data"], "the Secret follows")


def test_an_annotation_of_a_class_in_a_file_comes_to_the_node_room(room: StatusSync) -> None:
    (room.cluster / "app.yaml").write_text(CLASS)
    room.node.put(room.publish())
    room.node.start()
    room.start()
    wait_until(lambda: room.node.asked[:1] == [[]], "it is told that nothing is asked for")
    # As people write it, without quotes.
    annotation = f"{REFRESH_AT}: 2026-01-01T12:00:00Z"
    (room.cluster / "app.yaml").write_text(CLASS.replace("note: mine", annotation))
    wish = RefreshAsk(namespace="default", class_name="app", value="2026-01-01T12:00:00Z")
    wait_until(lambda: room.node.asked[-1] == [wish], "it is told")
    (room.cluster / "app.yaml").write_text(CLASS)
    wait_until(lambda: room.node.asked[-1] == [], "it is gone")


def test_the_status_tells_how_the_room_is(room: StatusSync) -> None:
    (room.cluster / "app.yaml").write_text(CLASS)
    room.node.put(room.publish())
    room.node.start()
    room.start()
    room.wait_for(STATUS, SECRET)
    wait_until(lambda: room.status().facts["queue_depth"] == "0", "the queue is empty")
    status = room.status()
    assert room.process is not None
    assert (status.room, status.pid) == ("statussync", room.process.pid)
    assert 0 < status.start_time <= time.time()
    assert dict(status.facts) == {
        "volumes": "1",
        "queue_depth": "0",
        "node_connected": "true",
        "snapshot_seen": "true",
        "problems": "0",
        "last_problem": "",
    }


def test_a_socket_that_is_replaced_ends_the_process_with_code_1(room: StatusSync) -> None:
    room.start()
    os.rename(room.socket_path, room.run / "moved")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        other.bind(str(room.socket_path))
        assert room.process is not None
        assert room.process.wait() == 1
        assert room.socket_path.exists()


def test_a_second_one_on_the_same_sockets_waits_and_leaves_when_asked_to(
    room: StatusSync, tmp_path: Path, programs: Preloaded
) -> None:
    room.start()
    (tmp_path / "second").mkdir()
    log = tmp_path / "second.log"
    arguments = [f"--cluster=dir:{tmp_path}/second", f"--run-dir={room.run}"]
    second = programs.start(MODULE, arguments, environ={}, log_file=str(log))
    wait_until(lambda: log.exists() and "waiting for the socket" in log.read_text(), "it waits")
    assert second.terminate() == 0
    assert room.status().room == "statussync"


def test_a_second_one_on_the_same_directory_ends_with_code_1(
    room: StatusSync, tmp_path: Path, programs: Preloaded
) -> None:
    room.start()
    (tmp_path / "other-run").mkdir()
    log = tmp_path / "second.log"
    arguments = [f"--cluster=dir:{room.cluster}", f"--run-dir={tmp_path}/other-run"]
    assert programs.start(MODULE, arguments, environ={}, log_file=str(log)).wait() == 1
    assert "another status-sync writes to" in log.read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "flag --nodeid is required with --cluster=kubernetes"),
        (["--cluster=dir:{root}/none"], 1, "cannot read the directory of --cluster=dir:{root}/none (ENOENT)"),
        (
            ["--cluster=dir:{root}/file"],
            1,
            "cannot read the directory of --cluster=dir:{root}/file (ENOTDIR)",
        ),
        (["--cluster=dir:{root}/blocked"], 1, "cannot make the directory '{root}/blocked/status' (ENOTDIR)"),
        (["--cluster=dir:{root}", "--run-dir={root}/none"], 1, "there is no directory '{root}/none'"),
        (["--cluster=dir:{root}", "--frobnicate"], 2, "unknown flag --frobnicate"),
    ],
)
def test_what_it_cannot_start_with_is_one_line_and_an_exit_code(
    tmp_path: Path, programs: Preloaded, arguments: list[str], code: int, message: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "blocked").mkdir()
    (tmp_path / "blocked/status").touch()
    log = tmp_path / "log"
    filled = [each.format(root=tmp_path) for each in arguments]
    assert programs.start(MODULE, filled, environ={}, log_file=str(log)).wait() == code
    (line,) = log.read_text().splitlines()
    assert message.format(root=tmp_path) in line


def test_it_runs_by_exec_and_reads_its_settings_from_variables(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "sidecars.statussync"],
        env={**os.environ, "SSCSI_CLUSTER": f"dir:{tmp_path}", "SSCSI_RUN_DIR": str(tmp_path)},
    )
    try:
        wait_until((tmp_path / "statussync.sock").exists, "the socket is there")
    finally:
        process.terminate()
        assert process.wait(60) == 0


def test_content_and_parameters_are_in_no_log_error_or_file_but_the_secret(room: StatusSync) -> None:
    (room.cluster / "app.yaml").write_text(CLASS)
    (room.cluster / "tls.yaml").write_text(TLS_CLASS)
    (room.cluster / "broken.yaml").write_text(CLASS.replace("objects:", "objects: ["))
    room.node.start()
    room.start("--log-format-json")
    assert room.process is not None
    room.node.put(room.publish(CANARY))
    problems = []
    for number, content in enumerate((CANARY, b"-----BEGIN CERTIFICATE-----\n" + CANARY)):
        problems += room.ensure(room.publish(content, class_name="tls", pod_uid=str(number)))
    assert len(problems) == 2
    assert all("tls.crt" in problem for problem in problems)
    room.wait_for(STATUS, "SecretProviderClassPodStatus default/web-default-tls", SECRET)
    facts = dict(room.status().facts)
    seen = [json.dumps([problems, facts]).encode()]
    for entry in ("cmdline", "environ"):
        seen.append(Path(f"/proc/{room.process.pid}/{entry}").read_bytes())
    room.terminate()
    seen += [path.read_bytes() for path in (room.log, *room.run.iterdir()) if path.is_file()]
    seen += [path.read_bytes() for path in (room.cluster / "status").rglob("*status*/*/*.yaml")]
    assert len(seen) > 5
    for text in seen:
        assert b"CANARY" not in text
