"""See the helpers."""
