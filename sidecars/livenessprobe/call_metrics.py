"""What is counted of the calls to the driver: upstream's histogram, and the failures to connect, which it lacks."""

import threading

from sscsi.core.prometheus import Family, Histogram, counter
from sscsi.edges.csi_identity import CONNECT_FAILURES

UNKNOWN_DRIVER = "unknown-driver"
# Name, help, labels and bounds are upstream's, for dashboards and alerts that are there (sidecars reference, B4).
_OPERATIONS = "csi_sidecar_operations_seconds"
_ABOUT_OPERATIONS = "[ALPHA] Container Storage Interface operation duration with gRPC error code status total"
_BOUNDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 25, 50, 120, 300, 600)


class CallMetrics:
    """Counts for life; threads may share it. `driver_name` is a label, `unknown-driver` until it is known."""

    def __init__(self) -> None:
        self.driver_name = UNKNOWN_DRIVER
        self._lock = threading.Lock()
        self._operations = Histogram(
            _OPERATIONS,
            _ABOUT_OPERATIONS,
            label_names=("driver_name", "grpc_status_code", "method_name"),
            bounds=_BOUNDS,
        )
        self._connect_failures = dict.fromkeys(CONNECT_FAILURES, 0)

    def observe(self, method: str, code: str, seconds: float) -> None:
        """Count a call that had a connection."""
        with self._lock:
            self._operations.observe((self.driver_name, code, method), seconds)

    def count_connect_failure(self, reason: str) -> None:
        """Count a health check that had none."""
        with self._lock:
            self._connect_failures[reason] += 1

    def families(self) -> list[Family]:
        with self._lock:
            failures = [
                ({"driver_name": self.driver_name, "reason": reason}, float(count))
                for reason, count in self._connect_failures.items()
            ]
            return [
                self._operations.family(),
                counter(
                    "sscsi_livenessprobe_connect_failures_total",
                    "Health checks for which the driver could not be connected to, by reason.",
                    failures,
                ),
            ]
