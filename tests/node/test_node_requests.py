"""The CSI surface: what each request must have, in upstream's order, with upstream's codes and texts."""

import dataclasses
import os
from collections.abc import Callable

import grpc
import pytest

from sscsi import __version__
from sscsi.pb import csi_pb2, csi_pb2_grpc
from tests.fakes.fake_provider import FakeProvider
from tests.fakes.fake_status_sync import FakeStatusSync, make_class
from tests.support.node_room import NodeInProcess, publish_request, refusal
from tests.support.own_mounts import own_mounts
from tests.support.require import lacking

INVALID_ARGUMENT, UNKNOWN = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNKNOWN
Request = csi_pb2.NodePublishVolumeRequest
Change = Callable[[Request], object]


class TestIdentity:
    def test_the_plugin_is_named_as_upstream(self, node: NodeInProcess) -> None:
        answer = node.identity.GetPluginInfo(csi_pb2.GetPluginInfoRequest(), timeout=60)
        assert (answer.name, answer.vendor_version) == ("secrets-store.csi.k8s.io", __version__)

    def test_the_plugin_has_no_controller(self, node: NodeInProcess) -> None:
        answer = node.identity.GetPluginCapabilities(csi_pb2.GetPluginCapabilitiesRequest(), timeout=60)
        assert list(answer.capabilities) == []

    def test_a_probe_says_ready_on_both_sockets(self, node: NodeInProcess) -> None:
        for stub in (node.identity, node.probe):
            answer = stub.Probe(csi_pb2.ProbeRequest(), timeout=60)
            assert answer.HasField("ready")
            assert answer.ready.value

    def test_the_probe_socket_publishes_nothing(self, node: NodeInProcess) -> None:
        channel = node.channel(f"{node.place.run_directory}/probe.sock")
        request = csi_pb2.NodeGetInfoRequest()
        call = csi_pb2_grpc.NodeStub(channel).NodeGetInfo
        assert refusal(lambda: call(request, timeout=60))[0] is grpc.StatusCode.UNIMPLEMENTED


class TestNodeInformation:
    def test_the_node_says_its_name_and_no_more(self, node: NodeInProcess) -> None:
        answer = node.csi.NodeGetInfo(csi_pb2.NodeGetInfoRequest(), timeout=60)
        assert answer == csi_pb2.NodeGetInfoResponse(node_id="node-1")

    def test_the_node_counts_its_volumes_and_sets_their_group(self, node: NodeInProcess) -> None:
        answer = node.csi.NodeGetCapabilities(csi_pb2.NodeGetCapabilitiesRequest(), timeout=60)
        kinds = csi_pb2.NodeServiceCapability.RPC
        assert {capability.rpc.type for capability in answer.capabilities} == {
            kinds.GET_VOLUME_STATS,
            kinds.VOLUME_MOUNT_GROUP,
        }

    def test_a_volume_is_never_expanded(self, node: NodeInProcess) -> None:
        request = csi_pb2.NodeExpandVolumeRequest(volume_id="v", volume_path="/x")
        assert refusal(lambda: node.csi.NodeExpandVolume(request, timeout=60)) == (
            grpc.StatusCode.UNIMPLEMENTED,
            "NodeExpandVolume is not implemented",
        )


class TestStaging:
    """Kubelet never stages an inline volume; conformance suites do."""

    def test_staging_does_nothing_successfully(self, node: NodeInProcess) -> None:
        staging = csi_pb2.NodeStageVolumeRequest(
            volume_id="v", staging_target_path="/x", volume_capability=csi_pb2.VolumeCapability()
        )
        node.csi.NodeStageVolume(staging, timeout=60)
        unstaging = csi_pb2.NodeUnstageVolumeRequest(volume_id="v", staging_target_path="/x")
        node.csi.NodeUnstageVolume(unstaging, timeout=60)

    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({}, "Volume ID missing in request"),
            ({"volume_id": "v"}, "Target path missing in request"),
            ({"volume_id": "v", "staging_target_path": "/x"}, "Volume capability missing in request"),
        ],
    )
    def test_staging_checks_in_this_order(
        self, node: NodeInProcess, fields: dict[str, str], message: str
    ) -> None:
        request = csi_pb2.NodeStageVolumeRequest(
            volume_id=fields.get("volume_id", ""), staging_target_path=fields.get("staging_target_path", "")
        )
        assert refusal(lambda: node.csi.NodeStageVolume(request, timeout=60)) == (INVALID_ARGUMENT, message)

    @pytest.mark.parametrize(
        ("volume_id", "message"),
        [("", "Volume ID missing in request"), ("v", "Target path missing in request")],
    )
    def test_unstaging_checks_in_this_order(self, node: NodeInProcess, volume_id: str, message: str) -> None:
        request = csi_pb2.NodeUnstageVolumeRequest(volume_id=volume_id)
        assert refusal(lambda: node.csi.NodeUnstageVolume(request, timeout=60)) == (INVALID_ARGUMENT, message)


class TestUnpublishRequests:
    @pytest.mark.parametrize(
        ("volume_id", "target_path", "message"),
        [
            ("", "", "Volume ID missing in request"),
            ("v", "", "Target path missing in request"),
            ("v", "relative", "Target path 'relative' in request is not a clean absolute path"),
            ("v", "/a/../b", "Target path '/a/../b' in request is not a clean absolute path"),
            ("v", "/", "Target path '/' in request is not a clean absolute path"),
        ],
    )
    def test_the_request_is_checked_in_this_order(
        self, node: NodeInProcess, volume_id: str, target_path: str, message: str
    ) -> None:
        answer = refusal(lambda: node.unpublish(target_path, volume_id=volume_id))
        assert answer == (INVALID_ARGUMENT, message)


@dataclasses.dataclass(frozen=True)
class Case:
    """What is broken in a valid request, and the answer to it."""

    broken: Change
    code: grpc.StatusCode
    message: str


def invalid(broken: Change, message: str) -> Case:
    return Case(broken, INVALID_ARGUMENT, message)


def set_group(text: str) -> Change:
    def change(request: Request) -> None:
        request.volume_capability.mount.volume_mount_group = text

    return change


def set_path(path: str) -> Change:
    def change(request: Request) -> None:
        request.target_path = path

    return change


def set_class(name: str) -> Change:
    def change(request: Request) -> None:
        request.volume_context["secretProviderClass"] = name

    return change


def make_writable(request: Request) -> None:
    request.readonly = False


NO_CLASS = 'SecretProviderClass.secrets-store.csi.x-k8s.io "none" not found'
# In the order in which they are checked: with several broken at once, the earliest decides.
CASES = {
    "no capability": invalid(
        lambda r: r.ClearField("volume_capability"), "Volume capability missing in request"
    ),
    "no volume id": invalid(lambda r: r.ClearField("volume_id"), "Volume ID missing in request"),
    "no target path": invalid(lambda r: r.ClearField("target_path"), "Target path missing in request"),
    "no attributes": invalid(lambda r: r.volume_context.clear(), "Volume attributes missing in request"),
    "no class": Case(
        lambda r: r.volume_context.pop("secretProviderClass"), UNKNOWN, "secretProviderClass is not set"
    ),
    "empty class": Case(set_class(""), UNKNOWN, "secretProviderClass is not set"),
    "missing class": Case(
        set_class("none"), UNKNOWN, f"failed to get secretproviderclass default/none, error: {NO_CLASS}"
    ),
    "class without provider": Case(
        set_class("no-provider"), UNKNOWN, "provider not set in default/no-provider"
    ),
    "class without parameters": Case(
        set_class("no-parameters"), UNKNOWN, "parameters not set in default/no-parameters"
    ),
    "not read-only": invalid(make_writable, "Readonly is not true in request"),
    "unknown provider": Case(
        set_class("of-other-provider"),
        UNKNOWN,
        "failed to mount secrets store objects for pod default/web-0, err: error connecting to provider "
        '"other": provider not found: provider "other"',
    ),
    "provider's name is none": Case(
        set_class("of-bad-provider"),
        UNKNOWN,
        "failed to mount secrets store objects for pod default/web-0, err: error connecting to provider "
        '"../x": invalid provider: provider "../x"',
    ),
}
# Ours alone, so upstream has no order for them.
OWN_CASES = {
    "block volume": invalid(
        lambda r: r.volume_capability.block.SetInParent(),
        "Volume capability in request is for a block volume; this driver mounts files only",
    ),
    "relative path": invalid(set_path("a/b"), "Target path 'a/b' in request is not a clean absolute path"),
    "path with dots": invalid(
        set_path("/a/../b"), "Target path '/a/../b' in request is not a clean absolute path"
    ),
    "the root": invalid(set_path("/"), "Target path '/' in request is not a clean absolute path"),
    "two slashes": invalid(set_path("//a"), "Target path '//a' in request is not a clean absolute path"),
    **{
        f"group {text[:20]}": invalid(
            set_group(text), f"volume_mount_group {text[:40]!r} in request is not a decimal group id"
        )
        for text in ("x", "-1", "+1", " 1", "1 ", "1.0", "0x10", "\u0661", "4294967295", "9" * 5000)
    },
}


@pytest.fixture(autouse=True)
def classes(status_sync: FakeStatusSync) -> None:
    status_sync.add(
        make_class("no-provider", provider=""),
        make_class("no-parameters", parameters={}),
        make_class("of-other-provider", provider="other"),
        make_class("of-bad-provider", provider="../x"),
    )


@pytest.mark.root
@pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in (CASES | OWN_CASES).items()])
def test_a_broken_request_is_refused_in_upstreams_words_and_leaves_nothing(
    node: NodeInProcess, provider: FakeProvider, case: Case
) -> None:
    target_path = node.place.target_path()
    request = publish_request(target_path)
    case.broken(request)
    code, message = refusal(lambda: node.publish(request))
    assert code is case.code
    # A provider that is missing is followed by where it was looked for.
    assert (
        message.startswith(case.message) if "not found: provider" in case.message else message == case.message
    )
    assert provider.requests == []
    assert not os.path.lexists(target_path)
    assert node.place.mounts() == []
    assert node.place.records() == []


@pytest.mark.root
@pytest.mark.parametrize("index", range(len(CASES) - 1), ids=list(CASES)[:-1])
def test_of_two_broken_things_upstreams_order_decides(node: NodeInProcess, index: int) -> None:
    cases = list(CASES.values())
    request = publish_request(node.place.target_path())
    # The later one first: it must not undo the earlier one.
    cases[index + 1].broken(request)
    cases[index].broken(request)
    code, message = refusal(lambda: node.publish(request))
    assert (code, message.startswith(cases[index].message)) == (cases[index].code, True)


@pytest.mark.root
def test_the_valid_request_is_accepted(node: NodeInProcess) -> None:
    node.publish(node.place.target_path())


@pytest.mark.root
@pytest.mark.parametrize("group", ["0", "000", "7", "007"])
def test_decimal_groups_are_accepted(node: NodeInProcess, group: str) -> None:
    if int(group) and not own_mounts().is_root:
        lacking("root", reason="in a user namespace root's group is the only one")
    node.publish(publish_request(node.place.target_path(), group=group))


@pytest.mark.root
@pytest.mark.parametrize(
    ("status", "message"),
    [
        (grpc.StatusCode.FAILED_PRECONDITION, "spec.parameters: must be a mapping"),
        (grpc.StatusCode.NOT_FOUND, NO_CLASS),
    ],
)
def test_what_is_wrong_with_the_class_is_passed_on(
    node: NodeInProcess, status_sync: FakeStatusSync, status: grpc.StatusCode, message: str
) -> None:
    status_sync.error = (status, message)
    answer = refusal(lambda: node.publish(node.place.target_path()))
    assert answer == (UNKNOWN, f"failed to get secretproviderclass default/app, error: {message}")


@pytest.mark.root
def test_a_cluster_that_cannot_be_asked_is_unavailable_so_that_kubelet_keeps_trying(
    node: NodeInProcess, status_sync: FakeStatusSync
) -> None:
    status_sync.error = (grpc.StatusCode.UNAVAILABLE, "no route to host")
    answer = refusal(lambda: node.publish(node.place.target_path()))
    assert answer == (
        grpc.StatusCode.UNAVAILABLE,
        "failed to get secretproviderclass default/app, error: status-sync answered UNAVAILABLE: no route to host",
    )
    status_sync.error = None
    node.publish(node.place.target_path())


@pytest.mark.root
def test_a_refused_request_leaves_a_directory_that_was_there(node: NodeInProcess) -> None:
    target_path = node.place.target_path()
    os.mkdir(target_path)
    refusal(lambda: node.publish(publish_request(target_path, class_name="none")))
    assert os.listdir(target_path) == []
