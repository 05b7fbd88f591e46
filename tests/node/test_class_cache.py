import threading
from concurrent import futures

import pytest

from sscsi.errors import ClassInvalidError, ClassNotFoundError, ClusterUnavailableError
from sscsi.node.class_cache import ClassCache
from tests.fakes.fake_classes import FakeClasses
from tests.fakes.fake_status_sync import make_class
from tests.support.waiting import wait_until

APP = make_class()
NEWER = make_class(generation=2)


def cache_of(source: FakeClasses, *, fresh_seconds: float = 60.0) -> ClassCache:
    return ClassCache(source, fresh_seconds=fresh_seconds)


def test_a_class_that_was_just_read_is_not_asked_for_again() -> None:
    source = FakeClasses(APP)
    cache = cache_of(source)
    assert cache.known_fresh("default", "app") is None
    for _ in range(3):
        assert cache.get("default", "app", timeout_seconds=1) == APP
    assert cache.known_fresh("default", "app") == APP
    assert len(source.asked) == 1


def test_a_class_that_is_no_longer_fresh_is_asked_for_again() -> None:
    source = FakeClasses(APP)
    cache = cache_of(source, fresh_seconds=0)
    cache.get("default", "app", timeout_seconds=1)
    source.classes["default", "app"] = NEWER
    assert cache.known_fresh("default", "app") is None
    assert cache.get("default", "app", timeout_seconds=1) == NEWER


def test_namespaces_do_not_share_classes() -> None:
    cache = cache_of(FakeClasses(APP))
    cache.get("default", "app", timeout_seconds=1)
    with pytest.raises(ClassNotFoundError):
        cache.get("other", "app", timeout_seconds=1)


@pytest.mark.parametrize("error", [ClassNotFoundError("gone"), ClassInvalidError("spec: no")])
def test_a_class_that_is_gone_or_broken_is_forgotten_and_asked_for_each_time(
    error: ClassNotFoundError | ClassInvalidError,
) -> None:
    source = FakeClasses(APP)
    cache = cache_of(source, fresh_seconds=0)
    cache.get("default", "app", timeout_seconds=1)
    source.error = error
    for _ in range(2):
        with pytest.raises(type(error)):
            cache.get("default", "app", timeout_seconds=1)
    assert len(source.asked) == 3
    source.error = ClusterUnavailableError("away")
    with pytest.raises(ClusterUnavailableError):
        cache.get("default", "app", timeout_seconds=1)


def test_while_nobody_can_be_asked_the_last_good_class_serves_and_nobody_is_asked_for_a_moment() -> None:
    source = FakeClasses(APP)
    cache = cache_of(source, fresh_seconds=0)
    cache.get("default", "app", timeout_seconds=1)
    source.error = ClusterUnavailableError("away")
    for _ in range(5):
        assert cache.get("default", "app", timeout_seconds=1) == APP
    assert len(source.asked) == 2
    assert cache.known_fresh("default", "app") == APP


def test_a_class_that_nobody_knows_is_an_error_while_nobody_can_be_asked() -> None:
    source = FakeClasses()
    source.error = ClusterUnavailableError("away")
    with pytest.raises(ClusterUnavailableError, match="away"):
        cache_of(source).get("default", "app", timeout_seconds=1)


def test_news_of_a_known_class_may_take_a_second_and_the_first_look_all_of_the_time() -> None:
    source = FakeClasses(APP)
    cache = cache_of(source, fresh_seconds=0)
    for _ in range(2):
        cache.get("default", "app", timeout_seconds=10)
    assert [timeout for _, _, timeout in source.asked] == [10, 1]


def test_many_who_want_one_class_at_once_ask_once() -> None:
    source = FakeClasses(APP)
    source.hold.clear()
    cache = cache_of(source)
    with futures.ThreadPoolExecutor(8) as pool:
        wanted = [pool.submit(cache.get, "default", "app", timeout_seconds=10) for _ in range(8)]
        wait_until(lambda: source.asked, "the first asks")
        source.hold.set()
        assert [future.result(60) for future in wanted] == [APP] * 8
    assert len(source.asked) == 1


def test_one_who_waits_for_anothers_look_up_waits_no_longer_than_it_may() -> None:
    source = FakeClasses(APP)
    source.hold.clear()
    cache = cache_of(source)
    asking = threading.Thread(target=cache.get, args=("default", "app"), kwargs={"timeout_seconds": 10})
    asking.start()
    wait_until(lambda: source.asked, "the first asks")
    with pytest.raises(
        ClusterUnavailableError, match="the look-up of secretproviderclass default/app did not end"
    ):
        cache.get("default", "app", timeout_seconds=0.05)
    source.hold.set()
    asking.join(60)


def test_a_hanging_look_up_of_one_class_does_not_delay_another() -> None:
    other = make_class("other")
    source = FakeClasses(APP, other)
    cache = cache_of(source)
    cache.get("default", "other", timeout_seconds=1)
    source.hold.clear()
    asking = threading.Thread(target=cache.get, args=("default", "app"), kwargs={"timeout_seconds": 10})
    asking.start()
    wait_until(lambda: len(source.asked) == 2, "the first asks")
    assert cache.known_fresh("default", "other") == other
    source.hold.set()
    asking.join(60)


def test_no_more_than_a_thousand_classes_are_kept_and_the_least_used_goes() -> None:
    source = FakeClasses(*(make_class(f"c{number}") for number in range(1001)))
    cache = cache_of(source)
    for number in range(1000):
        cache.get("default", f"c{number}", timeout_seconds=1)
    cache.known_fresh("default", "c0")
    cache.get("default", "c1000", timeout_seconds=1)
    assert cache.known_fresh("default", "c0") is not None
    assert cache.known_fresh("default", "c1") is None
