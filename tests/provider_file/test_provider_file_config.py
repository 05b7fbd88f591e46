"""The command line of `sscsi-provider-file`."""

import pytest

from sscsi.errors import ConfigError
from sscsi.process.flags import HelpRequestedError
from sscsi.provider_file.config import parse


def test_defaults() -> None:
    config = parse(["--root=/secrets"], {})
    assert config.root == "/secrets"
    assert config.by_namespace
    assert config.max_response_bytes == 4194304
    assert config.stop_grace_seconds == 2.0
    assert config.socket_path == "/run/sscsi/providers/file.sock"
    assert config.key_path == "/run/sscsi/provider-file.key"


def test_variables_stand_in_for_flags() -> None:
    environ = {
        "SSCSI_FILE_PROVIDER_ROOT": "/secrets",
        "SSCSI_FILE_PROVIDER_BY_NAMESPACE": "false",
        "SSCSI_FILE_PROVIDER_MAX_RESPONSE_BYTES": "1000",
        "SSCSI_CLUSTER": "dir:/classes",
        "SSCSI_RUN_DIR": "/tmp/run",
    }
    config = parse([], environ)
    assert (config.root, config.by_namespace, config.max_response_bytes) == ("/secrets", False, 1000)
    assert config.providers_directory == "/tmp/run/providers"
    assert parse(["--by-namespace", "--root", "/other"], environ).by_namespace


@pytest.mark.parametrize(
    ("argv", "environ", "words"),
    [
        ([], {}, "--root: set it (or variable SSCSI_FILE_PROVIDER_ROOT)"),
        (["--root=relative"], {}, "--root: "),
        (["--root=/s", "--by-namespace=false"], {}, "--by-namespace=false needs --cluster=dir:PATH"),
        (["--root=/s"], {"SSCSI_FILE_PROVIDER_BY_NAMESPACE": "f"}, "--by-namespace=false needs"),
        (["--root=/s", "--by-namespace=0"], {"SSCSI_CLUSTER": "kubernetes"}, "--by-namespace=false needs"),
        (["--root=/s"], {"SSCSI_CLUSTER": "minikube"}, "--cluster (variable SSCSI_CLUSTER): must be"),
        (["--root=/s", "--by-namespace=false"], {"SSCSI_CLUSTER": "dir"}, "--cluster"),
        (["--root=/s", "--run-dir=run"], {}, "--run-dir"),
        (["--root=/s", "--max-response-bytes=0"], {}, "--max-response-bytes"),
        (["--root=/s", "--max-response-bytes=2147483648"], {}, "--max-response-bytes"),
        (["--root=/s", "--max-response-bytes=4Mi"], {}, "--max-response-bytes"),
        (["--root=/s", "--stop-grace=-1s"], {}, "--stop-grace"),
        (["--root=/s", "--rot"], {}, "--rot"),
    ],
)
def test_what_is_wrong_names_its_flag(argv: list[str], environ: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(argv, environ)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_help_lists_the_flags_with_their_variables() -> None:
    with pytest.raises(HelpRequestedError) as caught:
        parse(["--help"], {})
    for word in ("--root", "SSCSI_FILE_PROVIDER_ROOT", "--by-namespace=true", "--max-response-bytes=4194304"):
        assert word in str(caught.value)
