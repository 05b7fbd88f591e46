"""What the tests of the file provider share: a served place."""

from collections.abc import Iterator

import pytest

from tests.provider_file.file_place import FilePlace, served


@pytest.fixture
def place() -> Iterator[FilePlace]:
    with served() as place:
        yield place
