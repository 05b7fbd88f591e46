"""The kubelet of the benchmark: registers what appears in a directory, and writes down when.

Run as `python -m tests.bench.kubelet_process REGISTRATION_DIRECTORY EVENTS_FILE`: one JSON list [what, time] a line.
"""

import json
import sys

from sscsi.process.run import stop_on_signals
from tests.bench.processes import die_with_parent
from tests.bench.registrations import READY
from tests.support.fake_kubelet import fake_kubelet

# The times are the events' own; this is only how long the benchmark is kept waiting for them.
_WRITE_SECONDS = 0.01


def main() -> int:
    directory, events_path = sys.argv[1:]
    die_with_parent()
    stop = stop_on_signals()
    with fake_kubelet(directory) as kubelet, open(events_path, "a", encoding="utf-8") as file:
        file.write(json.dumps([READY, 0.0]) + "\n")
        file.flush()
        written = 0
        while not stop.wait(_WRITE_SECONDS):
            for event in kubelet.events[written:]:
                file.write(json.dumps([event.kind, event.time]) + "\n")
                written += 1
            file.flush()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
