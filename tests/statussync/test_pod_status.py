"""The status object is upstream's: name, label, owner, fields."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sscsi.core.kubernetes_names import is_subdomain
from sscsi.core.pod_status import build_status, select_volume, status_name
from sscsi.core.published_volume import PublishedVolume, content_time
from tests.statussync.making import make_volume


def test_a_status_object_has_upstreams_shape() -> None:
    volume = make_volume(object_versions=(("b", "2"), ("a", "1")))
    assert build_status([volume], node_id="node-1", synced=None) == {
        "apiVersion": "secrets-store.csi.x-k8s.io/v1",
        "kind": "SecretProviderClassPodStatus",
        "metadata": {
            "name": "web-default-app",
            "namespace": "default",
            "labels": {"internal.secrets-store.csi.k8s.io/node-name": "node-1"},
            "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "web", "uid": "uid-1"}],
        },
        "status": {
            "podName": "web",
            "secretProviderClassName": "app",
            "mounted": True,
            "targetPath": "/pods/uid-1/volumes/kubernetes.io~csi/app/mount",
            "objects": [{"id": "a", "version": "1"}, {"id": "b", "version": "2"}],
            "conditions": [
                {"type": "Ready", "status": "True", "reason": "ContentInPlace", "message": ""},
                {"type": "Refreshed", "status": "True", "reason": "LastFetchSucceeded", "message": ""},
            ],
            "lastChangeTime": "2025-11-24T01:02:03Z",
        },
    }


def _objects(*versions: tuple[str, str]) -> list[str]:
    status = build_status([make_volume(object_versions=versions)], node_id="n", synced=None)["status"]
    assert isinstance(status, dict)
    return [entry["id"] + "=" + entry["version"] for entry in status["objects"]]


def test_objects_are_sorted_by_the_bytes_of_their_ids() -> None:
    # U+FF21 is before U+1F600 in bytes, and after it in UTF-16.
    assert _objects(("\U0001f600", "1"), ("\uff21", "2"), ("a", "3"), ("Z", "4")) == [
        "Z=4",
        "a=3",
        "\uff21=2",
        "\U0001f600=1",
    ]


def test_an_object_that_is_named_twice_has_the_last_version() -> None:
    assert _objects(("a", "1"), ("a", "2")) == ["a=2"]


def test_a_name_too_long_for_the_api_is_derived_and_stable() -> None:
    volume = make_volume(pod_name="p" * 240, class_name="c" * 100)
    assert is_subdomain(status_name(volume))
    assert status_name(volume) == status_name(volume)
    assert status_name(volume) != status_name(make_volume(pod_name="p" * 240, class_name="c" * 101))


def test_two_volumes_of_one_pod_show_the_same_one_whichever_was_refreshed_last() -> None:
    one, two = make_volume(target_path="/a"), make_volume(target_path="/b", last_attempt_time=2000.0)
    assert select_volume([two, one]) == one


def test_of_two_incarnations_of_a_pod_the_one_tried_last_is_shown() -> None:
    old = make_volume(pod_uid="uid-1", target_path="/a", last_attempt_time=1.0)
    new = make_volume(pod_uid="uid-2", target_path="/b", last_attempt_time=2.0)
    assert select_volume([old, new]) == new


VOLUMES = st.lists(
    st.builds(
        make_volume,
        target_path=st.sampled_from(["/a", "/b", "/c", "/d"]),
        pod_uid=st.sampled_from(["1", "2"]),
        pod_name=st.sampled_from(["p", "q"]),
        last_attempt_time=st.sampled_from([1.0, 2.0]),
    ),
    min_size=1,
    max_size=6,
    unique_by=lambda volume: volume.target_path,
)


@given(VOLUMES, st.randoms())
def test_the_volume_shown_does_not_depend_on_their_order(
    volumes: list[PublishedVolume], order: random.Random
) -> None:
    shuffled = order.sample(volumes, len(volumes))
    assert select_volume(volumes) == select_volume(shuffled)


@pytest.mark.parametrize(
    ("data_directory", "expected"),
    [
        ("..2025_11_24_01_02_03.123456", 1763946123.0),
        ("..1970_01_01_00_00_01.9", 1.0),
        ("..2025_13_24_01_02_03.1", 77.0),
        ("..elsewhere", 77.0),
        ("", 77.0),
    ],
)
def test_content_is_as_old_as_its_directory_says_or_else_as_the_last_success(
    data_directory: str, expected: float
) -> None:
    volume = make_volume(data_directory=data_directory, last_success_time=77.0)
    assert content_time(volume) == pytest.approx(expected)
