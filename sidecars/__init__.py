"""The rooms beside the node room: today status-sync; registrar and liveness probe join it."""
