"""What every Cluster does: the fake, the directory of YAML files, the Kubernetes API."""

import base64
import contextlib
import dataclasses
import functools
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import pytest
import yaml

from sidecars.statussync.directory_cluster import DirectoryCluster
from sidecars.statussync.kube.cluster import KubernetesCluster
from sscsi.core.annotations import MAX_ASK
from sscsi.core.pod_status import KIND as STATUS_KIND
from sscsi.core.pod_status import build_status
from sscsi.core.provider_class import SecretProviderClass
from sscsi.core.secret_data import KIND as SECRET_KIND
from sscsi.core.secret_data import build_secret
from sscsi.errors import (
    ClassInvalidError,
    ClassNotFoundError,
    ClusterUnavailableError,
    ObjectNotOursError,
)
from sscsi.ports import Cluster, ClusterObject, ObjectKey, PodName
from tests.fakes.fake_cluster import FakeCluster
from tests.kubeapi import adapter, manifests
from tests.kubeapi.kube_api import SERVICE_ACCOUNT, KubeApi
from tests.statussync.making import RULES, make_class, make_event, make_secret_object, make_volume
from tests.support.waiting import wait_until


def key_in(namespace: str, kind: str) -> ObjectKey:
    return ObjectKey(kind, namespace, f"web-{namespace}-app" if kind == STATUS_KIND else "db")


class Harness(Protocol):
    """A cluster, and how a test changes and looks at what is behind it."""

    cluster: Cluster
    namespace: str
    removes_secrets: bool
    """Whether Secrets that nobody wants are status-sync's to remove; the API has a garbage collector for them."""

    def put_class(self, spc: SecretProviderClass) -> None: ...

    def break_class(self, namespace: str, name: str) -> None: ...

    def remove_class(self, namespace: str, name: str) -> None: ...

    def put_foreign(self, key: ObjectKey) -> None: ...

    def read(self, key: ObjectKey) -> Mapping[str, Any] | None: ...

    def go_away(self) -> None: ...

    def pod_uid(self) -> str:
        """The uid of a pod `web` that there is."""
        return "uid-1"

    def annotate_pod(self, pod: PodName, value: str | None) -> bool:
        """Have the pod ask for a refresh, or not any more; False where there are no pods."""
        raise NotImplementedError


class FakeHarness(Harness):
    namespace = "default"
    removes_secrets = True

    def __init__(self) -> None:
        self.fake = FakeCluster()
        self.cluster: Cluster = self.fake

    def put_class(self, spc: SecretProviderClass) -> None:
        self.fake.classes[spc.namespace, spc.name] = spc

    def break_class(self, namespace: str, name: str) -> None:
        self.fake.classes[namespace, name] = "spec: must be a mapping"

    def remove_class(self, namespace: str, name: str) -> None:
        del self.fake.classes[namespace, name]

    def put_foreign(self, key: ObjectKey) -> None:
        self.fake.add_foreign(key)

    def read(self, key: ObjectKey) -> Mapping[str, Any] | None:
        return self.fake.objects.get(key)

    def go_away(self) -> None:
        self.fake.is_away = True

    def annotate_pod(self, pod: PodName, value: str | None) -> bool:
        self.fake.pod_annotations.pop(pod, None)
        if value is not None:
            self.fake.pod_annotations[pod] = value
        return True


class DirectoryHarness(Harness):
    namespace = "default"
    removes_secrets = True

    def __init__(self, path: Path) -> None:
        self._path = path
        self.directory = DirectoryCluster(str(path))
        self.cluster: Cluster = self.directory

    def put_class(self, spc: SecretProviderClass) -> None:
        self._write(spc.namespace, spc.name, _spec(spc), spc.annotations)

    def break_class(self, namespace: str, name: str) -> None:
        self._write(namespace, name, "no mapping", {})

    def remove_class(self, namespace: str, name: str) -> None:
        (self._path / f"{namespace}.{name}.yaml").unlink()

    def put_foreign(self, key: ObjectKey) -> None:
        self._file(key).parent.mkdir(parents=True, exist_ok=True)
        self._file(key).write_text("kind: Mine\n")

    def read(self, key: ObjectKey) -> Mapping[str, Any] | None:
        try:
            loaded = yaml.safe_load(self._file(key).read_text())
        except FileNotFoundError:
            return None
        assert isinstance(loaded, dict)
        return loaded

    def go_away(self) -> None:
        # Root is not stopped by modes: the directories give way to files.
        away = self._path.with_name("away")
        self._path.rename(away)
        self._path.write_text("")

    def annotate_pod(self, pod: PodName, value: str | None) -> bool:
        return False

    def _file(self, key: ObjectKey) -> Path:
        plural = "secrets" if key.kind == SECRET_KIND else "secretproviderclasspodstatuses"
        return self._path / "status" / plural / key.namespace / f"{key.name}.yaml"

    def _write(self, namespace: str, name: str, spec: object, annotations: Mapping[str, str]) -> None:
        document = {
            "apiVersion": "secrets-store.csi.x-k8s.io/v1",
            "kind": "SecretProviderClass",
            "metadata": {"name": name, "namespace": namespace, "annotations": dict(annotations)},
            "spec": spec,
        }
        (self._path / f"{namespace}.{name}.yaml").write_text(json.dumps(document))


def _spec(spc: SecretProviderClass) -> object:
    return {
        "provider": spc.provider,
        "parameters": dict(spc.parameters),
        "secretObjects": [
            {
                "secretName": entry.secret_name,
                "type": entry.type,
                "data": [{"objectName": item.object_name, "key": item.key} for item in entry.data],
            }
            for entry in spc.secret_objects
        ],
    }


class KubernetesHarness(Harness):
    removes_secrets = False

    def __init__(self, kube_api: KubeApi, cluster: KubernetesCluster, namespace: str) -> None:
        self._kube_api = kube_api
        self.cluster: Cluster = cluster
        self.namespace = namespace

    def put_class(self, spc: SecretProviderClass) -> None:
        adapter.put_class(
            self._kube_api, spc.namespace, spc.name, _spec(spc), annotations=dict(spc.annotations)
        )

    def break_class(self, namespace: str, name: str) -> None:
        pytest.skip("the API server takes no class that is not of the definition's shape")

    def remove_class(self, namespace: str, name: str) -> None:
        adapter.remove_class(self._kube_api, namespace, name)

    def put_foreign(self, key: ObjectKey) -> None:
        if key.kind == STATUS_KIND:
            pytest.skip("of status objects it is the pod that tells whose they are: tests/kubeapi has those")
        collection = adapter.path_of(key).rpartition("/")[0]
        self._kube_api.client().create(collection, {"metadata": {"name": key.name}})

    def read(self, key: ObjectKey) -> Mapping[str, Any] | None:
        return adapter.read(self._kube_api, key)

    def go_away(self) -> None:
        self.cluster.stop()

    def pod_uid(self) -> str:
        return adapter.make_pod(self._kube_api, self.namespace)

    def annotate_pod(self, pod: PodName, value: str | None) -> bool:
        adapter.annotate_pod(self._kube_api, pod[0], pod[1], value)
        return True


@pytest.fixture(params=["fake", "directory", "kubernetes"])
def harness(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Harness]:
    if request.param == "fake":
        yield FakeHarness()
        return
    if request.param == "kubernetes":
        kube_api: KubeApi = request.getfixturevalue("kube_api")
        with (
            kube_api.applied(manifests.RBAC_SYNCING),
            kube_api.namespace() as namespace,
            adapter.adapter(kube_api) as cluster,
        ):
            token = kube_api.token(SERVICE_ACCOUNT)
            wait_until(lambda: kube_api.may(token, "create", "secrets"), "the role counts")
            yield KubernetesHarness(kube_api, cluster, namespace)
        return
    path = tmp_path / "cluster"
    path.mkdir()
    directory = DirectoryHarness(path)
    with contextlib.closing(directory.directory):
        yield directory


def _object(key: ObjectKey, value: str = "1") -> ClusterObject:
    """An object as the reconciler makes it; `value` is what it is about."""
    if key.kind == STATUS_KIND:
        volume = make_volume(pod_namespace=key.namespace, object_versions=(("password", value),))
        manifest = build_status([volume], node_id="node-1", synced=None)
    else:
        spc = make_class(make_secret_object(key.name, password="p"), namespace=key.namespace)
        owner = {"apiVersion": "v1", "kind": "Pod", "name": "web", "uid": "uid-1"}
        manifest = build_secret(spc, 0, {"p": value.encode()}, [owner], RULES)
    return ClusterObject(key=key, manifest=manifest)


def _value(found: Mapping[str, Any]) -> str:
    """The `value` that an object was made with."""
    if found["kind"] == STATUS_KIND:
        return str(found["status"]["objects"][0]["version"])
    return base64.b64decode(found["data"]["password"]).decode()


def _get(harness: Harness) -> SecretProviderClass:
    return harness.cluster.get_class(harness.namespace, "app", timeout_seconds=5.0)


@pytest.fixture
def key(harness: Harness, kind: str) -> ObjectKey:
    return key_in(harness.namespace, kind)


def test_a_class_is_read_with_all_its_fields(harness: Harness) -> None:
    spc = make_class(
        make_secret_object(password="p"),
        namespace=harness.namespace,
        annotations={"a": "b"},
        parameters={"x": "y"},
    )
    harness.put_class(spc)
    found = _get(harness)
    assert dataclasses.replace(found, uid=spc.uid, generation=spc.generation) == spc
    assert found.uid
    assert 0 < found.generation < 2**63


def test_a_missing_class_is_not_found_with_the_api_servers_words(harness: Harness) -> None:
    with pytest.raises(ClassNotFoundError) as caught:
        _get(harness)
    assert str(caught.value).startswith('SecretProviderClass.secrets-store.csi.x-k8s.io "app" not found')


def test_a_class_of_another_namespace_is_not_found(harness: Harness) -> None:
    harness.put_class(make_class(namespace="kube-system"))
    with pytest.raises(ClassNotFoundError):
        _get(harness)


def test_a_broken_class_is_invalid(harness: Harness) -> None:
    harness.break_class(harness.namespace, "app")
    with pytest.raises(ClassInvalidError):
        _get(harness)


def test_a_changed_class_is_read_as_it_is_now(harness: Harness) -> None:
    harness.put_class(make_class(namespace=harness.namespace, provider="one"))
    assert _get(harness).provider == "one"
    harness.put_class(make_class(namespace=harness.namespace, provider="two", generation=2))
    wait_until(lambda: _get(harness).provider == "two", "the change is heard of")


def test_the_revision_of_a_class_differs_after_each_change_and_only_then(harness: Harness) -> None:
    name = (harness.namespace, "app")
    seen: list[object] = []

    def differs() -> bool:
        now = harness.cluster.class_revisions({name})[name]
        if now in seen:
            return False
        seen.append(now)
        return True

    def goes_back() -> bool:
        return harness.cluster.class_revisions({name})[name] == seen[0]

    assert differs()
    assert not differs()
    for generation, provider in enumerate(("one", "two"), 1):
        harness.put_class(make_class(namespace=harness.namespace, provider=provider, generation=generation))
        wait_until(differs, f"the class of provider {provider} is heard of")
        assert not differs()
    harness.remove_class(harness.namespace, "app")
    wait_until(goes_back, "the end of the class is heard of")


def test_a_class_that_breaks_has_another_revision(harness: Harness) -> None:
    name = (harness.namespace, "app")
    harness.put_class(make_class(namespace=harness.namespace))
    before = harness.cluster.class_revisions({name})[name]
    harness.break_class(harness.namespace, "app")
    assert harness.cluster.class_revisions({name})[name] != before


def test_revisions_are_of_the_classes_in_use_only(harness: Harness) -> None:
    harness.put_class(make_class(namespace=harness.namespace))
    harness.put_class(make_class(namespace=harness.namespace, name="other"))
    name = (harness.namespace, "app")
    assert harness.cluster.class_revisions({name}).keys() == {name}


@pytest.mark.parametrize("kind", [STATUS_KIND, SECRET_KIND])
class TestObjects:
    def test_an_object_is_written_once(self, harness: Harness, key: ObjectKey) -> None:
        assert harness.cluster.apply(_object(key)) is True
        assert harness.cluster.apply(_object(key)) is False
        found = harness.read(key)
        assert found is not None
        assert _value(found) == "1"

    def test_a_changed_object_is_written_again(self, harness: Harness, key: ObjectKey) -> None:
        harness.cluster.apply(_object(key))
        assert harness.cluster.apply(_object(key, "2")) is True
        found = harness.read(key)
        assert found is not None
        assert _value(found) == "2"

    def test_a_written_object_is_listed_until_it_is_removed(self, harness: Harness, key: ObjectKey) -> None:
        harness.cluster.apply(_object(key))
        if key.kind == SECRET_KIND and not harness.removes_secrets:
            assert harness.cluster.list_own(key.kind) == set()
            assert harness.cluster.delete(key) is False
            assert harness.read(key) is not None
            return
        assert harness.cluster.list_own(key.kind) == {key}
        assert harness.cluster.delete(key) is True
        assert harness.cluster.list_own(key.kind) == set()
        assert harness.read(key) is None

    def test_removing_what_is_not_there_does_nothing(self, harness: Harness, key: ObjectKey) -> None:
        assert harness.cluster.delete(key) is False

    def test_an_object_of_somebody_else_is_neither_taken_listed_nor_removed(
        self, harness: Harness, key: ObjectKey
    ) -> None:
        harness.put_foreign(key)
        before = harness.read(key)
        with pytest.raises(ObjectNotOursError):
            harness.cluster.apply(_object(key))
        assert harness.cluster.list_own(key.kind) == set()
        assert harness.cluster.delete(key) is False
        assert harness.read(key) == before

    def test_kinds_are_kept_apart(self, harness: Harness, key: ObjectKey) -> None:
        other = STATUS_KIND if key.kind == SECRET_KIND else SECRET_KIND
        harness.cluster.apply(_object(key))
        assert harness.cluster.list_own(other) == set()
        assert harness.cluster.delete(ObjectKey(other, key.namespace, key.name)) is False


def test_an_owner_of_a_secret_has_the_four_fields_of_an_owner_reference(harness: Harness) -> None:
    status = key_in(harness.namespace, STATUS_KIND)
    volume = make_volume(pod_namespace=harness.namespace, pod_uid=harness.pod_uid())
    harness.cluster.apply(_object(status))
    (owner,) = harness.cluster.owners(volume, status)
    assert owner.keys() == {"apiVersion", "kind", "name", "uid"}
    assert all(owner.values())
    assert harness.cluster.owned_by_status(volume, timeout_seconds=5.0) in {True, False}


def test_the_pods_in_use_that_ask_for_a_refresh_are_known_as_they_are_now(harness: Harness) -> None:
    pod = (harness.namespace, "web", harness.pod_uid())
    earlier = (harness.namespace, "web", "uid-of-an-earlier-one")
    for written, known in (("1", "1"), ("x" * 1000, "x" * MAX_ASK), ("", ""), (None, "")):
        is_annotated = harness.annotate_pod(pod, written)
        expected = {pod: known} if is_annotated and known else {}
        wait_until(
            functools.partial(_asks_are, harness.cluster, {pod, earlier}, expected), f"of {written} is told"
        )
    harness.annotate_pod(pod, "2")
    assert harness.cluster.pod_asks(set()) == {}


def _asks_are(cluster: Cluster, in_use: set[PodName], expected: Mapping[PodName, str]) -> bool:
    return cluster.pod_asks(in_use) == expected


@pytest.mark.parametrize("kind", [STATUS_KIND, SECRET_KIND])
def test_a_cluster_that_is_away_is_unavailable(harness: Harness, key: ObjectKey) -> None:
    harness.cluster.apply(_object(key))
    harness.go_away()
    with pytest.raises(ClusterUnavailableError):
        _get(harness)
    with pytest.raises(ClusterUnavailableError):
        harness.cluster.apply(_object(key, "2"))
    if key.kind == STATUS_KIND or harness.removes_secrets:
        with pytest.raises(ClusterUnavailableError):
            harness.cluster.delete(key)


def test_telling_a_pod_neither_waits_nor_raises_not_even_of_a_cluster_that_is_away(harness: Harness) -> None:
    harness.cluster.tell(make_event(pod_namespace=harness.namespace))
    harness.go_away()
    begun = time.monotonic()
    for number in range(1000):
        harness.cluster.tell(make_event(pod_namespace=harness.namespace, pod_uid=str(number)))
    assert time.monotonic() - begun < 30.0


def test_without_a_watch_all_else_is_unavailable_too(harness: Harness) -> None:
    if not harness.removes_secrets:
        pytest.skip("what a watch told stays known")
    harness.go_away()
    with pytest.raises(ClusterUnavailableError):
        harness.cluster.class_revisions({(harness.namespace, "app")})
    with pytest.raises(ClusterUnavailableError):
        harness.cluster.list_own(STATUS_KIND)
