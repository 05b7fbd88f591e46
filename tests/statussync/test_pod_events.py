"""Who is told of what is wrong with Secrets: a few pods of the class, once, and again when it comes again."""

import pytest

from sidecars.statussync.class_catalogue import ClassCatalogue
from sidecars.statussync.pod_events import LASTING_SECONDS, MAX_PODS, PodEvents
from sidecars.statussync.secret_plan import Conflict
from sidecars.statussync.volume_set import VolumeSet
from sscsi.core import provider_class
from sscsi.core.pod_event import FAILED_SECRET
from sscsi.core.published_volume import PublishedVolume, VolumeChange
from sscsi.core.secret_data import KIND as SECRET_KIND
from sscsi.ports import ObjectKey
from tests.fakes.fake_cluster import FakeCluster
from tests.statussync.making import make_class, make_event, make_secret_object, make_volume

SECRET = ObjectKey(SECRET_KIND, "default", "db")
CLASS = ObjectKey(provider_class.KIND, "default", "app")
PROBLEM = "SecretProviderClass default/app: spec.secretObjects[0].type: must not be empty"
OTHER = "Secret default/db: the service account may not write Secrets"


class Place:
    """Classes `app` and `other` that ask for the Secret `db`, class `plain` that asks for none."""

    def __init__(self) -> None:
        self.now = 0.0
        self.cluster = FakeCluster()
        for name in ("app", "other"):
            self.cluster.classes["default", name] = make_class(make_secret_object("db", k="p"), name=name)
        self.cluster.classes["default", "plain"] = make_class(name="plain")
        self.volumes = VolumeSet(lambda: self.now)
        self.events = PodEvents(
            volumes=self.volumes,
            catalogue=ClassCatalogue(self.cluster),
            tell=self.cluster.tell,
            clock=lambda: self.now,
        )

    def have(self, *volumes: PublishedVolume) -> None:
        self.volumes.apply(VolumeChange(snapshot=True, volumes=volumes, removed_target_paths=()))

    def report(self, *failures: str, conflicts: tuple[Conflict, ...] = (), is_retried: bool = False) -> None:
        self.events.of_secret(SECRET, failures, conflicts, is_retried=is_retried)

    def told(self) -> list[tuple[str, str]]:
        """Pod uid and message of what was told since the last call."""
        told = [(event.pod_uid, event.message) for event in self.cluster.told]
        assert {event.reason for event in self.cluster.told} <= {FAILED_SECRET}
        self.cluster.told.clear()
        return told


@pytest.fixture
def place() -> Place:
    return Place()


def pods(count: int, *, first: int = 0) -> list[PublishedVolume]:
    return [make_volume(pod_uid=f"uid-{number}") for number in range(first, first + count)]


def test_a_problem_is_told_once_with_class_field_and_cause(place: Place) -> None:
    place.have(make_volume())
    for _ in range(3):
        place.report(PROBLEM)
    assert place.told() == [("uid-1", f"Secret db of SecretProviderClass app: {PROBLEM}")]


def test_a_problem_that_was_over_is_told_again(place: Place) -> None:
    place.have(make_volume())
    place.report(PROBLEM)
    place.report()
    place.report(PROBLEM)
    assert len(place.told()) == 2


def test_a_few_of_many_pods_are_told(place: Place) -> None:
    place.have(*pods(100))
    place.report(PROBLEM)
    place.report(PROBLEM)
    assert len(place.told()) == MAX_PODS


def test_a_pod_that_comes_in_place_of_one_that_was_told_is_told(place: Place) -> None:
    place.have(*pods(MAX_PODS))
    place.report(PROBLEM)
    place.told()
    place.have(*pods(MAX_PODS, first=1))
    place.report(PROBLEM)
    assert [uid for uid, _ in place.told()] == [f"uid-{MAX_PODS}"]


def test_of_two_volumes_of_one_pod_one_is_enough(place: Place) -> None:
    place.have(make_volume(), make_volume(target_path="/pods/uid-1/volumes/kubernetes.io~csi/two/mount"))
    place.report(PROBLEM)
    assert len(place.told()) == 1


def test_pods_without_the_secret_are_told_nothing(place: Place) -> None:
    place.have(make_volume(class_name="plain"), make_volume(pod_namespace="elsewhere"))
    place.cluster.classes["elsewhere", "app"] = make_class(
        make_secret_object("db", k="p"), namespace="elsewhere"
    )
    place.report(PROBLEM)
    assert place.told() == []


def test_of_two_classes_only_the_one_that_does_not_get_the_secret_is_told(place: Place) -> None:
    place.have(make_volume(), make_volume(pod_uid="uid-2", class_name="other"))
    conflict = Conflict(class_name=("default", "other"), text="Secret default/db: app makes it")
    place.report(conflicts=(conflict,))
    assert place.told() == [("uid-2", "Secret default/db: app makes it")]


def test_each_class_that_asks_for_the_secret_is_named_to_its_own_pods(place: Place) -> None:
    place.have(make_volume(), make_volume(pod_uid="uid-2", class_name="other"))
    place.report(OTHER)
    assert place.told() == [
        ("uid-1", f"Secret db of SecretProviderClass app: {OTHER}"),
        ("uid-2", f"Secret db of SecretProviderClass other: {OTHER}"),
    ]


def test_what_may_pass_is_told_when_it_lasts(place: Place) -> None:
    place.have(make_volume())
    place.report(OTHER, is_retried=True)
    place.now = LASTING_SECONDS - 1.0
    place.report(OTHER, is_retried=True)
    assert place.told() == []
    place.now = LASTING_SECONDS
    place.report(OTHER, is_retried=True)
    place.report(OTHER, is_retried=True)
    assert len(place.told()) == 1


def test_what_passes_is_told_to_nobody(place: Place) -> None:
    place.have(make_volume())
    for _ in range(3):
        place.report(OTHER, is_retried=True)
        place.now += LASTING_SECONDS - 1.0
        place.report()
    assert place.told() == []


def test_an_entry_without_a_name_is_told_to_the_pods_of_the_class(place: Place) -> None:
    place.have(make_volume(), make_volume(pod_uid="uid-2", class_name="other"))
    for _ in range(2):
        place.events.of_class(CLASS, [PROBLEM])
    assert place.told() == [("uid-1", PROBLEM)]


def test_of_a_class_that_cannot_be_read_nobody_knows_whether_it_asks_for_secrets(place: Place) -> None:
    place.have(make_volume())
    del place.cluster.classes["default", "app"]
    place.events.of_class(CLASS, ["not found"])
    assert place.told() == []


def test_nothing_is_looked_at_while_all_is_well(place: Place) -> None:
    place.have(*pods(10))
    place.report()
    place.events.of_class(CLASS, [])
    assert place.cluster.class_calls == 0


def test_notices_of_the_node_room_are_passed_on(place: Place) -> None:
    events = [make_event(pod_uid=str(number)) for number in range(3)]
    place.events.relay(events)
    assert place.cluster.told == events
