"""Which credentials come before which."""

import os

import pytest

from sidecars.statussync.config import parse
from sidecars.statussync.credentials import kubeconfig_paths
from sscsi.errors import ConfigError

IN_POD = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}


class Home:
    """A home directory with a kubeconfig, and another file beside it."""

    def __init__(self, path: str) -> None:
        self.environ = {"HOME": path}
        self.config = os.path.join(path, ".kube", "config")
        self.other = os.path.join(path, "other")
        os.mkdir(os.path.join(path, ".kube"))
        for file in (self.config, self.other):
            os.close(os.open(file, os.O_CREAT))


@pytest.fixture
def home(tmp_path: os.PathLike[str]) -> Home:
    return Home(os.fspath(tmp_path))


def test_the_flag_goes_before_the_variable(home: Home) -> None:
    argv = ["--kubeconfig", "/flag", "--nodeid", "n"]
    assert parse(argv, {"KUBECONFIG": "/variable"}).kubeconfig == "/flag"
    assert parse(argv[2:], {"KUBECONFIG": "/variable"}).kubeconfig == "/variable"


def test_what_is_given_goes_before_the_pods_and_the_pods_before_the_users_own(home: Home) -> None:
    assert kubeconfig_paths(home.other, {**home.environ, **IN_POD}) == home.other
    assert kubeconfig_paths("", {**home.environ, **IN_POD}) == ""
    assert kubeconfig_paths("", home.environ) == home.config


def test_one_of_several_files_is_enough(home: Home) -> None:
    paths = os.pathsep.join(["/nonexistent", home.other, ""])
    assert kubeconfig_paths(paths, {}) == paths


@pytest.mark.parametrize("given", ["/nonexistent", "/nonexistent:/nor/this", ":"])
def test_a_file_that_is_given_and_not_there_is_an_error_even_in_a_pod(home: Home, given: str) -> None:
    with pytest.raises(ConfigError, match="--kubeconfig, KUBECONFIG") as caught:
        kubeconfig_paths(given, {**home.environ, **IN_POD})
    assert caught.value.exit_code == 1


@pytest.mark.parametrize(
    "environ", [{}, {"HOME": ""}, {"HOME": "/nonexistent"}, {"KUBERNETES_SERVICE_HOST": ""}]
)
def test_nothing_at_all_is_an_error_that_says_what_to_do(environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="--cluster=dir:PATH") as caught:
        kubeconfig_paths("", environ)
    assert caught.value.exit_code == 1
