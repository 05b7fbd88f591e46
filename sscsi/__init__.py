"""The Secrets Store CSI driver as one appliance: node room, built-in provider and operator's command."""

import os

__version__ = "0.1.0"

# gRPC's core reads it while it is imported, so it is set before anything else is. Without it, the core writes a line of
# its own form into the log now and then (one stop in eight of a server with calls under way); what it has to say there,
# Python's exceptions say too. Whoever looks into gRPC itself sets the variable, and has all lines.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
