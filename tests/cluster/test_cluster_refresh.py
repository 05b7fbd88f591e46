"""Refresh where it counts: pods that run on a real kubelet, their Secrets, and what the cluster is told when it fails."""

import datetime as dt
import time
from collections.abc import Iterator

import grpc
import pytest

from sscsi.core.annotations import INTERVAL, REFRESH_AT
from sscsi.core.pod_event import FAILED_REFRESH
from sscsi.core.status_conditions import stamp
from tests.cluster.csi_node import CsiNode
from tests.cluster.figures import Figures
from tests.cluster.kubernetes_form import CLASS_KIND, CONTENT, class_manifest, deployed, write_content
from tests.cluster.real_cluster import RealCluster
from tests.cluster.refresh_stage import (
    SECONDS,
    RefreshStage,
    has,
    refresh_stage,
    requests_by_pod,
    status_conditions,
    written,
)
from tests.support.waiting import wait_until

Code = grpc.StatusCode
# Kubelet publishes again after 60 to 90 s, and whenever it looks at the pod for another reason.
TRIES = 4
HOURLY = {INTERVAL: "1h"}


@pytest.fixture(scope="module")
def stage(cluster: RealCluster, csi_node: CsiNode) -> Iterator[RefreshStage]:
    wait_until(lambda: not csi_node.lists_driver, "kubelet has forgotten the driver")
    with refresh_stage(cluster) as made:
        yield made


def test_a_change_comes_to_the_running_pod_and_its_secret_without_kubelet(
    stage: RefreshStage, figures: Figures
) -> None:
    write_content(stage.place, CONTENT)
    with stage.pods("rotating") as (pod,):
        pod.wait_content(CONTENT)
        pod.wait_secret(CONTENT)
        for number in range(TRIES):
            calls, begun = stage.publishes(provider="file"), time.monotonic()
            write_content(stage.place, f"new {number}")
            pod.wait_content(f"new {number}")
            followed = time.monotonic() - begun
            pod.wait_secret(f"new {number}")
            figures.add("changed in the store -> the container reads it", followed)
            figures.add("changed in the store -> the Secret has it", time.monotonic() - begun)
            if stage.publishes(provider="file") == calls:
                break
        else:
            pytest.fail("kubelet called each time, so it may have been kubelet")
        assert pod.restarts() == 0


def test_the_annotation_of_a_class_or_a_pod_brings_new_content_once_within_the_hour(
    stage: RefreshStage, figures: Figures
) -> None:
    with (
        stage.provider("hourly") as provider,
        stage.pods("hourly-a", "hourly-b", provider="hourly", annotations=HOURLY) as (one, other),
    ):
        wait_until(lambda: one.condition() and other.condition(), "both have their status objects")
        provider.answer, begun = has("second"), time.monotonic()
        now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        stage.cluster.kubectl("annotate", CLASS_KIND, one.class_name, f"{REFRESH_AT}={now}")
        for pod in (one, other):
            pod.wait_content("second")
        figures.add("refresh-at on a class -> both containers read it", time.monotonic() - begun)
        assert requests_by_pod(provider) == {one.name: 2, other.name: 2}

        provider.answer, begun = has("third"), time.monotonic()
        one.annotate(REFRESH_AT, "a pod's")
        one.wait_content("third")
        figures.add("refresh-at on a pod -> its container reads it", time.monotonic() - begun)
        assert other.read() == "second"
        assert requests_by_pod(provider) == {one.name: 3, other.name: 2}

        # The next status-sync tells all that is asked, from the beginning.
        stage.wait_serving("statussync", after=stage.kill("statussync"))
        provider.answer = has("fourth")
        other.annotate(REFRESH_AT, "the other's")
        other.wait_content("fourth")
        assert one.read() == "third"
        one.annotate(REFRESH_AT, "again")
        one.wait_content("fourth")
        assert requests_by_pod(provider) == {one.name: 4, other.name: 3}


def test_a_refresh_that_fails_is_told_everywhere_and_does_the_pod_no_harm(stage: RefreshStage) -> None:
    with stage.provider("failing") as provider, stage.pods("unlucky", provider="failing") as (pod,):
        pod.wait_condition("True", "LastFetchSucceeded")
        provider.error = Code.PERMISSION_DENIED, "not for you"
        told = pod.wait_condition("False", "ProviderDenied")
        shown = stage.shown(pod)
        assert shown["failing"]
        assert shown["failure_reason"] == "ProviderDenied"
        assert "not for you" in shown["last_error"]
        assert told["lastTransitionTime"] == stamp(shown["failing_since"])
        assert "not for you" in told["message"]
        assert any("1 of 1 volume" in reason for reason in stage.place.status().document["reasons"])
        wait_until(lambda: len(pod.events(FAILED_REFRESH)) == 1, "an Event tells it", seconds=SECONDS)
        assert "not for you" in pod.events(FAILED_REFRESH)[0]
        pod.republish(provider="failing")

        provider.error = Code.UNAVAILABLE, "gone fishing"
        again = pod.wait_condition("False", "ProviderUnavailable")
        assert again["lastTransitionTime"] == told["lastTransitionTime"]
        pod.republish(provider="failing")

        stage.cluster.kubectl("delete", CLASS_KIND, pod.class_name)
        again = pod.wait_condition("False", "ClassNotFound")
        assert again["lastTransitionTime"] == told["lastTransitionTime"]
        pod.republish(provider="failing")

        wait_until(lambda: len(pod.events(FAILED_REFRESH)) == 3, "each reason has its Event", seconds=SECONDS)
        assert pod.events("FailedMount") == []
        assert pod.read() == "first"
        provider.error, provider.answer = None, has("second")
        stage.cluster.create(class_manifest(pod.class_name, provider="failing"))
        pod.wait_content("second")
        over = pod.wait_condition("True", "LastFetchSucceeded")
        assert over["lastTransitionTime"] > told["lastTransitionTime"]
        assert not stage.shown(pod)["failing"]
        assert pod.restarts() == 0


def test_a_pod_goes_while_the_provider_fails_and_another_while_it_hangs(
    stage: RefreshStage, figures: Figures
) -> None:
    with (
        stage.provider("refusing") as refusing,
        stage.provider("hanging") as hanging,
        stage.pods("refused", provider="refusing") as (refused,),
        stage.pods("stuck", provider="hanging") as (stuck,),
    ):
        hanging.hold.clear()
        asked = len(hanging.requests)
        refusing.error = Code.UNAVAILABLE, "gone fishing"
        refused.wait_condition("False", "ProviderUnavailable")
        wait_until(lambda: len(hanging.requests) > asked, "a refresh hangs", seconds=SECONDS)
        for pod, why in ((refused, "fails"), (stuck, "hangs in a refresh")):
            begun = time.monotonic()
            pod.delete()
            figures.add(f"a pod is deleted while its provider {why}", time.monotonic() - begun)
            assert pod.mounts() == []
            assert pod.events("FailedMount") == []
        assert stage.place.records() == []


def test_a_node_room_killed_in_a_refresh_leaves_the_volume_whole_and_goes_on_with_kubelets_next_call(
    stage: RefreshStage, figures: Figures
) -> None:
    with stage.provider("slow") as provider, stage.pods("bereft", provider="slow") as (pod,):
        provider.answer = has("second")
        provider.hold.clear()
        asked = len(provider.requests)
        wait_until(lambda: len(provider.requests) > asked, "a refresh is under way", seconds=SECONDS)
        killed, begun = stage.kill("node"), time.monotonic()
        assert (pod.files(), pod.read()) == (["password"], "first")
        stage.wait_serving("node", after=killed)
        figures.add("node killed in a refresh -> it serves again", time.monotonic() - begun)
        assert (pod.files(), pod.read()) == (["password"], "first")
        provider.hold.set()
        # The first call brings the request, with which it goes on by itself.
        pod.touch()
        pod.wait_content("second")
        provider.answer = has("third")
        pod.wait_content("third")
        pod.wait_secret("third")
        assert pod.events("FailedMount") == []
        assert pod.restarts() == 0


def test_a_status_sync_killed_when_a_refresh_fails_has_its_successor_tell_it(stage: RefreshStage) -> None:
    with stage.provider("untold") as provider, stage.pods("untold", provider="untold") as (pod,):
        pod.wait_condition("True", "LastFetchSucceeded")
        provider.hold.clear()
        asked = len(provider.requests)
        wait_until(lambda: len(provider.requests) > asked, "a refresh is under way", seconds=SECONDS)
        provider.error = Code.PERMISSION_DENIED, "not for you"
        killed = stage.kill("statussync")
        provider.hold.set()
        wait_until(lambda: stage.shown(pod)["failing"], "the refresh has failed", seconds=SECONDS)
        since = stage.shown(pod)["failing_since"]
        stage.wait_serving("statussync", after=killed)
        assert pod.wait_condition("False", "ProviderDenied")["lastTransitionTime"] == stamp(since)
        provider.error = None
        killed = stage.kill("statussync")
        stage.wait_serving("statussync", after=killed)
        pod.wait_condition("True", "LastFetchSucceeded")


def test_refreshes_without_news_write_nothing_to_the_api(stage: RefreshStage) -> None:
    replicas, intervals = 5, 2
    with (
        stage.provider("steady") as provider,
        stage.pods("steady", provider="steady") as (pod,),
        deployed(stage.cluster, "idle", replicas=replicas) as workload,
    ):
        workload.wait_available()
        names = [name.removeprefix("pod/") for name in workload.pods()] + [pod.name]
        wait_until(
            lambda: all(len(status_conditions(stage.cluster, name)) == 3 for name in names),
            "each status object has its conditions",
            seconds=SECONDS,
        )
        wait_until(
            lambda: stage.place.status().document["status_sync"]["queue_depth"] == 0, "nothing is to be done"
        )
        before, writes = written(stage.cluster), stage.counted("sscsi_api_writes_total")
        for name, volumes in (("file", replicas), ("steady", 1)):
            done = stage.counted("sscsi_refreshes_total", provider=name, result="unchanged")
            stage.wait_counted(
                "sscsi_refreshes_total", done + intervals * volumes, provider=name, result="unchanged"
            )
        assert stage.counted("sscsi_api_writes_total") == writes
        assert written(stage.cluster) == before
        assert len(provider.requests) > intervals


def test_the_metrics_page_has_what_upstreams_own_tests_look_for(stage: RefreshStage) -> None:
    with stage.provider("measured"), stage.pods("measured", provider="measured") as (pod,):
        unpublished = stage.counted("node_unpublish_total")
        stage.wait_counted("node_publish_total", 1, provider="measured", os_type="linux")
        stage.wait_counted("rotation_reconcile_total", 1, provider="measured", rotated="true")
        pod.delete()
        stage.wait_counted("node_unpublish_total", unpublished + 1)
        assert stage.counted("sscsi_kubelet_registered") == 1
