"""The command line of status-sync: flags over variables over defaults, bad values named with their cure."""

import pytest

from sidecars.statussync.config import parse
from sscsi.errors import ConfigError


def test_defaults_are_those_of_the_documentation() -> None:
    config = parse(["--cluster=dir:/classes"], {})
    assert config.cluster_directory == "/classes"
    assert config.run_directory == "/run/sscsi"
    assert config.node_socket_path == "/run/sscsi/node.sock"
    assert (config.node_id, config.stop_grace_seconds) == ("", 2.0)
    assert (config.log_as_json, config.log_verbosity) == (False, 0)


def test_variables_stand_in_for_flags_and_flags_win() -> None:
    environ = {"SSCSI_CLUSTER": "dir:/a", "SSCSI_RUN_DIR": "/run/b", "KUBE_NODE_NAME": "n"}
    config = parse([], environ)
    assert (config.cluster_directory, config.node_socket_path, config.node_id) == (
        "/a",
        "/run/b/node.sock",
        "n",
    )
    config = parse(["-cluster=dir:/c", "--run-dir", "/d", "-nodeid=m", "--stop-grace=1m"], environ)
    assert (config.cluster_directory, config.node_socket_path, config.node_id, config.stop_grace_seconds) == (
        "/c",
        "/d/node.sock",
        "m",
        60.0,
    )


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "flag --nodeid is required with --cluster=kubernetes"),
        (["--cluster=kubernetes"], "flag --nodeid is required with --cluster=kubernetes"),
        (["--nodeid=n", "--kube-api-qps=0"], "flag --kube-api-qps must be at least 1"),
        (["--nodeid=n", "--kube-api-burst=0"], "flag --kube-api-burst must be at least 1"),
        (["--nodeid=n", "--kube-watch-timeout=1s"], "flag --kube-watch-timeout must be between 10s and 24h"),
        (["--cluster=dir:"], "--cluster=dir: is neither kubernetes nor dir:PATH"),
        (["--cluster=/classes"], "--cluster=/classes is neither kubernetes nor dir:PATH"),
        (["--cluster=dir:/c", "--run-dir="], "flag --run-dir must not be empty"),
        (["--cluster=dir:/c", "--stop-grace=-1s"], "flag --stop-grace must not be negative"),
        (["--cluster=dir:/c", "--stop-grace=soon"], "flag --stop-grace: 'soon' is not a duration"),
        (["--cluster=dir:/c", "--no-such-flag"], "unknown flag --no-such-flag"),
    ],
)
def test_a_bad_command_line_ends_with_code_2_and_one_line(argv: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(argv, {})
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_the_default_is_kubernetes_with_the_credentials_of_the_pod() -> None:
    config = parse(["--nodeid=n"], {})
    assert (config.cluster_directory, config.kubeconfig) == ("", "")
    assert parse(["--nodeid=n"], {"KUBECONFIG": "/k"}).kubeconfig == "/k"
    assert parse(["--nodeid=n", "--kubeconfig=/f"], {"KUBECONFIG": "/k"}).kubeconfig == "/f"


@pytest.mark.parametrize(
    ("argv", "environ", "allowed"),
    [
        ([], {}, False),
        (["--allow-privileged-secret-types"], {}, True),
        ([], {"SSCSI_ALLOW_PRIVILEGED_SECRET_TYPES": "true"}, True),
        (["--allow-privileged-secret-types=false"], {"SSCSI_ALLOW_PRIVILEGED_SECRET_TYPES": "true"}, False),
    ],
)
def test_privileged_secret_types_are_refused_unless_allowed(
    argv: list[str], environ: dict[str, str], *, allowed: bool
) -> None:
    assert parse(["--cluster=dir:/c", *argv], environ).allow_privileged_types is allowed


@pytest.mark.parametrize(
    ("argv", "environ", "watched"),
    [
        ([], {}, True),
        (["--pod-annotations=false"], {}, False),
        ([], {"SSCSI_POD_ANNOTATIONS": "false"}, False),
        (["--pod-annotations"], {"SSCSI_POD_ANNOTATIONS": "false"}, True),
    ],
)
def test_pods_are_watched_for_annotations_unless_switched_off(
    argv: list[str], environ: dict[str, str], *, watched: bool
) -> None:
    assert parse(["--nodeid=n", *argv], environ).pod_annotations is watched
