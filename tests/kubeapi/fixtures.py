"""The API server of the test run as fixtures."""

import os
from collections.abc import Iterator

import pytest

from tests.kubeapi.kube_api import KubeApi, running_kube_api
from tests.support.require import require


@pytest.fixture(scope="session")
def kube_api() -> Iterator[KubeApi]:
    """One API server for the whole run, started for the first test that wants it."""
    with running_kube_api(os.path.dirname(require("kube-apiserver"))) as made:
        yield made


@pytest.fixture
def namespace(kube_api: KubeApi) -> Iterator[str]:
    """A namespace for one test."""
    with kube_api.namespace() as name:
        yield name
