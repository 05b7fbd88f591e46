"""What can go wrong in a demonstration that runs. None of it reaches a room or a gRPC status."""


class DemoFailedError(Exception):
    """A step did not come out as it must; the message says which and what was seen."""


class CallFailedError(DemoFailedError):
    """An RPC was answered with an error, or not at all; the message has method, code and text."""
