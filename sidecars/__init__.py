"""The rooms beside the node room: registrar, liveness probe, status-sync and watchdog."""

# Before anything imports gRPC: see there.
import sscsi as sscsi
