"""Notices: a publish or refresh that failed is told with cause and cure, and nothing else is."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import cast

import grpc
import pytest

from sscsi.core.pod_event import FAILED_MOUNT, FAILED_REFRESH, PodEvent
from sscsi.node.notices import MAX_NOTICES, Notices
from sscsi.node.volumes import Volumes
from sscsi.node.volumes_service import VolumesService
from sscsi.pb import sscsi_pb2
from tests.fakes.fake_provider import FakeProvider
from tests.fakes.fake_records import FakeRecords
from tests.fakes.fake_status_sync import FakeStatusSync, make_class
from tests.support import canaries, canary_answers
from tests.support.node_place import NodePlace
from tests.support.node_room import NodeClient, NodeInProcess, publish_request, refusal
from tests.support.one_record import make_record
from tests.support.refresh_desk import make_desk

NO = (grpc.StatusCode.UNKNOWN, "the store says no")


def make_event(number: int = 0, message: str = "no") -> PodEvent:
    return PodEvent(
        pod_namespace="default",
        pod_name=f"web-{number}",
        pod_uid=f"uid-{number}",
        reason=FAILED_MOUNT,
        message=message,
    )


@contextlib.contextmanager
def watching(node: NodeClient, *, notices: bool = True) -> Iterator[Iterator[sscsi_pb2.WatchResponse]]:
    call = node.volumes.Watch(sscsi_pb2.WatchRequest(notices=notices), timeout=60)
    try:
        yield call
    finally:
        call.cancel()


def pending(node: NodeClient) -> Sequence[sscsi_pb2.Notice]:
    """The notices that nobody has taken yet."""
    with watching(node) as watch:
        return next(watch).notices


class Caller:
    def is_active(self) -> bool:
        return True


def served(volumes: Volumes, *, notices: bool = True) -> Iterator[sscsi_pb2.WatchResponse]:
    """A watch without a socket."""
    service = VolumesService(volumes, make_desk(volumes), contextlib.nullcontext)
    return service.Watch(sscsi_pb2.WatchRequest(notices=notices), cast(grpc.ServicerContext, Caller()))


def test_of_one_volume_only_the_last_is_kept_and_of_many_the_newest() -> None:
    notices = Notices()
    for number in range(1000):
        notices.add("/one", make_event(0, f"try {number}"))
    assert notices.take() == [make_event(0, "try 999")]
    for number in range(1000):
        notices.add(f"/{number}", make_event(number))
    assert notices.take() == [make_event(number) for number in range(1000 - MAX_NOTICES, 1000)]
    assert notices.take() == []


def test_what_nobody_took_for_ten_minutes_is_no_news() -> None:
    now = 0.0
    notices = Notices(lambda: now)
    notices.add("/old", make_event(1))
    now = 300.0
    notices.add("/new", make_event(2))
    now = 601.0
    assert notices.take() == [make_event(2)]


def test_a_notice_goes_to_one_watch_that_wants_it_and_changes_no_count() -> None:
    volumes = Volumes(FakeRecords())
    volumes.note_unknown("/unknown")
    volumes.put(make_record("/a"))
    watch = served(volumes)
    snapshot = next(watch)
    volumes.notify("/b", make_event())
    message = next(watch)
    assert [notice.pod_name for notice in message.notices] == ["web-0"]
    assert (message.revision, message.unknown_volumes) == (snapshot.revision, 1)
    assert not (message.snapshot or message.volumes or message.removed_target_paths)
    assert not next(served(volumes)).notices


def test_a_watch_that_does_not_want_notices_leaves_them() -> None:
    volumes = Volumes(FakeRecords())
    volumes.notify("/b", make_event())
    assert not next(served(volumes, notices=False)).notices
    assert len(next(served(volumes)).notices) == 1


def test_telling_does_not_wait_for_a_watcher_that_does_not_read() -> None:
    volumes = Volumes(FakeRecords())
    watch = served(volumes)
    next(watch)
    for number in range(10_000):
        volumes.notify(f"/{number}", make_event(number))
    assert len(next(watch).notices) == MAX_NOTICES


@pytest.mark.root
class TestPublish:
    def test_a_success_sends_none(self, rotating: NodeInProcess) -> None:
        for _ in range(3):
            rotating.publish(rotating.place.target_path())
        assert not pending(rotating)

    def test_a_failed_mount_is_told_to_who_watches(self, node: NodeInProcess, provider: FakeProvider) -> None:
        provider.error = NO
        with watching(node) as watch:
            assert not next(watch).notices
            _, text = refusal(lambda: node.publish(node.place.target_path()))
            (notice,) = next(watch).notices
        assert notice == sscsi_pb2.Notice(
            pod_namespace="default",
            pod_name="web-0",
            pod_uid="pod-uid-1",
            reason=FAILED_MOUNT,
            message=text,
        )
        assert text.endswith("the store says no")

    def test_a_failed_refresh_has_a_reason_of_its_own(
        self, rotating: NodeInProcess, provider: FakeProvider
    ) -> None:
        target_path = rotating.place.target_path()
        rotating.publish(target_path)
        provider.error = NO
        rotating.publish(target_path)
        (notice,) = pending(rotating)
        assert notice.reason == FAILED_REFRESH
        assert notice.message.endswith("the store says no")

    def test_a_thousand_failures_are_one_notice_a_volume(
        self, node: NodeInProcess, status_sync: FakeStatusSync
    ) -> None:
        status_sync.classes.clear()
        for number in range(1000):
            name = f"v{number % 3}"
            refusal(lambda name=name: node.publish(node.place.target_path(volume=name)))  # type: ignore[misc]
        assert len(pending(node)) == 3
        assert not pending(node)

    def test_no_secret_and_no_token_is_in_a_notice(self, node: NodeInProcess, provider: FakeProvider) -> None:
        request = publish_request(node.place.target_path(), secrets=canaries.SECRETS)
        request.volume_context.update(canaries.VOLUME_CONTEXT)
        with watching(node) as watch:
            next(watch)
            for quote in canaries.QUOTATIONS.values():
                provider.error = (grpc.StatusCode.UNKNOWN, " ".join(map(quote, canaries.of_requests())))
                refusal(lambda: node.publish(request))
                (notice,) = next(watch).notices
                assert canaries.found_in({"notice": notice.SerializeToString()}) == []

    @pytest.mark.parametrize("quotation", canaries.QUOTATIONS)
    def test_nor_in_that_of_a_refresh(
        self, rotating: NodeInProcess, provider: FakeProvider, quotation: str
    ) -> None:
        request = publish_request(rotating.place.target_path(), secrets=canaries.SECRETS)
        request.volume_context.update(canaries.VOLUME_CONTEXT)
        rotating.publish(request)
        quoted = [*canaries.of_requests(), *canaries.of_contents()]
        provider.answer = canary_answers.answer()
        provider.answer.error.code = " ".join(map(canaries.QUOTATIONS[quotation], quoted))
        rotating.publish(request)
        (notice,) = pending(rotating)
        assert notice.reason == FAILED_REFRESH
        assert canaries.found_in({"notice": notice.SerializeToString()}) == []


@pytest.mark.root
class TestCure:
    def failure(self, node: NodeInProcess, **changes: str | bool) -> str:
        """The notice of a publish that fails; it begins with the text that kubelet got."""
        request = publish_request(node.place.target_path(), **changes)  # type: ignore[arg-type]
        _, text = refusal(lambda: node.publish(request))
        (notice,) = pending(node)
        assert notice.message.startswith(f"{text}; ")
        return notice.message.removeprefix(f"{text}; ")

    def test_a_class_that_is_missing_is_to_be_made_in_the_pods_namespace(self, node: NodeInProcess) -> None:
        cure = self.failure(node, class_name="none", namespace="shop")
        assert cure == "create it in the pod's own namespace, shop, or correct the name in the pod's volume"

    def test_a_class_that_the_pod_does_not_name_is_to_be_named(self, node: NodeInProcess) -> None:
        assert "volumeAttributes.secretProviderClass" in self.failure(node, class_name="")

    def test_a_class_that_cannot_be_used_is_to_be_corrected(
        self, node: NodeInProcess, status_sync: FakeStatusSync
    ) -> None:
        status_sync.add(make_class(provider=""))
        assert self.failure(node) == "correct the SecretProviderClass"

    def test_a_provider_that_is_missing_is_to_be_installed(
        self, node: NodeInProcess, status_sync: FakeStatusSync, place: NodePlace
    ) -> None:
        status_sync.add(make_class(provider="vault"))
        assert self.failure(node).startswith("install that provider on the pod's node")

    def test_a_volume_that_is_not_read_only_is_to_be_made_so(self, node: NodeInProcess) -> None:
        assert self.failure(node, readonly=False) == "set readOnly: true in the pod's volume"

    def test_an_api_that_is_away_is_waited_for(
        self, node: NodeInProcess, status_sync: FakeStatusSync
    ) -> None:
        status_sync.error = (grpc.StatusCode.UNAVAILABLE, "the API server is away")
        assert self.failure(node).startswith("it is tried again")
