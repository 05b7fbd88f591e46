"""The generated code in sscsi/pb: what proto/ says, and what the public interfaces have on the wire."""

import hashlib
import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest
from google.protobuf import descriptor_pb2

from tests.support import wire_facts
from tests.support.checkout import ROOT, setup_cfg
from tests.support.require import lacking

NAMES = ["csi", "pluginregistration", "provider", "sscsi"]

# The three public interfaces as their owners publish them (CSI 1.9, kubelet's plugin registration v1, provider
# v1alpha1): kubelet and the providers speak this, whatever proto/ says.
CSI = """
package csi.v1
extend FieldOptions: 1059 csi_secret bool
Identity/GetPluginInfo (GetPluginInfoRequest) returns (GetPluginInfoResponse)
Identity/GetPluginCapabilities (GetPluginCapabilitiesRequest) returns (GetPluginCapabilitiesResponse)
Identity/Probe (ProbeRequest) returns (ProbeResponse)
Node/NodeStageVolume (NodeStageVolumeRequest) returns (NodeStageVolumeResponse)
Node/NodeUnstageVolume (NodeUnstageVolumeRequest) returns (NodeUnstageVolumeResponse)
Node/NodePublishVolume (NodePublishVolumeRequest) returns (NodePublishVolumeResponse)
Node/NodeUnpublishVolume (NodeUnpublishVolumeRequest) returns (NodeUnpublishVolumeResponse)
Node/NodeGetVolumeStats (NodeGetVolumeStatsRequest) returns (NodeGetVolumeStatsResponse)
Node/NodeExpandVolume (NodeExpandVolumeRequest) returns (NodeExpandVolumeResponse)
Node/NodeGetCapabilities (NodeGetCapabilitiesRequest) returns (NodeGetCapabilitiesResponse)
Node/NodeGetInfo (NodeGetInfoRequest) returns (NodeGetInfoResponse)
message GetPluginInfoRequest:
message GetPluginInfoResponse: 1 name string; 2 vendor_version string; 3 manifest map<string, string>
message GetPluginCapabilitiesRequest:
message GetPluginCapabilitiesResponse: 1 capabilities repeated PluginCapability
message PluginCapability: 1 service Service (oneof type); 2 volume_expansion VolumeExpansion (oneof type)
message PluginCapability.Service: 1 type Type
message PluginCapability.VolumeExpansion: 1 type Type
message ProbeRequest:
message ProbeResponse: 1 ready BoolValue
message NodeStageVolumeRequest: 1 volume_id string; 2 publish_context map<string, string>; 3 staging_target_path string; 4 volume_capability VolumeCapability; 5 secrets map<string, string> [csi_secret]; 6 volume_context map<string, string>
message VolumeCapability: 1 block BlockVolume (oneof access_type); 2 mount MountVolume (oneof access_type); 3 access_mode AccessMode
message VolumeCapability.BlockVolume:
message VolumeCapability.MountVolume: 1 fs_type string; 2 mount_flags repeated string; 3 volume_mount_group string
message VolumeCapability.AccessMode: 1 mode Mode
message NodeStageVolumeResponse:
message NodeUnstageVolumeRequest: 1 volume_id string; 2 staging_target_path string
message NodeUnstageVolumeResponse:
message NodePublishVolumeRequest: 1 volume_id string; 2 publish_context map<string, string>; 3 staging_target_path string; 4 target_path string; 5 volume_capability VolumeCapability; 6 readonly bool; 7 secrets map<string, string> [csi_secret]; 8 volume_context map<string, string>
message NodePublishVolumeResponse:
message NodeUnpublishVolumeRequest: 1 volume_id string; 2 target_path string
message NodeUnpublishVolumeResponse:
message NodeGetVolumeStatsRequest: 1 volume_id string; 2 volume_path string; 3 staging_target_path string
message NodeGetVolumeStatsResponse: 1 usage repeated VolumeUsage; 2 volume_condition VolumeCondition
message VolumeUsage: 1 available int64; 2 total int64; 3 used int64; 4 unit Unit
message VolumeCondition: 1 abnormal bool; 2 message string
message NodeExpandVolumeRequest: 1 volume_id string; 2 volume_path string; 3 capacity_range CapacityRange; 4 staging_target_path string; 5 volume_capability VolumeCapability; 6 secrets map<string, string> [csi_secret]
message CapacityRange: 1 required_bytes int64; 2 limit_bytes int64
message NodeExpandVolumeResponse: 1 capacity_bytes int64
message NodeGetCapabilitiesRequest:
message NodeGetCapabilitiesResponse: 1 capabilities repeated NodeServiceCapability
message NodeServiceCapability: 1 rpc RPC (oneof type)
message NodeServiceCapability.RPC: 1 type Type
message NodeGetInfoRequest:
message NodeGetInfoResponse: 1 node_id string; 2 max_volumes_per_node int64; 3 accessible_topology Topology
message Topology: 1 segments map<string, string>
enum PluginCapability.Service.Type: UNKNOWN=0; CONTROLLER_SERVICE=1; VOLUME_ACCESSIBILITY_CONSTRAINTS=2; GROUP_CONTROLLER_SERVICE=3
enum PluginCapability.VolumeExpansion.Type: UNKNOWN=0; ONLINE=1; OFFLINE=2
enum VolumeCapability.AccessMode.Mode: UNKNOWN=0; SINGLE_NODE_WRITER=1; SINGLE_NODE_READER_ONLY=2; MULTI_NODE_READER_ONLY=3; MULTI_NODE_SINGLE_WRITER=4; MULTI_NODE_MULTI_WRITER=5; SINGLE_NODE_SINGLE_WRITER=6; SINGLE_NODE_MULTI_WRITER=7
enum VolumeUsage.Unit: UNKNOWN=0; BYTES=1; INODES=2
enum NodeServiceCapability.RPC.Type: UNKNOWN=0; STAGE_UNSTAGE_VOLUME=1; GET_VOLUME_STATS=2; EXPAND_VOLUME=3; VOLUME_CONDITION=4; SINGLE_NODE_MULTI_WRITER=5; VOLUME_MOUNT_GROUP=6
"""
REGISTRATION = """
package pluginregistration
Registration/GetInfo (InfoRequest) returns (PluginInfo)
Registration/NotifyRegistrationStatus (RegistrationStatus) returns (RegistrationStatusResponse)
message InfoRequest:
message PluginInfo: 1 type string; 2 name string; 3 endpoint string; 4 supported_versions repeated string
message RegistrationStatus: 1 plugin_registered bool; 2 error string
message RegistrationStatusResponse:
"""
PROVIDER = """
package v1alpha1
CSIDriverProvider/Version (VersionRequest) returns (VersionResponse)
CSIDriverProvider/Mount (MountRequest) returns (MountResponse)
message VersionRequest: 1 version string
message VersionResponse: 1 version string; 2 runtime_name string; 3 runtime_version string
message MountRequest: 1 attributes string; 2 secrets string; 3 target_path string; 4 permission string; 5 current_object_version repeated ObjectVersion
message ObjectVersion: 1 id string; 2 version string
message MountResponse: 1 object_version repeated ObjectVersion; 2 error Error; 3 files repeated File
message Error: 1 code string
message File: 1 path string; 2 mode int32; 3 contents bytes
"""


def published(table: str) -> Iterator[str]:
    """The lines of `wire_facts` for one of the tables above."""
    for line in table.strip().splitlines():
        head, separator, entries = line.partition(":")
        kind, _, name = head.partition(" ")
        if not separator:
            yield line
        if kind == "message":
            yield head
        for entry in filter(None, entries.strip().split("; ") if separator else ()):
            yield f"{head if kind == 'extend' else name} {entry}"


def generated(name: str) -> set[str]:
    """The lines of one generated module."""
    module = importlib.import_module(f"sscsi.pb.{name}_pb2")
    return wire_facts.from_descriptor(
        descriptor_pb2.FileDescriptorProto.FromString(module.DESCRIPTOR.serialized_pb)
    )


@pytest.mark.parametrize(
    ("name", "table"), [("csi", CSI), ("pluginregistration", REGISTRATION), ("provider", PROVIDER)]
)
def test_a_public_interface_is_on_the_wire_what_its_owner_published(name: str, table: str) -> None:
    assert sorted(generated(name)) == sorted(published(table))


@pytest.mark.parametrize("name", NAMES)
def test_generated_code_has_the_messages_and_numbers_of_its_proto(name: str) -> None:
    with open(f"{ROOT}/proto/{name}.proto", encoding="utf-8") as file:
        assert sorted(generated(name)) == sorted(wire_facts.from_proto(file.read()))


def test_every_proto_has_its_generated_code_and_nothing_else_is_there() -> None:
    protos = {entry.removesuffix(".proto") for entry in os.listdir(f"{ROOT}/proto")}
    assert protos == set(NAMES)
    expected = {
        f"{name}_{part}" for name in NAMES for part in ("pb2.py", "pb2.pyi", "pb2_grpc.py", "pb2_grpc.pyi")
    }
    assert files_in(f"{ROOT}/sscsi/pb") - {"__init__.py"} == expected


def test_generated_code_is_byte_for_byte_what_proto_generates(tmp_path: os.PathLike[str]) -> None:
    """By `make proto` itself, with the exact tools of the extra `proto`, kept in a cache for the next time."""
    if not shutil.which("make"):
        pytest.skip("this machine has no make")
    tools = tools_directory()
    made = make(f"{tools}/.made", f"VENV_PROTO={tools}")
    if made.returncode:
        lacking("pypi", reason=f"the generator can't be installed: {last_line(made.stderr)}")
    made = make("proto", f"VENV_PROTO={tools}", f"PROTO_OUT={tmp_path}")
    assert made.returncode == 0, made.stderr
    fresh = f"{tmp_path}/sscsi/pb"
    stale = [
        name
        for name in sorted(files_in(fresh))
        if content(f"{fresh}/{name}") != content(f"{ROOT}/sscsi/pb/{name}")
    ]
    assert len(files_in(fresh)) == 4 * len(NAMES)
    assert not stale, "run `make proto` and commit what it writes"


def tools_directory() -> str:
    """A directory for the generator's virtual environment, another one for other pins or another Python."""
    pins = setup_cfg()["options.extras_require"]["proto"]
    digest = hashlib.sha256(f"{pins}{sys.version}".encode()).hexdigest()[:16]
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    os.makedirs(cache, exist_ok=True)
    return f"{cache}/sscsi-proto-{digest}"


def make(target: str, *variables: str) -> subprocess.CompletedProcess[str]:
    # The flags of a make that runs these tests are not for this one.
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(
        ["make", "--silent", target, f"PYTHON={sys.executable}", *variables],
        cwd=ROOT,
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2]


def files_in(directory: str) -> set[str]:
    return {entry.name for entry in os.scandir(directory) if entry.is_file()}


def content(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
