"""The classes in use are asked for once, again when they change, and stay while the cluster is away."""

import pytest

from sidecars.statussync.class_catalogue import ClassCatalogue
from sscsi.errors import ClusterUnavailableError
from tests.fakes.fake_cluster import FakeCluster
from tests.statussync.making import make_class

APP = ("default", "app")


def test_a_class_is_asked_for_once() -> None:
    cluster = FakeCluster()
    cluster.classes[APP] = make_class()
    catalogue = ClassCatalogue(cluster)
    assert catalogue.view(APP).spc == make_class()
    assert catalogue.view(APP).spc == make_class()
    assert cluster.class_calls == 1


def test_a_poll_tells_which_classes_are_others_now() -> None:
    cluster = FakeCluster()
    cluster.classes[APP] = make_class()
    catalogue = ClassCatalogue(cluster)
    catalogue.view(APP)
    assert catalogue.poll({APP}) == set()
    cluster.classes[APP] = make_class(provider="new")
    assert catalogue.poll({APP}) == {APP}
    assert catalogue.poll({APP}) == set()
    assert catalogue.view(APP).spc == make_class(provider="new")


def test_after_a_poll_every_class_in_use_is_known() -> None:
    cluster = FakeCluster()
    cluster.classes[APP] = make_class()
    catalogue = ClassCatalogue(cluster)
    assert catalogue.seen(APP) is None
    assert cluster.class_calls == 0
    assert catalogue.poll({APP}) == {APP}
    assert catalogue.seen(APP) == make_class()
    assert cluster.class_calls == 1


def test_at_rest_a_poll_asks_for_no_class() -> None:
    cluster = FakeCluster()
    cluster.classes[APP] = make_class()
    catalogue = ClassCatalogue(cluster)
    catalogue.view(APP)
    catalogue.poll({APP})
    calls = cluster.class_calls
    for _ in range(10):
        catalogue.poll({APP})
    assert cluster.class_calls == calls


def test_a_class_that_comes_breaks_and_goes_is_seen_each_time() -> None:
    cluster = FakeCluster()
    catalogue = ClassCatalogue(cluster)
    assert catalogue.view(APP).problem.endswith('"app" not found')
    cluster.classes[APP] = make_class()
    assert catalogue.poll({APP}) == {APP}
    cluster.classes[APP] = "spec: must be a mapping"
    assert catalogue.poll({APP}) == {APP}
    assert catalogue.view(APP).spc is None
    assert catalogue.view(APP).problem == "spec: must be a mapping"
    del cluster.classes[APP]
    assert catalogue.poll({APP}) == {APP}
    assert catalogue.poll({APP}) == set()


def test_a_class_that_was_seen_stays_while_the_cluster_is_away() -> None:
    cluster = FakeCluster()
    cluster.classes[APP] = make_class()
    catalogue = ClassCatalogue(cluster)
    catalogue.view(APP)
    cluster.is_away = True
    assert catalogue.load(APP) is False
    with pytest.raises(ClusterUnavailableError):
        catalogue.poll({APP})
    assert catalogue.view(APP).spc == make_class()
    cluster.is_away = False
    cluster.classes[APP] = make_class(provider="new")
    assert catalogue.poll({APP}) == {APP}


def test_a_class_that_was_never_seen_is_looked_for_when_the_cluster_is_back() -> None:
    cluster = FakeCluster()
    cluster.classes[APP] = make_class()
    cluster.is_away = True
    catalogue = ClassCatalogue(cluster)
    assert catalogue.view(APP).problem == "the cluster is away"
    cluster.is_away = False
    assert catalogue.poll({APP}) == {APP}
    assert catalogue.view(APP).spc == make_class()


def test_a_class_out_of_use_is_forgotten() -> None:
    cluster = FakeCluster()
    cluster.classes[APP] = make_class()
    catalogue = ClassCatalogue(cluster)
    catalogue.view(APP)
    catalogue.poll(set())
    catalogue.view(APP)
    assert cluster.class_calls == 2


def test_a_class_loaded_on_demand_tells_whether_it_is_another() -> None:
    cluster = FakeCluster()
    cluster.classes[APP] = make_class()
    catalogue = ClassCatalogue(cluster)
    assert catalogue.load(APP) is True
    assert catalogue.load(APP) is False
    cluster.classes[APP] = make_class(provider="new")
    assert catalogue.load(APP) is True
