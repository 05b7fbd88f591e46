"""The API server of the test run as fixtures."""

import os
from collections.abc import Iterator

import pytest

from tests.kubeapi import manifests
from tests.kubeapi.kube_api import SERVICE_ACCOUNT, KubeApi, running_kube_api
from tests.support.require import require
from tests.support.waiting import wait_until


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


@pytest.fixture
def syncing(kube_api: KubeApi) -> Iterator[None]:
    """The driver may write Secrets."""
    with kube_api.applied(manifests.RBAC_SYNCING):
        token = kube_api.token(SERVICE_ACCOUNT)
        wait_until(lambda: kube_api.may(token, "create", "secrets"), "the role counts")
        yield
