"""Kubernetes Secrets that mirror what is mounted, and content that follows the store."""

from tests.cluster.figures import Figures
from tests.e2e.driver import SECONDS
from tests.e2e.store import Store
from tests.e2e.workloads import GROUP, Deployment, Namespace, secret_object
from tests.support.waiting import wait_until

LABELS = {"environment": "test"}
MANAGED = "secrets-store.csi.k8s.io/managed"
SECRET = "mirror"


def deploy(namespace: Namespace, *names: str) -> list[Deployment]:
    """Deployments of two pods each, whose containers can't start before the Secret is there."""
    namespace.add_class(secrets=[secret_object(SECRET, labels=LABELS)])
    deployments = [namespace.add_deployment(name, replicas=2, secret=SECRET) for name in names]
    for deployment in deployments:
        deployment.wait_available()
    return deployments


def wait_owners(namespace: Namespace, count: int) -> None:
    wait_until(
        lambda: len(namespace.owners(SECRET)) == count, f"the Secret has {count} owners", seconds=SECONDS
    )


def test_a_secret_has_an_owner_for_each_deployment_and_goes_with_the_last(
    namespace: Namespace, figures: Figures
) -> None:
    with figures.timed("two Deployments of two, with variables from the Secret, Ready"):
        first, second = deploy(namespace, "first", "second")
    assert namespace.secret(SECRET) == {"value": "secret"}
    labels = namespace.find("secret", SECRET)["metadata"]["labels"]
    assert labels == LABELS | {MANAGED: "true"}
    for pod in (*first.pods(), *second.pods()):
        assert pod.run("sh", "-c", "echo $VALUE").strip() == "secret"
        assert pod.read() == "secret"
    wait_owners(namespace, 2)
    assert set(namespace.owners(SECRET)) == {"ReplicaSet"}
    first.delete()
    with figures.timed("one owner less"):
        wait_owners(namespace, 1)
    assert namespace.secret(SECRET) == {"value": "secret"}
    second.delete()
    with figures.timed("the Secret is gone"):
        wait_until(lambda: not namespace.find("secret", SECRET), "the Secret is gone", seconds=SECONDS)


def test_a_change_in_the_store_reaches_the_volume_and_the_secret(
    namespace: Namespace, store: Store, figures: Figures
) -> None:
    store.put(rotated="before")
    namespace.add_class(objects="rotated", secrets=[secret_object(SECRET, object_name="rotated")])
    pod = namespace.add_pod("pod")
    namespace.wait_secret(SECRET, "before")
    before = namespace.statuses()[0]["status"]["objects"]
    store.put(rotated="after")
    with figures.timed("change to volume and Secret, at an interval of 5 s"):
        pod.wait_content("after", name="rotated")
        namespace.wait_secret(SECRET, "after")
    wait_until(
        lambda: namespace.statuses()[0]["status"]["objects"] != before,
        "the status object has the new version",
        seconds=SECONDS,
    )
    assert pod.restarts() == 0


def test_content_stays_and_the_pod_is_told_while_the_store_refuses(
    namespace: Namespace, store: Store, figures: Figures
) -> None:
    namespace.add_class()
    pod = namespace.add_pod("pod")
    with store.refusing():
        wait_until(
            lambda: refreshed(namespace) == "False",
            "the status object says that it is stale",
            seconds=SECONDS,
        )
        assert pod.read() == "secret"
    with figures.timed("refreshed again after the store answered"):
        wait_until(
            lambda: refreshed(namespace) == "True", "the status object says that it is fresh", seconds=SECONDS
        )
    assert pod.restarts() == 0
    assert not pod.events("FailedMount")


def refreshed(namespace: Namespace) -> str:
    """The state of the condition Refreshed of the namespace's only status object."""
    (status,) = namespace.objects(f"secretproviderclasspodstatus.{GROUP}")
    conditions = {one["type"]: one["status"] for one in status["status"].get("conditions", ())}
    return str(conditions.get("Refreshed"))
