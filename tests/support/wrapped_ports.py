"""The ports of the node room with something around every call of every method, whichever methods there are."""

from collections.abc import Callable
from typing import Any, Self

from sscsi.ports import FileTrees, VolumeTree

Around = Callable[[type, str, Callable[[], Any]], Any]
"""Gets the port, the method's name, and the call itself to make or not; what it returns is the call's result."""


class Wrapped:
    """`inner`, an adapter of `port`, with `around` around every call. Properties pass."""

    def __init__(self, inner: Any, port: type, around: Around) -> None:
        self._inner = inner
        self._port = port
        self._around = around

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._inner, name)
        if not callable(value):
            return value
        return lambda *args, **kwargs: self._around(self._port, name, lambda: value(*args, **kwargs))

    def __enter__(self) -> Self:
        self._inner.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._inner.__exit__(*exception)


class WrappedTrees(Wrapped):
    """File trees, whose volumes are wrapped as well."""

    def __init__(self, inner: Any, around: Around) -> None:
        super().__init__(inner, FileTrees, around)

    def open(self, path: str) -> Wrapped:
        tree = self._around(FileTrees, "open", lambda: self._inner.open(path))
        return Wrapped(tree, VolumeTree, self._around)


def methods(port: type) -> list[str]:
    """The methods of a port, as `Wrapped` sees them."""
    return sorted(name for name, value in vars(port).items() if callable(value) and not name.startswith("_"))
