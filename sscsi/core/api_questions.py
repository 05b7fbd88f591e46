"""What is asked of an API server to find out how the driver is installed."""

from collections.abc import Mapping
from typing import Any, Protocol


class Reply(Protocol):
    """One answer: HTTP code, the object in it (empty when it is none), and what the server says when it refuses."""

    @property
    def code(self) -> int: ...

    @property
    def body(self) -> Mapping[str, Any]: ...

    @property
    def message(self) -> str: ...


class ApiQuestions(Protocol):
    """Both raise ClusterUnavailableError without an answer."""

    def get(self, path: str) -> Reply:
        """GET of a path."""

    def may(self, group: str, resource: str, verb: str, name: str = "") -> bool:
        """Whether who asks may do that in every namespace, with every object or with that of `name`.

        Raises ReviewRefusedError when the server does not tell.
        """
