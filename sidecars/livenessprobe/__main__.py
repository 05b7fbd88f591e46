"""The program `sscsi-livenessprobe`: its real parts, wired."""

import sys
import threading

from sidecars.livenessprobe.call_metrics import CallMetrics
from sidecars.livenessprobe.config import LivenessProbeConfig, parse
from sidecars.livenessprobe.room import LivenessProbeRoom, room_states
from sscsi.edges.csi_identity import IdentityCalls
from sscsi.process import run


def serve(config: LivenessProbeConfig, stop: threading.Event) -> int:
    """Run the room; the exit code."""
    metrics = CallMetrics()
    calls = IdentityCalls(config.driver_socket, metrics.observe)
    room = LivenessProbeRoom(config, calls=calls, metrics=metrics, states=room_states(config))
    return room.run(stop)


def main() -> int:
    """Entry point of the console script."""
    return run.room("livenessprobe", parse, serve)


if __name__ == "__main__":
    sys.exit(main())
