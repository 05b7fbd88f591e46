"""Levels below INFO, one for each of klog's verbosities: `-v=N` shows INFO - N and above, as upstream's users expect.

The numbers are those of Python's logging. Its DEBUG, where libraries speak, is verbosity 10.
"""

ERROR = 40
INFO = 20
CALLS = INFO - 2
"""Verbosity 2: each publish and unpublish, also one that changed nothing (upstream's "node publish volume")."""
DECISIONS = INFO - 4
"""Verbosity 4: refreshes that changed nothing, failures that were told already, stages, rooms' answers to each other."""
REQUESTS = INFO - 5
"""Verbosity 5: every other call, to a provider too."""
_DEBUG = 10


def of_verbosity(verbosity: int) -> int:
    """The level that `-v` lets through."""
    return max(INFO - verbosity, _DEBUG)
