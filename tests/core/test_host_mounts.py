"""What a mount table tells of kubelet's root and of propagation, case by case."""

import pytest

from sscsi.core.finding import Outcome
from sscsi.core.host_mounts import (
    PodPlace,
    Reach,
    Verdict,
    host_path,
    judge,
    kubelet_root,
    pod_place,
    propagation_word,
    root_word,
)
from sscsi.core.mount_info import MountEntry

MICROK8S = "/var/snap/microk8s/common/var/lib/kubelet"
PODS = "/var/lib/kubelet/pods"
PLACE = PodPlace(device=1, root_path="/var/lib/kubelet", pod_uid="own")


def entry(
    mount_point: str, root: str = "/", *, shared: bool = True, filesystem: str = "ext4", device: int = 1
) -> MountEntry:
    return MountEntry(
        mount_id=1,
        parent_id=0,
        device=device,
        root=root,
        mount_point=mount_point,
        options="rw",
        shared=shared,
        filesystem=filesystem,
        super_options="rw",
    )


class TestThePodThatThisRunsIn:
    @pytest.mark.parametrize(
        ("mount_point", "below_the_pod"),
        [("/etc/hosts", "etc-hosts"), ("/dev/termination-log", "containers/secrets-store/1a2b3c4d")],
    )
    def test_it_is_found_by_what_kubelet_mounts(self, mount_point: str, below_the_pod: str) -> None:
        found = pod_place([entry("/"), entry(mount_point, f"{MICROK8S}/pods/some-uid/{below_the_pod}")])
        assert found == PodPlace(device=1, root_path=MICROK8S, pod_uid="some-uid")

    @pytest.mark.parametrize(
        "other",
        [
            entry("/etc/hosts", "/etc/hosts"),
            entry("/etc/hosts", "/docker/containers/abc/hosts"),
            entry("/etc/resolv.conf", "/pods/u/etc-hosts"),
            entry("/dev/termination-log", "/pods/u/etc-hosts"),
        ],
    )
    def test_other_mounts_tell_nothing(self, other: MountEntry) -> None:
        assert pod_place([other]) is None

    def test_of_mounts_on_each_other_the_last_is_seen(self) -> None:
        entries = [entry("/etc/hosts", f"/k/pods/{uid}/etc-hosts") for uid in ("covered", "seen")]
        found = pod_place(entries)
        assert found is not None
        assert found.pod_uid == "seen"


@pytest.mark.parametrize(
    ("mount", "in_pod", "elsewhere"),
    [
        (entry(PODS), Reach.REACHES, Reach.REACHES),
        (entry(PODS, shared=False), Reach.LOST, Reach.UNKNOWN),
        (entry("/", shared=False, filesystem="overlay"), Reach.LOST, Reach.UNKNOWN),
        # A container with a Bidirectional mount has a shared root, and so has the host that systemd started.
        (entry("/", filesystem="overlay"), Reach.LOST, Reach.UNKNOWN),
        (entry("/"), Reach.LOST, Reach.REACHES),
        (entry("/", shared=False), Reach.LOST, Reach.UNKNOWN),
        (None, Reach.UNKNOWN, Reach.UNKNOWN),
    ],
)
def test_only_in_a_pod_is_a_mount_certainly_lost(
    mount: MountEntry | None, in_pod: Reach, elsewhere: Reach
) -> None:
    found = judge(mount, is_in_pod=True), judge(mount, is_in_pod=False)
    assert tuple(verdict.reach for verdict in found) == (in_pod, elsewhere)
    assert all(bool(verdict.why) == (verdict.reach is not Reach.REACHES) for verdict in found)


@pytest.mark.parametrize(
    ("reach", "refuses_doubtful", "outcome", "words"),
    [
        (Reach.REACHES, True, Outcome.OK, "is on a shared mount"),
        (Reach.LOST, False, Outcome.FAIL, "would not reach the host: it is so"),
        # Where node publishes with a warning, it is one here, too.
        (Reach.UNKNOWN, False, Outcome.WARN, "may not reach the host: it is so"),
        (Reach.UNKNOWN, True, Outcome.FAIL, "would not reach the host: it is so"),
    ],
)
def test_what_is_said_of_propagation_is_what_node_does(
    reach: Reach, refuses_doubtful: bool, outcome: Outcome, words: str
) -> None:
    word = propagation_word(PODS, Verdict(reach=reach, why="it is so"), refuses_doubtful=refuses_doubtful)
    assert (word.outcome, words in word.found) == (outcome, True), word


@pytest.mark.parametrize("mount", [entry("/", shared=False), entry("/", filesystem="overlay")])
def test_only_in_a_pod_is_it_said_to_be_a_container(mount: MountEntry) -> None:
    assert "the container's own" in judge(mount, is_in_pod=True).why
    assert "the container's" not in judge(mount, is_in_pod=False).why


@pytest.mark.parametrize(
    ("mount", "names", "place", "outcome", "words"),
    [
        (entry(PODS, PODS), ["own", "other"], PLACE, Outcome.OK, "has 2 pods"),
        (entry(PODS, PODS), ["other"], PLACE, Outcome.FAIL, "no directory of this very pod (own)"),
        (
            entry(PODS, "/mnt/pods"),
            ["own"],
            PLACE,
            Outcome.FAIL,
            f"is /mnt/pods of the host, but kubelet has this very pod below {PODS}",
        ),
        # Paths on two file systems can't be compared.
        (entry(PODS, "/pods", device=2), ["own"], PLACE, Outcome.OK, "has 1 pods"),
        (entry(PODS, PODS), [], None, Outcome.WARN, "is empty"),
        (entry(PODS, "/elsewhere"), ["other"], None, Outcome.OK, "has 1 pods"),
    ],
)
def test_kubelets_root(
    mount: MountEntry, names: list[str], place: PodPlace | None, outcome: Outcome, words: str
) -> None:
    word = root_word(PODS, names, mount, place)
    assert (word.outcome, words in word.found) == (outcome, True), word.found
    assert ("linux.kubeletRootDir" in word.cure) == (outcome is not Outcome.OK)


@pytest.mark.parametrize(
    ("registration_path", "root"),
    [
        ("/var/lib/k0s/kubelet/plugins/csi-secrets-store/csi.sock", "/var/lib/k0s/kubelet"),
        ("/somewhere/csi.sock", "/var/lib/kubelet"),
        ("", ""),
    ],
)
def test_the_registration_path_begins_with_kubelets_root(registration_path: str, root: str) -> None:
    assert kubelet_root(registration_path) == root


def test_a_path_on_a_mount_has_a_path_on_the_host() -> None:
    assert host_path(entry("/host", "/"), "/host/var/lib") == "/var/lib"
    assert host_path(entry(PODS, "/data/pods"), f"{PODS}/u") == "/data/pods/u"
