import dataclasses
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sscsi.core.volume_record import FORMAT_VERSION, ContentFile, VolumeRecord, decode, encode, record_name

RECORD = VolumeRecord(
    boot_id="0b1c2d3e-0000-4000-8000-000000000001",
    device=77,
    volume_id="csi-1",
    target_path="/var/lib/kubelet/pods/u/volumes/kubernetes.io~csi/v/mount",
    pod_name="web-0",
    pod_namespace="shop",
    pod_uid="u",
    service_account="default",
    class_name="web",
    class_uid="c",
    class_generation=3,
    provider="file",
    data_directory="..2026_11_24_01_02_03.123456789",
    files=(ContentFile(path="tls/key", size=12, inode=9),),
    object_versions=(("tls/key", "sha256:1"),),
    adopted=False,
    attempt_time=1.5,
    success_time=1.25,
    success_boottime=0.5,
    last_error="",
)

TEXTS = st.text(max_size=20)
NAMES = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=9
).filter(lambda name: name not in {".", ".."})
PATHS = st.lists(NAMES, min_size=1, max_size=4).map(lambda names: "/" + "/".join(names))
INTEGERS = st.integers(min_value=0, max_value=2**64 - 1)
SECONDS = st.floats(min_value=0, allow_nan=False, allow_infinity=False)
RECORDS = st.builds(
    VolumeRecord,
    boot_id=TEXTS,
    device=INTEGERS,
    volume_id=TEXTS,
    target_path=PATHS,
    pod_name=TEXTS,
    pod_namespace=TEXTS,
    pod_uid=TEXTS,
    service_account=TEXTS,
    class_name=TEXTS,
    class_uid=TEXTS,
    class_generation=INTEGERS,
    provider=TEXTS,
    data_directory=TEXTS,
    files=st.lists(st.builds(ContentFile, path=TEXTS, size=INTEGERS, inode=INTEGERS), max_size=3).map(tuple),
    object_versions=st.lists(st.tuples(TEXTS, TEXTS), max_size=3).map(tuple),
    adopted=st.booleans(),
    attempt_time=SECONDS,
    success_time=SECONDS,
    success_boottime=SECONDS,
    last_error=TEXTS,
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3)
    ),
    max_leaves=5,
)


def changed(**fields: object) -> bytes:
    return json.dumps({**json.loads(encode(RECORD)), **fields}).encode()


@given(RECORDS)
def test_a_record_reads_back_as_it_was(record: VolumeRecord) -> None:
    assert decode(encode(record)) == record


def test_a_record_of_the_first_release_is_read() -> None:
    """Upgrading leaves no volume to be adopted."""
    added: dict[str, Any] = {
        "class_ask": "",
        "class_interval": "",
        "expiry_time": 0.0,
        "failing_since": 0.0,
        "failure_reason": "",
        "pod_ask": "",
        "renew_time": 0.0,
    }
    document = json.loads(changed(version=1))
    for name in added:
        del document[name]
    assert decode(json.dumps(document).encode()) == dataclasses.replace(RECORD, **added)
    assert decode(json.dumps({**document, "version": FORMAT_VERSION}).encode()) is None


@given(RECORDS)
def test_equal_records_are_equal_bytes_of_one_line(record: VolumeRecord) -> None:
    assert encode(record) == encode(dataclasses.replace(record))
    assert encode(record).count(b"\n") == 1


def test_a_path_that_is_no_text_reads_back() -> None:
    record = dataclasses.replace(RECORD, target_path=b"/a/\xff".decode(errors="surrogateescape"))
    assert decode(encode(record)) == record


@pytest.mark.parametrize("path", ["", "relative", "/", "/a/../b", "/a\0b", "//a", "/\ud800"])
def test_a_record_of_a_path_that_nobody_could_publish_is_none(path: str) -> None:
    assert decode(encode(dataclasses.replace(RECORD, target_path=path))) is None


@given(st.integers(min_value=0, max_value=len(encode(RECORD)) - 2))
def test_half_a_record_is_no_record(length: int) -> None:
    assert decode(encode(RECORD)[:length]) is None


@given(st.binary(max_size=50) | JSON.map(lambda value: json.dumps(value).encode()))
def test_what_is_no_record_is_none_and_no_exception(data: bytes) -> None:
    assert decode(data) is None


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(VolumeRecord)])
@pytest.mark.parametrize("value", [None, [[1, 2]], {"x": 1}, [["a"]], [{"path": "a"}]])
def test_a_field_of_another_type_makes_it_no_record(field: str, value: object) -> None:
    assert decode(changed(**{field: value})) is None


@given(st.sampled_from([field.name for field in dataclasses.fields(VolumeRecord)]), JSON)
def test_whatever_a_field_holds_it_is_a_good_record_or_none(field: str, value: object) -> None:
    record = decode(changed(**{field: value}))
    assert record is None or decode(encode(record)) is not None


@pytest.mark.parametrize(
    "data",
    [
        changed(version=FORMAT_VERSION + 1),
        changed(version=None),
        changed(surprise="x"),
        changed(device=True),
        changed(adopted=1),
        changed(attempt_time=True),
        changed(class_generation=1.0),
        changed(object_versions=["ab"]),
        changed(object_versions=[["a", 1]]),
        changed(object_versions=[["a", "b", "c"]]),
        changed(files=[{"path": "a", "size": 1, "inode": "2"}]),
        changed(files=[{"path": "a", "size": True, "inode": 2}]),
        changed(files=[{"path": 1, "size": 1, "inode": 2}]),
        json.dumps(list(json.loads(encode(RECORD)))).encode(),
        b"[" * 100_000,
        b"\xff",
        b"",
    ],
)
def test_a_wrong_document_is_no_record(data: bytes) -> None:
    assert decode(data) is None


def test_a_missing_field_makes_it_no_record() -> None:
    document = json.loads(encode(RECORD))
    for field in dataclasses.fields(VolumeRecord):
        assert decode(json.dumps({**document, field.name: None}).encode()) is None
        assert decode(json.dumps({k: v for k, v in document.items() if k != field.name}).encode()) is None


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_every_target_path_has_a_file_name_of_its_own_hash(target_path: str) -> None:
    assert re.fullmatch(r"[0-9a-f]{64}\.json", record_name(target_path))


def test_the_file_name_is_the_sha256_of_the_path() -> None:
    assert record_name("/t") == "599c83a04aedc485a8e62fcd01981dde38ee48b08c0898cfe57544786e0ab488.json"
