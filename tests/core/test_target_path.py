import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sscsi.core.target_path import KubeletVolume, clean_target_path, kubelet_volume
from sscsi.errors import InvalidRequestError

KUBELET = "/var/lib/kubelet/pods/2f3a/volumes/kubernetes.io~csi/secrets/mount"
NAMES = st.text(min_size=1, max_size=10).filter(
    lambda name: "/" not in name and "\0" not in name and name not in {".", ".."}
)


def test_kubelets_path_stays_as_it_is() -> None:
    assert clean_target_path(KUBELET) == KUBELET


@pytest.mark.parametrize("slashes", ["/", "//", "///"])
def test_slashes_at_the_end_are_dropped_so_that_one_place_has_one_name(slashes: str) -> None:
    assert clean_target_path(KUBELET + slashes) == KUBELET


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "//",
        "relative",
        "./x",
        "/a/../b",
        "/a/..",
        "/..",
        "/a/./b",
        "/.",
        "/a//b",
        "//a/b",
        "///a",
        "/a\0b",
        "/" + "x" * 4095,
        "/" + "ü" * 2048,
    ],
)
def test_a_path_that_may_name_another_place_than_it_seems_to_is_refused(path: str) -> None:
    with pytest.raises(InvalidRequestError, match="in request is not a clean absolute path"):
        clean_target_path(path)


def test_the_longest_path_that_the_kernel_takes_is_accepted() -> None:
    path = "/" + "x" * 4094
    assert clean_target_path(path) == path


@given(st.lists(NAMES, min_size=1, max_size=5))
def test_every_absolute_path_of_plain_names_is_clean(names: list[str]) -> None:
    path = "/" + "/".join(names)
    assert clean_target_path(path) == path


@given(st.text(alphabet="/.ab\0", max_size=12))
def test_an_accepted_path_is_the_only_spelling_of_its_place(path: str) -> None:
    try:
        clean = clean_target_path(path)
    except InvalidRequestError:
        return
    assert clean == posixpath.normpath(path)
    assert clean.startswith("/")
    assert not clean.startswith("//")
    assert clean_target_path(clean) == clean


def test_kubelets_path_tells_the_pod_and_the_volume() -> None:
    assert kubelet_volume(KUBELET) == KubeletVolume(pod_uid="2f3a", volume_name="secrets")


@pytest.mark.parametrize(
    "path",
    [
        "/var/lib/kubelet/pods/2f3a/volumes/kubernetes.io~csi/secrets",
        "/var/lib/kubelet/pods/2f3a/volumes/kubernetes.io~csi/secrets/mount/below",
        "/var/lib/kubelet/pods/2f3a/volumes/kubernetes.io~csi/secrets/mountain",
        "/var/lib/kubelet/pods/2f3a/volumes/kubernetes.io~csi/a/b/mount",
        "/var/lib/kubelet/pods/2f3a/volumes/kubernetes.io~empty-dir/secrets/mount",
        "/var/lib/kubelet/pods/2f3a/volumes/kubernetes_io~csi/secrets/mount",
        "/var/lib/kubelet/pods//volumes/kubernetes.io~csi/secrets/mount",
        "/var/lib/kubelet/apods/2f3a/volumes/kubernetes.io~csi/secrets/mount",
        "/tmp/target",
    ],
)
def test_a_path_of_any_other_shape_tells_nothing(path: str) -> None:
    assert kubelet_volume(path) is None


@given(NAMES, NAMES)
def test_whatever_the_names_kubelets_shape_gives_them_back(pod_uid: str, volume_name: str) -> None:
    path = f"/k/pods/{pod_uid}/volumes/kubernetes.io~csi/{volume_name}/mount"
    assert kubelet_volume(path) == KubeletVolume(pod_uid=pod_uid, volume_name=volume_name)
