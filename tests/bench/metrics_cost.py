"""What counting costs a publish and a refresh, and what a page takes: `python tests/bench/metrics_cost.py`."""

import os
import sys
import time
from collections.abc import Callable

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))

from sscsi.core.prometheus import text
from sscsi.edges.metric_messages import from_message, to_message
from sscsi.node.metrics import STAGES, NodeMetrics
from sscsi.node.volume_figures import VolumeFigures, volume_families
from sscsi.pb import sscsi_pb2

_VOLUMES, _CLASSES = 500, 100
_ROUNDS = 5


def publish(metrics: NodeMetrics) -> None:
    """As the node room counts a first publish."""
    metrics.provider_called("vault", "OK", 0.05)
    metrics.observe_stages("publish", dict.fromkeys(STAGES["publish"], 0.01))
    metrics.publish_succeeded("vault", 0.06)


def refresh(metrics: NodeMetrics) -> None:
    """As the node room counts a refresh."""
    metrics.provider_called("vault", "OK", 0.05)
    metrics.refresh_lateness(0.5)
    metrics.refresh_succeeded("vault", 0.06, changed=False)
    metrics.observe_stages("refresh", dict.fromkeys(STAGES["refresh"], 0.01))


def seconds(action: Callable[[], object], times: int) -> float:
    """Of one, the best of a few rounds."""
    best = float("inf")
    for _ in range(_ROUNDS):
        begun = time.perf_counter()
        for _ in range(times):
            action()
        best = min(best, (time.perf_counter() - begun) / times)
    return best


def main() -> None:
    metrics = NodeMetrics()
    print(f"a publish: {seconds(lambda: publish(metrics), 20_000) * 1e6:.1f} us")
    print(f"a refresh: {seconds(lambda: refresh(metrics), 20_000) * 1e6:.1f} us")
    now = time.time()
    volumes = [
        VolumeFigures(
            namespace=f"ns{number % 10}",
            class_name=f"class{number % _CLASSES}",
            provider="vault",
            success_time=now,
            interval_seconds=60.0,
            due_time=now + 60,
            is_failing=False,
        )
        for number in range(_VOLUMES)
    ]

    def answer() -> bytes:
        families = [*metrics.families(), *volume_families(volumes, now)]
        return bytes(to_message(families).SerializeToString())

    def page() -> str:
        return text(from_message(sscsi_pb2.RoomMetricsResponse.FromString(sent)))

    sent = answer()
    print(f"node's answer for {_VOLUMES} volumes of {_CLASSES} classes: {seconds(answer, 50) * 1e3:.1f} ms")
    print(f"its part of the page: {seconds(page, 50) * 1e3:.1f} ms, {len(page()) / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
