"""The public conformance suite (csi-test's csi-sanity), its Identity and Node parts, on the real node room."""

import json
import os
import re
import subprocess
from typing import Any

import pytest

from tests.support.node_place import NodePlace, node_place
from tests.support.node_room import node_process
from tests.support.require import require

pytestmark = pytest.mark.root

PASSED = 13
# The two specs that make a volume through the Controller service without asking whether there is one.
MAKE_A_VOLUME = {
    "NodeUnpublishVolume should remove target path",
    "NodeGetVolumeStats should fail when volume does not exist on the specified path",
}
NO_CONTROLLER = "not run: it makes its volume with CreateVolume, and a node-only plugin has no controller"
# Every spec that does not run, and why. All but MAKE_A_VOLUME the suite skips by itself, by our capabilities:
# kubelet neither stages nor expands an inline volume, and asks for the health of none.
SKIPPED = {
    "NodePublishVolume with single node multi writer capability should fail when volume with single node single "
    "writer access mode is already mounted at a different target path": "Service does not have single node multi writer "
    "capability",
    "NodeStageVolume should fail when no volume id is provided": "NodeStageVolume not supported",
    "NodeStageVolume should fail when no staging target path is provided": "NodeStageVolume not supported",
    "NodeStageVolume should fail when no volume capability is provided": "NodeStageVolume not supported",
    "NodeUnstageVolume should fail when no volume id is provided": "NodeUnstageVolume not supported",
    "NodeUnstageVolume should fail when no staging target path is provided": "NodeUnstageVolume not supported",
    "NodeExpandVolume should fail when no volume id is provided": "NodeExpandVolume not supported",
    "NodeExpandVolume should fail when no volume path is provided": "NodeExpandVolume not supported",
    "NodeExpandVolume should fail when volume is not found": "NodeExpandVolume not supported",
    "NodeExpandVolume should work if node-expand is called after node-publish": "NodeExpandVolume not supported",
    "NodeGetVolumeHealth should fail when no volume id is provided": "NodeGetVolumeHealth not supported",
    "NodeGetVolumeHealth should return health for a valid volume": "NodeGetVolumeHealth not supported",
    "NodeGetStorageHealth should return appropriate response": "NodeGetStorageHealth not supported",
    "should work": "Controller Service not provided: CreateVolume not supported",
    "should be idempotent": "Controller Service not provided: CreateVolume not supported",
    **dict.fromkeys(MAKE_A_VOLUME, NO_CONTROLLER),
}


def run_suite(program: str, place: NodePlace) -> tuple[str, list[dict[str, Any]]]:
    """The suite's output, and the reports of the specs of the services Identity and Node."""
    scratch = f"{place.base}/sanity"
    os.mkdir(scratch)
    result = subprocess.run(
        [
            program,
            f"--csi.endpoint={place.endpoint}",
            f"--csi.mountdir={scratch}/mount",
            f"--csi.stagingdir={scratch}/stage",
            "--ginkgo.focus=(Identity|Node) Service",
            *(f"--ginkgo.skip={re.escape(spec)}" for spec in MAKE_A_VOLUME),
            f"--ginkgo.json-report={scratch}/report.json",
            "--ginkgo.no-color",
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    with open(f"{scratch}/report.json", encoding="utf-8") as file:
        specs = json.load(file)[0]["SpecReports"]
    services = ("Identity Service", "Node Service")
    return result.stdout, [spec for spec in specs if (spec["ContainerHierarchyTexts"] or [""])[0] in services]


def name_of(spec: dict[str, Any]) -> str:
    return " ".join([*spec["ContainerHierarchyTexts"][1:], spec["LeafNodeText"]])


def test_the_node_room_conforms(capsys: pytest.CaptureFixture[str]) -> None:
    program = require("csi-sanity")
    with node_place() as place, node_process(place) as node:
        output, specs = run_suite(program, place)
        assert node.is_alive()
        assert place.mounts() == []
    passed = [name_of(spec) for spec in specs if spec["State"] == "passed"]
    skipped = {
        name_of(spec): spec.get("Failure", {}).get(
            "Message", NO_CONTROLLER if name_of(spec) in MAKE_A_VOLUME else ""
        )
        for spec in specs
        if spec["State"] == "skipped"
    }
    with capsys.disabled():
        print(f"\ncsi-sanity: {len(passed)} passed; skipped:")
        for name, reason in skipped.items():
            print(f"  {name}: {reason}")
    assert len(passed) + len(skipped) == len(specs), output
    assert skipped == SKIPPED
    assert len(passed) == PASSED
