"""A content limit that no tmpfs can have ends the start, and not every publish."""

import pytest

from sscsi.errors import ConfigError
from sscsi.node.config import parse
from tests.support.node_place import NodePlace
from tests.support.node_room import run_node

TIB = 1024**4


def test_a_content_limit_that_no_machine_has_is_2_and_one_line_that_names_the_flag(place: NodePlace) -> None:
    result = run_node(*place.flags(f"--content-limit={TIB + 1}"))
    assert (result.returncode, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("sscsi-node: flag --content-limit: ")


def test_one_tebibyte_is_the_most() -> None:
    assert parse([f"--content-limit={TIB}"], {}).content_limit_bytes == TIB
    for more in (TIB + 1, 2**63, 2**64):
        with pytest.raises(ConfigError, match="--content-limit") as refusal:
            parse([f"--content-limit={more}"], {})
        assert refusal.value.exit_code == 2
