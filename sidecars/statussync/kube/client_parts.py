"""The `kubernetes` package, as much of it as is needed.

Whatever is imported of it runs its `__init__`, which imports all of it: 18 MiB for typed objects, websockets, OAuth and
what they need. In a pod nothing is needed but its configuration, its credentials and its connections; these are imported
from packages that are empty shells. Outside, a kubeconfig file may ask for any of it. Tested from 31 to 37.
"""

import dataclasses
import importlib
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.machinery import PathFinder
from typing import Any

_NAME = "kubernetes"
_SHELLS = ("client", "config", "utils")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ClientParts:
    """What the package gives: its `Configuration`, how one is filled, with what errors, and its HTTP client."""

    new_configuration: Callable[[], Any]
    load: Callable[[Any], None]
    errors: type[Exception]
    new_rest_client: Callable[[Any], Any]


def in_cluster_parts() -> ClientParts:
    """The parts for who runs in a pod."""
    with _shells() as client:
        configuration = importlib.import_module(f"{_NAME}.client.configuration")
        # Where the other parts look for it.
        client.Configuration = configuration.Configuration  # type: ignore[attr-defined]
        rest = importlib.import_module(f"{_NAME}.client.rest")
        in_cluster = importlib.import_module(f"{_NAME}.config.incluster_config")
    return ClientParts(
        new_configuration=configuration.Configuration,
        load=in_cluster.load_incluster_config,
        errors=in_cluster.ConfigException,
        new_rest_client=rest.RESTClientObject,
    )


def kubeconfig_parts(paths: str) -> ClientParts:
    """The parts for who has a kubeconfig file, or several as KUBECONFIG has them."""
    # Imported here: it is all of the package.
    from kubernetes import client, config  # noqa: PLC0415

    return ClientParts(
        new_configuration=client.Configuration,
        load=lambda configuration: config.load_kube_config(paths, client_configuration=configuration),
        errors=config.ConfigException,
        new_rest_client=client.rest.RESTClientObject,
    )


@contextmanager
def _shells() -> Iterator[types.ModuleType]:
    """In here, the package and three of its own are empty; afterwards nobody finds any of it. Yields the second."""
    present = {name: module for name, module in sys.modules.items() if _is_of_it(name)}
    for name in present:
        del sys.modules[name]
    try:
        root = _shell(_NAME, None)
        for name in _SHELLS:
            _shell(f"{_NAME}.{name}", root.__path__)
        yield sys.modules[f"{_NAME}.client"]
    finally:
        for name in [name for name in sys.modules if _is_of_it(name)]:
            del sys.modules[name]
        sys.modules.update(present)


def _shell(name: str, path: Any) -> types.ModuleType:
    spec = PathFinder.find_spec(name, path)
    if spec is None or spec.submodule_search_locations is None:
        raise ModuleNotFoundError(f"there is no package {name}")
    module = types.ModuleType(name)
    module.__path__ = list(spec.submodule_search_locations)
    module.__spec__ = spec
    sys.modules[name] = module
    return module


def _is_of_it(name: str) -> bool:
    return name == _NAME or name.startswith(f"{_NAME}.")
