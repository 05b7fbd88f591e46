"""What goes wrong with a Secret or with credentials: said with its cause, tried again, and right once the cause is gone."""

import base64
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sscsi.core.published_volume import PublishedVolume
from tests.kubeapi import kube_status_sync
from tests.kubeapi.adapter import put_class, replica_set
from tests.kubeapi.kube_api import KubeApi
from tests.kubeapi.kube_status_sync import SPEC, KubeStatusSync
from tests.support.preloaded import Preloaded
from tests.support.waiting import wait_until

OVER_A_MEBIBYTE = b"x" * ((1 << 20) + 1)


@pytest.fixture(scope="module")
def programs() -> Iterator[Preloaded]:
    with kube_status_sync.programs() as holder:
        yield holder


@pytest.fixture
def room(tmp_path: Path, programs: Preloaded, kube_api: KubeApi, namespace: str) -> Iterator[KubeStatusSync]:
    """Not started yet; its class `app` makes the Secret `db`."""
    with kube_status_sync.unstarted(tmp_path, programs, kube_api, namespace, with_secret()) as room:
        yield room


def with_secret(key: str = "k") -> dict[str, Any]:
    entry = {"secretName": "db", "type": "Opaque", "data": [{"objectName": "password", "key": key}]}
    return {**SPEC, "secretObjects": [entry]}


def published(room: KubeStatusSync, **changes: Any) -> tuple[PublishedVolume, list[str]]:
    """A volume of a pod of a Deployment, and what EnsureSecrets says of it."""
    volume = room.publish_pod(owners=(replica_set(),), **changes)
    problems = room.ensure(volume)
    room.node.put(volume)
    return volume, problems


def is_synced(room: KubeStatusSync, volume: PublishedVolume) -> str:
    """The condition's status and message."""
    found = room.status_of(volume) or {"status": {}}
    return next(
        (
            f"{entry['status']} {entry['message']}".strip()
            for entry in found["status"].get("conditions", [])
            if entry["type"] == "Synced"
        ),
        "",
    )


def wait_synced(room: KubeStatusSync, volume: PublishedVolume) -> None:
    wait_until(lambda: is_synced(room, volume).startswith("True"), "the Secret is in place", seconds=60.0)
    secret = room.secret("db")
    assert secret is not None
    assert secret["data"]


@pytest.mark.usefixtures("syncing")
def test_a_secret_of_somebody_else_is_told_and_made_once_it_is_gone(room: KubeStatusSync) -> None:
    secrets = f"/api/v1/namespaces/{room.namespace}/secrets"
    theirs = {"metadata": {"name": "db"}, "stringData": {"theirs": "1"}}
    room.kube_api.client().create(secrets, theirs)
    room.start()
    volume, (problem,) = published(room)
    assert "was not made by this driver" in problem
    wait_until(lambda: is_synced(room, volume) == f"False {problem}", "the condition says so")
    assert (room.secret("db") or {})["data"] == {"theirs": "MQ=="}
    room.kube_api.client().delete(f"{secrets}/db")
    wait_synced(room, volume)


@pytest.mark.usefixtures("syncing")
def test_content_over_a_mebibyte_is_told_and_made_once_it_is_less(room: KubeStatusSync) -> None:
    room.start()
    volume, (problem,) = published(room, content=OVER_A_MEBIBYTE)
    assert "over 1048576 bytes" in problem
    assert room.secret("db") is None
    content = Path(volume.target_path, volume.data_directory, "password")
    # In one moment, as all content changes: a file that is being written is some of both.
    less = Path(volume.target_path, "less")
    less.write_bytes(b"less")
    less.replace(content)
    room.node.put(dataclasses.replace(volume, object_versions=(("password", "v2"),)))
    wait_synced(room, volume)
    assert (room.secret("db") or {})["data"] == {"k": base64.b64encode(b"less").decode()}


@pytest.mark.usefixtures("syncing")
def test_a_key_that_no_secret_may_have_is_told_with_its_field_and_mended_in_the_class(
    room: KubeStatusSync,
) -> None:
    put_class(room.kube_api, room.namespace, "app", with_secret("not a key"))
    room.start()
    volume, (problem,) = published(room)
    assert f"{room.namespace}/app: spec.secretObjects[0].data[0].key" in problem
    put_class(room.kube_api, room.namespace, "app", with_secret())
    wait_synced(room, volume)


def test_without_rights_on_secrets_the_role_is_named_and_the_status_object_written(
    room: KubeStatusSync,
) -> None:
    room.start()
    volume, (problem,) = published(room)
    assert "install the role secretprovidersyncing-role" in problem
    wait_until(lambda: is_synced(room, volume) == f"False {problem}", "the condition says so")


def test_credentials_that_are_refused_are_told_and_read_anew(room: KubeStatusSync, kube_api: KubeApi) -> None:
    put_class(kube_api, room.namespace, "app", SPEC)
    good = room.kubeconfig.read_text()
    expired = json.loads(good)
    expired["users"][0]["user"]["token"] = "of.another.time"
    room.kubeconfig.write_text(json.dumps(expired))
    room.start()
    volume = room.publish_pod()
    room.node.put(volume)
    wait_until(
        lambda: "the credentials are not accepted" in room.status().facts["last_problem"], "it is told"
    )
    room.kubeconfig.write_text(good)
    wait_until(lambda: room.is_right(volume), "the status object is written", seconds=60.0)
