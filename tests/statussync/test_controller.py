"""Status objects and Secrets follow volumes and classes, whatever happened on the way, and nothing else is written."""

import base64
import dataclasses
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sscsi.core.pod_status import KIND as STATUS_KIND
from sscsi.core.provider_class import SecretProviderClass
from sscsi.core.published_volume import PublishedVolume, VolumeChange
from sscsi.core.secret_data import KIND as SECRET_KIND
from sscsi.errors import ClusterUnavailableError
from sscsi.ports import ClusterObject, ObjectKey
from tests.fakes.fake_cluster import FakeCluster
from tests.fakes.fake_volume_files import FakeVolumeFiles
from tests.statussync.making import make_class, make_event, make_secret_object, make_volume
from tests.statussync.wired_room import WiredRoom

APP = ("default", "app")
STATUS = ObjectKey(STATUS_KIND, "default", "web-default-app")
SECRET = ObjectKey(SECRET_KIND, "default", "db")
WITH_SECRET = make_class(make_secret_object("db", "Opaque", k="password"))


class Place(WiredRoom):
    """The room on a cluster and on volumes that are none."""

    def __init__(self, cluster: FakeCluster | None = None, files: FakeVolumeFiles | None = None) -> None:
        self.cluster = cluster or FakeCluster()
        self.files = files or FakeVolumeFiles()
        super().__init__(self.cluster, self.files)

    def data(self, key: ObjectKey = SECRET) -> dict[str, bytes]:
        data: Any = self.cluster.objects[key]["data"]
        return {name: base64.b64decode(value) for name, value in data.items()}

    def owners(self, key: ObjectKey = SECRET) -> list[str]:
        metadata: Any = self.cluster.objects[key]["metadata"]
        return [owner["name"] for owner in metadata["ownerReferences"]]


@pytest.fixture
def place() -> Place:
    place = Place()
    place.cluster.classes[APP] = WITH_SECRET
    return place


def published(place: Place, content: bytes = b"s3cret", **changes: Any) -> PublishedVolume:
    volume = make_volume(**changes)
    place.files.put(volume, password=content)
    return volume


def test_an_entry_without_data_takes_every_file_of_the_volume(place: Place) -> None:
    place.cluster.classes[APP] = make_class(make_secret_object("db", "Opaque"))
    volume = make_volume()
    place.files.put(volume, **{"password": b"s3cret", "tls/ca.pem": b"root"})
    place.snapshot(volume)
    assert place.data() == {"password": b"s3cret", "tls.ca.pem": b"root"}
    place.files.put(volume, user=b"me")
    place.put(make_volume(object_versions=(("password", "v2"),)))
    assert place.data() == {"user": b"me"}


def test_a_published_volume_gets_its_status_object_and_secret_and_keeps_them_until_it_goes(
    place: Place,
) -> None:
    volume = published(place)
    place.snapshot(volume)
    assert place.cluster.objects.keys() == {STATUS, SECRET}
    assert place.data() == {"k": b"s3cret"}
    assert place.owners() == ["web-default-app"]
    place.remove(volume)
    assert place.cluster.objects == {}


def test_a_class_without_secrets_gets_a_status_object_only(place: Place) -> None:
    place.cluster.classes[APP] = make_class()
    place.snapshot(published(place))
    assert place.cluster.objects.keys() == {STATUS}
    assert place.files.reads == 0


def test_a_status_object_does_not_wait_for_the_class(place: Place) -> None:
    del place.cluster.classes[APP]
    place.snapshot(published(place))
    assert place.cluster.objects.keys() == {STATUS}


def test_at_rest_nothing_is_written(place: Place) -> None:
    volume = published(place)
    place.snapshot(volume)
    writes = list(place.cluster.writes)
    for second in range(100):
        later = 2000.0 + second
        place.put(dataclasses.replace(volume, last_attempt_time=later, last_success_time=later))
        place.poll()
    assert place.files.reads == 1
    place.snapshot(volume)
    assert place.cluster.writes == writes


def test_a_refresh_with_news_is_one_write_of_each_object(place: Place) -> None:
    volume = published(place)
    place.snapshot(volume)
    place.cluster.writes.clear()
    place.files.put(volume, password=b"new")
    place.put(
        dataclasses.replace(
            volume, object_versions=(("password", "v2"),), data_directory="..2025_11_24_01_02_09.2"
        )
    )
    assert sorted(place.cluster.writes) == [SECRET, STATUS]
    assert place.data() == {"k": b"new"}


def test_two_volumes_of_one_pod_with_one_class_share_the_objects(place: Place) -> None:
    one, two = published(place, target_path="/a"), published(place, target_path="/b")
    place.snapshot(one, two)
    assert place.cluster.objects.keys() == {STATUS, SECRET}
    place.remove(one)
    assert place.cluster.objects.keys() == {STATUS, SECRET}
    place.remove(two)
    assert place.cluster.objects == {}


def test_pods_with_one_class_share_the_secret_and_own_it_together(place: Place) -> None:
    web = published(place)
    worker = published(place, pod_name="worker", pod_uid="uid-2")
    place.snapshot(web, worker)
    assert place.owners() == ["web-default-app", "worker-default-app"]
    place.remove(web)
    assert place.owners() == ["worker-default-app"]


def test_a_secret_has_the_content_that_was_written_last_whoever_was_refreshed_last(place: Place) -> None:
    old = published(
        place, b"old", pod_uid="z", data_directory="..2025_01_01_00_00_00.1", last_success_time=9e9
    )
    new = published(
        place, b"new", pod_uid="a", data_directory="..2025_06_01_00_00_00.1", last_success_time=1.0
    )
    place.snapshot(old, new)
    assert place.data() == {"k": b"new"}


def test_nothing_is_removed_before_a_snapshot_has_come(place: Place) -> None:
    volume = published(place)
    place.snapshot(volume)
    restarted = Place(place.cluster, place.files)
    restarted.put(make_volume(pod_name="other", pod_uid="uid-9", class_name="none"))
    restarted.remove(make_volume())
    restarted.wait(1000.0)
    assert {STATUS, SECRET} <= place.cluster.objects.keys()
    restarted.snapshot()
    assert place.cluster.objects == {}


def test_after_a_restart_a_snapshot_of_the_same_volumes_writes_nothing(place: Place) -> None:
    volume = published(place)
    place.snapshot(volume)
    place.cluster.writes.clear()
    Place(place.cluster, place.files).snapshot(volume)
    assert place.cluster.writes == []


def test_what_was_edited_or_removed_by_hand_is_made_right_with_the_next_snapshot(place: Place) -> None:
    volume = published(place)
    place.snapshot(volume)
    right = dict(place.cluster.objects)
    del place.cluster.objects[STATUS]
    place.cluster.objects[SECRET] = {"kind": "Secret", "data": {"k": "ZWRpdGVk"}}
    place.snapshot(volume)
    assert place.cluster.objects == right


def test_a_secret_object_taken_from_the_class_takes_its_secret_along(place: Place) -> None:
    place.snapshot(published(place))
    place.cluster.classes[APP] = make_class(make_secret_object("new", "Opaque", k="password"))
    place.poll()
    assert place.cluster.objects.keys() == {STATUS, ObjectKey(SECRET_KIND, "default", "new")}


@pytest.mark.parametrize("change", ["missing", "broken"])
def test_secrets_stay_while_the_class_of_a_volume_cannot_be_read(place: Place, change: str) -> None:
    volume = published(place)
    place.snapshot(volume)
    if change == "missing":
        del place.cluster.classes[APP]
    else:
        place.cluster.classes[APP] = "spec: must be a mapping"
    place.poll()
    Place(place.cluster, place.files).snapshot(volume)
    assert SECRET in place.cluster.objects
    assert place.problems.count == 1
    place.cluster.classes[APP] = WITH_SECRET
    place.poll()
    assert place.problems.count == 0
    assert SECRET in place.cluster.objects


def test_a_class_that_comes_later_gets_its_secret_then(place: Place) -> None:
    del place.cluster.classes[APP]
    place.snapshot(published(place))
    place.cluster.classes[APP] = WITH_SECRET
    place.poll()
    assert place.data() == {"k": b"s3cret"}


def test_two_classes_that_want_one_secret_are_a_conflict_that_the_first_volume_wins(place: Place) -> None:
    other = make_class(make_secret_object("db", "Opaque", other="password"), name="other")
    place.cluster.classes["default", "other"] = other
    first = published(place, b"first", target_path="/a")
    second = published(place, b"second", target_path="/b", class_name="other", pod_uid="uid-2")
    place.snapshot(second, first)
    assert place.data() == {"k": b"first"}
    assert "SecretProviderClass other: spec.secretObjects[0] is not used" in place.problems.last
    assert place.ensure(first) == []
    (problem,) = place.ensure(second)
    assert "give one of them another secretName" in problem
    place.remove(first)
    assert place.data() == {"other": b"second"}
    assert place.problems.count == 0


def test_a_class_that_names_one_secret_twice_is_told_so(place: Place) -> None:
    entry = make_secret_object("db", "Opaque", k="password")
    place.cluster.classes[APP] = make_class(entry, dataclasses.replace(entry, type="example.com/x"))
    (problem,) = place.ensure(published(place))
    assert "spec.secretObjects[1] is not used" in problem
    assert place.cluster.objects[SECRET]["type"] == "Opaque"


def test_secrets_of_two_namespaces_have_nothing_to_do_with_each_other(place: Place) -> None:
    place.cluster.classes["other", "app"] = dataclasses.replace(WITH_SECRET, namespace="other")
    here = published(place, b"here")
    there = published(place, b"there", pod_namespace="other", pod_uid="uid-2")
    place.snapshot(here, there)
    assert place.data() == {"k": b"here"}
    assert place.data(ObjectKey(SECRET_KIND, "other", "db")) == {"k": b"there"}


def test_a_problem_of_the_class_is_reported_and_not_tried_again_until_something_changes(place: Place) -> None:
    volume = make_volume()
    place.files.put(volume)
    place.snapshot(volume)
    assert "file matching objectName password not found in the pod" in place.problems.last
    reads = place.files.reads
    place.wait(1000.0)
    assert place.files.reads == reads
    place.files.put(volume, password=b"now")
    place.put(dataclasses.replace(volume, data_directory="..2025_11_24_01_02_09.2"))
    assert place.data() == {"k": b"now"}
    assert place.problems.count == 0


def test_an_entry_without_a_name_is_reported_and_the_others_are_made(place: Place) -> None:
    place.cluster.classes[APP] = make_class(
        make_secret_object("", "Opaque", k="password"), *WITH_SECRET.secret_objects
    )
    (problem,) = place.ensure(published(place))
    assert problem.endswith("spec.secretObjects[0].secretName: secret name is empty")
    assert SECRET in place.cluster.objects


def test_a_volume_that_cannot_be_read_now_is_tried_again(place: Place) -> None:
    volume = make_volume()
    place.snapshot(volume)
    assert place.problems.count == 1
    place.files.put(volume, password=b"now")
    place.wait(0.2)
    assert place.data() == {"k": b"now"}
    assert place.problems.count == 0


def test_while_the_cluster_is_away_work_is_kept_and_done_when_it_is_back(place: Place) -> None:
    gone = published(place, pod_name="gone", pod_uid="uid-0")
    place.snapshot(gone)
    place.cluster.is_away = True
    volume = published(place)
    place.put(volume)
    place.remove(gone)
    for _ in range(5):
        place.wait(10.0)
    assert place.queue.depth > 0
    with pytest.raises(ClusterUnavailableError):
        place.controller.poll_classes()
    place.cluster.is_away = False
    place.wait(120.0)
    place.poll()
    place.wait(120.0)
    assert place.cluster.objects.keys() == {STATUS, SECRET}
    assert place.problems.count == 0


def test_somebody_elses_secret_is_left_alone_and_reported(place: Place) -> None:
    place.cluster.add_foreign(SECRET)
    before = place.cluster.objects[SECRET]
    volume = published(place)
    (problem,) = place.ensure(volume)
    assert problem == "Secret default/db is somebody else's"
    assert place.cluster.objects[SECRET] == before
    place.snapshot(volume)
    place.remove(volume)
    assert place.cluster.objects == {SECRET: before}


class FaultyCluster(FakeCluster):
    """Fails, on one object, in a way that nobody thought of."""

    def apply(self, wanted: ClusterObject) -> bool:
        if wanted.key == STATUS:
            raise RuntimeError("CANARY")
        return super().apply(wanted)


def test_a_fault_in_one_object_keeps_no_other_from_being_made(caplog: pytest.LogCaptureFixture) -> None:
    place = Place(FaultyCluster())
    place.cluster.classes[APP] = WITH_SECRET
    place.snapshot(published(place))
    assert SECRET in place.cluster.objects
    assert place.queue.depth == 1
    assert "CANARY" not in place.problems.last


def test_secrets_are_ensured_for_a_volume_that_the_watch_has_not_told_of(place: Place) -> None:
    place.snapshot()
    volume = published(place)
    assert place.ensure(volume) == []
    assert place.data() == {"k": b"s3cret"}
    place.work()
    assert STATUS in place.cluster.objects
    place.snapshot()
    assert SECRET in place.cluster.objects


def test_ensuring_looks_at_the_class_as_it_is_now_and_makes_others_follow(place: Place) -> None:
    old = published(place)
    place.snapshot(old)
    place.cluster.classes[APP] = make_class(make_secret_object("new", "Opaque", k="password"))
    new = published(place, pod_uid="uid-2")
    assert place.ensure(new) == []
    assert ObjectKey(SECRET_KIND, "default", "new") in place.cluster.objects
    place.work()
    assert SECRET not in place.cluster.objects


@pytest.mark.parametrize(
    ("broken", "problem"),
    [
        (None, 'SecretProviderClass.secrets-store.csi.x-k8s.io "app" not found'),
        ("a.yaml:3: spec: must be a mapping", "a.yaml:3: spec: must be a mapping"),
    ],
)
def test_ensuring_with_a_class_that_cannot_be_read_tells_why(
    place: Place, broken: str | None, problem: str
) -> None:
    del place.cluster.classes[APP]
    if broken:
        place.cluster.classes[APP] = broken
    assert place.ensure(published(place)) == [problem]


def test_what_cannot_be_ensured_in_time_is_made_in_the_background(place: Place) -> None:
    volume = published(place)
    place.snapshot(volume)
    place.files.put(volume, password=b"new")
    assert place.queue.claim(SECRET, 0.0)
    (problem,) = place.ensure(volume, seconds=0.01)
    assert problem == "Secret default/db was not made in time; it is being made in the background"
    place.queue.done(SECRET)
    place.work()
    assert place.data() == {"k": b"new"}


def test_what_fails_while_ensuring_is_tried_again_in_the_background(place: Place) -> None:
    volume = make_volume()
    (problem,) = place.ensure(volume)
    assert "cannot read the volume" in problem
    place.files.put(volume, password=b"now")
    place.wait(1.0)
    assert place.data() == {"k": b"now"}


def test_no_problem_or_log_shows_content(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    tls = make_secret_object("db", "kubernetes.io/tls", **{"tls.crt": "password", "tls.key": "password"})
    place.cluster.classes[APP] = make_class(tls)
    for content in (
        b"CANARY",
        b"-----BEGIN CERTIFICATE-----\nCANARY",
        b"-----BEGIN CANARY-----\nQ0FOQVJZ\n-----END ",
    ):
        problems = place.ensure(published(place, content))
        assert len(problems) == 1
        assert "CANARY" not in problems[0]
    for record in caplog.records:
        assert "CANARY" not in repr(record.__dict__)


def test_a_class_that_could_not_be_read_at_the_start_has_synced_told_once_it_can(place: Place) -> None:
    volume = published(place)
    place.snapshot(volume)
    started_anew = Place(place.cluster, place.files)
    place.cluster.is_away = True
    started_anew.put(volume)
    place.cluster.is_away = False
    # The sweep looks at the Secret while nobody knows yet that the class wants it.
    started_anew.snapshot(volume, published(place, pod_name="new", pod_uid="uid-2"))
    started_anew.poll()
    found: Any = place.cluster.objects[ObjectKey(STATUS_KIND, "default", "new-default-app")]
    assert [entry["type"] for entry in found["status"]["conditions"]] == ["Ready", "Refreshed", "Synced"]


EVENTS = st.lists(
    st.one_of(
        st.tuples(
            st.just("put"), st.sampled_from("12"), st.sampled_from(["app", "other"]), st.sampled_from("ab")
        ),
        st.tuples(st.just("remove"), st.sampled_from("12"), st.just(""), st.just("")),
        st.tuples(st.just("class"), st.just(""), st.sampled_from(["app", "other"]), st.sampled_from("ab")),
        st.tuples(st.just("away"), st.just(""), st.just(""), st.just("")),
        st.tuples(st.just("back"), st.just(""), st.just(""), st.just("")),
        st.tuples(st.just("restart"), st.just(""), st.just(""), st.just("")),
    ),
    max_size=12,
)


def _class(name: str, variant: str) -> SecretProviderClass:
    secret = f"{name}-{variant}"
    return make_class(make_secret_object(secret, "Opaque", k="password"), name=name)


@settings(deadline=None)
@given(EVENTS, st.randoms())
def test_whatever_happened_the_cluster_ends_as_if_only_the_present_had(
    events: list[tuple[str, str, str, str]], chance: random.Random
) -> None:
    place = Place()
    present: dict[str, PublishedVolume] = {}
    place.cluster.classes = {APP: _class("app", "a"), ("default", "other"): _class("other", "a")}
    place.snapshot()
    for what, uid, name, variant in events:
        if what == "put":
            volume = make_volume(pod_uid=uid, pod_name=f"pod-{uid}", target_path=f"/{uid}", class_name=name)
            place.files.put(volume, password=variant.encode())
            present[uid] = volume
            if chance.random() < 0.8:  # some messages are lost
                place.put(volume)
        elif what == "remove" and uid in present:
            gone = present.pop(uid)
            place.files.contents.pop(gone.target_path)
            if chance.random() < 0.8:
                place.remove(gone)
        elif what == "class":
            place.cluster.classes["default", name] = _class(name, variant)
        elif what in ("away", "back"):
            place.cluster.is_away = what == "away"
        elif what == "restart":
            place = Place(place.cluster, place.files)
    place.cluster.is_away = False
    place.snapshot(*present.values())
    place.poll()
    place.wait(1000.0)
    fresh = Place(files=place.files)
    fresh.cluster.classes = place.cluster.classes
    fresh.snapshot(*present.values())
    assert place.cluster.objects == fresh.cluster.objects
    assert place.queue.depth == 0


def test_what_the_node_room_notices_is_told_to_the_pod(place: Place) -> None:
    event = make_event()
    place.controller.on_change(
        VolumeChange(snapshot=False, volumes=(), removed_target_paths=(), notices=(event,))
    )
    assert place.cluster.told == [event]


def test_a_mistake_in_a_class_is_told_to_its_pod_once(place: Place) -> None:
    place.cluster.classes[APP] = make_class(make_secret_object("db", "Opaque", k="none"))
    for _ in range(2):
        place.snapshot(published(place))
    (event,) = place.cluster.told
    assert (event.pod_uid, event.reason) == ("uid-1", "FailedToCreateSecret")
    assert event.message == (
        "Secret db of SecretProviderClass app: SecretProviderClass default/app: spec.secretObjects[0].data[0].objectName: "
        "file matching objectName none not found in the pod"
    )


def test_an_entry_without_a_name_is_told_to_the_pod(place: Place) -> None:
    place.cluster.classes[APP] = make_class(make_secret_object("", "Opaque", k="password"))
    place.snapshot(published(place))
    (event,) = place.cluster.told
    assert "spec.secretObjects[0].secretName" in event.message


def test_a_secret_of_somebody_else_is_told_when_it_stays_so(place: Place) -> None:
    place.cluster.add_foreign(SECRET)
    place.snapshot(published(place))
    assert place.cluster.told == []
    for _ in range(6):
        place.wait(2.0)
    (event,) = place.cluster.told
    assert event.message.startswith("Secret db of SecretProviderClass app: ")
    assert "somebody else's" in event.message


def test_a_cluster_that_is_away_for_a_moment_is_told_to_nobody(place: Place) -> None:
    place.snapshot()
    place.cluster.is_away = True
    place.put(published(place))
    place.cluster.is_away = False
    place.poll()
    assert SECRET in place.cluster.objects
    assert place.cluster.told == []
