"""What ends a run of the benchmark."""


class BenchError(Exception):
    """The benchmark cannot go on; the message says what it lacks or what did not answer."""
