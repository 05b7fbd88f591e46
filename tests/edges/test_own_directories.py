"""The appliance's own directories: made, made private, or refused."""

import os
import pathlib
import stat
from collections.abc import Callable

import pytest

from sscsi.edges.run_directory import make_private_directory, make_run_directory
from sscsi.errors import ConfigError
from tests.support.require import require

SETTING = "--state-dir"
NOBODY = 65534


def make_private(path: str) -> None:
    make_private_directory(path, SETTING)


MAKERS = [
    pytest.param(make_run_directory, 0o750, "--run-dir, SSCSI_RUN_DIR", id="run"),
    pytest.param(make_private, 0o700, SETTING, id="private"),
]


def mode_of(path: str) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


@pytest.mark.parametrize(("make", "mode", "setting"), MAKERS)
class TestDirectory:
    def test_it_is_made_with_its_parents(
        self, tmp_path: pathlib.Path, make: Callable[[str], None], mode: int, setting: str
    ) -> None:
        path = f"{tmp_path}/deep/er"
        make(path)
        assert mode_of(path) == mode

    @pytest.mark.parametrize("theirs", [0o777, 0o1777, 0o775, 0o722])
    def test_one_that_others_may_write_to_is_made_private(
        self, tmp_path: pathlib.Path, make: Callable[[str], None], mode: int, setting: str, theirs: int
    ) -> None:
        path = f"{tmp_path}/given"
        os.mkdir(path)
        os.chmod(path, theirs)
        make(path)
        assert mode_of(path) == mode

    @pytest.mark.parametrize("theirs", [0o700, 0o755, 0o750])
    def test_one_that_only_we_write_to_is_left_as_the_operator_made_it(
        self, tmp_path: pathlib.Path, make: Callable[[str], None], mode: int, setting: str, theirs: int
    ) -> None:
        path = f"{tmp_path}/given"
        os.mkdir(path, theirs)
        os.chmod(path, theirs)
        make(path)
        assert mode_of(path) == theirs

    def test_somebody_elses_is_refused_with_its_owner_and_the_setting(
        self, tmp_path: pathlib.Path, make: Callable[[str], None], mode: int, setting: str
    ) -> None:
        require("root")
        path = f"{tmp_path}/given"
        os.mkdir(path)
        os.chmod(path, 0o777)
        os.chown(path, NOBODY, NOBODY)
        with pytest.raises(ConfigError) as refusal:
            make(path)
        assert refusal.value.exit_code == 1
        assert f"{path!r} belongs to user {NOBODY}" in str(refusal.value)
        assert setting in str(refusal.value)
        assert mode_of(path) == 0o777, "it is not ours to change"
