"""Where the time of a publish goes, as the node room says itself at `-v=4`."""

import json
import statistics
from collections.abc import Sequence

from tests.bench.sides import Side
from tests.bench.volumes import Content, make_volumes, remove_directories

# The node's log line of a publish and its field: stage -> seconds.
MESSAGE = "publish stages"
FIELD = "seconds_by_stage"
NODE_ARGUMENTS = ("-v=4", "--log-format-json")


def measure_stages(side: Side, contents: Sequence[Content], count: int) -> dict[str, dict[str, float]]:
    """Median seconds of each stage, by content; no stages where the node's log has none.

    One publish in flight, on a side started with NODE_ARGUMENTS: its timings are for their proportions only.
    """
    return {content.name: _stages_of(side, content, count) for content in contents}


def _stages_of(side: Side, content: Content, count: int) -> dict[str, float]:
    log_path = side.process("node").log_path
    with open(log_path, "rb") as log:
        log.seek(0, 2)
        volumes = make_volumes(side.kubelet_root, content, count)
        side.kubelet.publish(volumes, in_flight=1)
        side.kubelet.unpublish(volumes, in_flight=1)
        remove_directories(volumes)
        lines = log.read().splitlines()
    seconds: dict[str, list[float]] = {}
    for line in lines:
        for stage, value in _stages_in(line).items():
            seconds.setdefault(stage, []).append(value)
    return {stage: statistics.median(values) for stage, values in seconds.items()}


def _stages_in(line: bytes) -> dict[str, float]:
    entry = json.loads(line)
    if entry.get("message") != MESSAGE:
        return {}
    return {stage: float(value) for stage, value in entry[FIELD].items()}
