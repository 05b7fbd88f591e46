"""One answer shows one state of each object."""

from sscsi.core.object_spec import parse_objects
from sscsi.edges.rooted_files import RootedFiles, open_by_walking
from sscsi.provider_file.delivery import Delivery


class _Changing(RootedFiles):
    """Every file has another content each time that it is read."""

    def __init__(self) -> None:
        super().__init__("/root", -1, open_by_walking)
        self.reads = 0

    def read(self, name: str, max_bytes: int) -> bytes:
        self.reads += 1
        return b'{"k": "state %d"}' % self.reads


def test_an_object_asked_for_twice_has_the_content_of_its_version() -> None:
    delivery = Delivery(
        _Changing(), lambda _id, content: content.decode(), default_mode=0o644, max_bytes=1 << 20
    )
    for spec in parse_objects(
        [
            {"objectName": "a"},
            {"objectName": "a", "objectAlias": "again"},
            {"objectName": "a", "jsonKeys": ["k"]},
            {"objectName": "a", "jsonKeys": "*", "objectAlias": "more"},
        ]
    ):
        delivery.add(spec)
    answer = delivery.answer()
    assert {file.path: file.contents for file in answer.files} == {
        "a": b'{"k": "state 1"}',
        "again": b'{"k": "state 1"}',
        "k": b"state 2",
        "more/k": b"state 2",
    }
    assert [(entry.id, entry.version) for entry in answer.object_version] == [
        ("a", '{"k": "state 1"}'),
        ("a#k", "state 2"),
    ]
