"""The file provider as the node room meets it: over its socket."""

import hashlib
import json
import logging
import os

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import sscsi
from sscsi.edges.rooted_files import open_by_walking
from sscsi.process.logs import JsonFormatter, TextFormatter
from tests.provider_file.file_place import FilePlace, served

CANARY = "hunter2-canary-hunter2"


def test_version_says_who_is_there(place: FilePlace) -> None:
    answer = place.version()
    assert (answer.version, answer.runtime_name, answer.runtime_version) == (
        "v1alpha1",
        "sscsi-provider-file",
        sscsi.__version__,
    )


def test_a_file_is_delivered_whole(place: FilePlace) -> None:
    content = bytes(range(256)) * 300
    place.write("app/db", content)
    answer = place.mount("- objectName: app/db")
    assert [(file.path, file.mode, file.contents) for file in answer.files] == [("app/db", 0o644, content)]
    assert [entry.id for entry in answer.object_version] == ["app/db"]
    assert answer.error.code == ""


def test_alias_and_mode_are_the_entrys(place: FilePlace) -> None:
    place.write("a")
    place.write("b")
    objects = '[{objectName: a, objectAlias: x/y, fileMode: "0400"}, {objectName: b, fileMode: 0440}]'
    assert place.modes(objects) == {"x/y": 0o400, "b": 0o440}
    assert set(place.versions(objects)) == {"a", "b"}


def test_the_requests_permission_is_the_default_mode(place: FilePlace) -> None:
    place.write("a")
    assert place.modes("- objectName: a", permission="256") == {"a": 0o400}


@pytest.mark.parametrize(
    "permission", ["", "null", "true", "512", "-1", '"420"', "4.2", "0644", "[" * 100_000]
)
def test_a_permission_that_is_no_mode_is_refused(place: FilePlace, permission: str) -> None:
    place.write("a")
    refusal = place.refusal("- objectName: a", permission=permission)
    assert refusal == "permission: must be a JSON number from 0 to 511"


def test_the_array_form_of_other_providers_is_understood(place: FilePlace) -> None:
    place.write("a", "1")
    assert place.contents("array:\n  - |\n    objectName: a\n    objectAlias: b\n") == {"b": b"1"}


def test_a_glob_delivers_each_file_that_matches(place: FilePlace) -> None:
    place.write("tls/a.pem", "1")
    place.write("tls/b.pem", "2")
    place.write("tls/sub/c.pem", "3")
    assert place.contents("- objectName: tls/*.pem") == {"tls/a.pem": b"1", "tls/b.pem": b"2"}
    assert place.contents("- {objectName: tls/**, objectAlias: certs/}") == {
        "certs/a.pem": b"1",
        "certs/b.pem": b"2",
        "certs/sub/c.pem": b"3",
    }
    assert place.contents("- {objectName: tls/a*, objectAlias: one}") == {"one": b"1"}


def test_one_alias_for_many_matches_is_refused(place: FilePlace) -> None:
    place.write("a.pem")
    place.write("b.pem")
    refusal = place.refusal("- {objectName: '*.pem', objectAlias: one}")
    assert refusal == (
        "objects[0]: '*.pem' matches 2 objects, and one objectAlias is one file; end it with / to make it a directory"
    )


def test_a_glob_without_a_match_is_named(place: FilePlace) -> None:
    place.write("a.key")
    assert place.refusal("[{objectName: a.key}, {objectName: '*.pem'}]") == (
        f"objects[1]: nothing below '{place.files}' matches '*.pem'"
    )


def test_a_json_document_is_exploded(place: FilePlace) -> None:
    place.write("db.json", '{"host": "h", "port": 5432, "login": {"user": "u"}}')
    assert place.contents('- {objectName: db.json, jsonKeys: "*"}') == {
        "host": b"h",
        "port": b"5432",
        "login": b'{"user":"u"}',
    }
    objects = """
    - objectName: db.json
      objectAlias: db
      fileMode: 0440
      jsonKeys: [host, {key: port, objectAlias: the/port, fileMode: 0400}]
    """
    assert place.contents(objects) == {"db/host": b"h", "db/the/port": b"5432"}
    assert place.modes(objects) == {"db/host": 0o440, "db/the/port": 0o400}
    assert set(place.versions(objects)) == {"db.json#host", "db.json#port"}


def test_a_glob_of_json_documents_has_a_directory_for_each(place: FilePlace) -> None:
    place.write("db/one.json", '{"host": "1"}')
    place.write("db/two.json", '{"host": "2"}')
    assert place.contents("- {objectName: 'db/*', objectAlias: all/, jsonKeys: [host]}") == {
        "all/one.json/host": b"1",
        "all/two.json/host": b"2",
    }


def test_the_same_object_twice_has_one_version(place: FilePlace) -> None:
    place.write("a.json", '{"k": "v"}')
    objects = """
    - {objectName: a.json}
    - {objectName: a.json, objectAlias: again}
    - {objectName: a.json, jsonKeys: [k]}
    - {objectName: a.json, jsonKeys: [k], objectAlias: more}
    """
    assert set(place.contents(objects)) == {"a.json", "again", "k", "more/k"}
    assert set(place.versions(objects)) == {"a.json", "a.json#k"}


def test_two_objects_of_one_id_are_refused(place: FilePlace) -> None:
    place.write("a", '{"b": "1"}')
    place.write("a#b", "2")
    refusal = place.refusal("[{objectName: a, jsonKeys: [b]}, {objectName: 'a#b'}]")
    assert refusal == (
        "objects[1]: a file and a key of a JSON document are both called 'a#b'; deliver one of them"
    )


@pytest.mark.parametrize(
    ("objects", "words"),
    [
        (
            "[{objectName: a}, {objectName: b, objectAlias: a}]",
            "objects[1]: path 'a' is what objects[0] delivers",
        ),
        ("[{objectName: a}, {objectName: '?'}]", "objects[1]: path 'a' is what objects[0] delivers"),
        (
            "[{objectName: b, objectAlias: x/y/z}, {objectName: a, objectAlias: x}]",
            "objects[0]: path 'x/y/z' needs a directory where objects[1] puts a file",
        ),
        ("[{objectName: c.json, jsonKeys: [k, {key: l, objectAlias: k}]}]", "objects[0]: path 'k' is what"),
    ],
)
def test_two_things_in_one_place_are_refused(place: FilePlace, objects: str, words: str) -> None:
    place.write("a")
    place.write("b")
    place.write("c.json", '{"k": 1, "l": 2}')
    refusal = place.refusal(objects)
    assert refusal.startswith(words)
    assert refusal.endswith("set another objectAlias")


def test_a_missing_object_is_named_with_its_entry(place: FilePlace) -> None:
    place.write("a")
    refusal = place.refusal("[{objectName: a}, {objectName: app/db}]")
    assert refusal == f"objects[1]: there is no file 'app/db' below '{place.files}'"


def test_bad_yaml_says_where(place: FilePlace) -> None:
    assert place.refusal("- objectName: a\n  objectAlias: [").startswith("objects: line 3, column 1: ")


@pytest.mark.parametrize("objects", ["", "  \n"])
def test_no_objects_parameter_is_said_so(place: FilePlace, objects: str) -> None:
    assert place.refusal(objects).startswith("objects is not set: spec.parameters.objects of the")


@pytest.mark.parametrize("attributes", ["", "null", "[]", "{", "[" * 100_000, '{"objects": 1}'])
def test_attributes_that_are_no_object_are_refused(place: FilePlace, attributes: str) -> None:
    assert place.refusal("", attributes=attributes).startswith("attributes: ")


def test_wrong_requests_and_missing_objects_have_different_codes(place: FilePlace) -> None:
    calls = [place.outcome(objects)[1] for objects in ("{", "- objectName: none")]
    codes = [call.code() for call in calls if call is not None]
    assert codes == [grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNKNOWN]


def test_too_much_is_refused_with_both_flags() -> None:
    with served(max_response_bytes=1000) as place:
        place.write("a", b"x" * 600)
        place.write("b", b"x" * 401)
        place.write("c", b"x" * 1001)
        place.write("d", b"x" * 400)
        assert len(place.contents("- objectName: a")["a"]) == 600
        limit = (
            "the limit is --max-response-bytes=1000: deliver less, or raise it together with the node's "
            "--max-call-recv-msg-size"
        )
        assert place.refusal("- objectName: c") == f"objects[0]: 'c' has 1001 bytes; {limit}"
        assert place.refusal("[{objectName: a}, {objectName: b}]") == (
            f"objects[1]: 'b' has 401 bytes, after 600 bytes of other files; {limit}"
        )
        # 1000 bytes of content, and their paths and versions besides.
        assert place.refusal("[{objectName: a}, {objectName: d}]").startswith("the answer would have 1")
        assert place.refusal("[{objectName: a}, {objectName: a, objectAlias: b}]") == (
            f"objects[1]: the answer would have 1200 bytes or more; {limit}"
        )


def test_a_document_that_unfolds_to_too_many_files_is_refused(place: FilePlace) -> None:
    place.write("many.json", json.dumps({f"k{number}": 1 for number in range(9000)}))
    assert "over 8192 files" in place.refusal('- {objectName: many.json, jsonKeys: "*"}')


@pytest.mark.parametrize(
    "namespace", ["", ".", "..", "team-b/../team-a", "Team", "-a", "a" * 64, "a.b", "team-a\n"]
)
def test_a_namespace_that_is_none_is_refused(place: FilePlace, namespace: str) -> None:
    place.write("a")
    refusal = place.refusal("- objectName: a", namespace=namespace)
    assert refusal.startswith("attributes: csi.storage.k8s.io/pod.namespace must be the pod's namespace")


def test_no_namespace_reads_anothers(place: FilePlace) -> None:
    place.write("mine", "a")
    (place.root / "team-b").mkdir()
    (place.root / "team-b" / "theirs").write_text(CANARY)
    (place.files / "link").symlink_to("../team-b/theirs")
    (place.files / "directory").symlink_to("../team-b")
    (place.root / "team-c").symlink_to("team-b")
    assert place.contents("- objectName: theirs", namespace="team-b") == {"theirs": CANARY.encode()}
    for name in ("theirs", "link", "directory/theirs", "team-b/theirs", "**/theirs", "../team-b/theirs"):
        assert CANARY not in place.refusal(f"- objectName: '{name}'")
    assert "may not be followed" in place.refusal("- objectName: theirs", namespace="team-c")


def test_a_namespace_without_a_directory_is_told_where_it_would_be(place: FilePlace) -> None:
    assert place.refusal("- objectName: a", namespace="team-x") == (
        f"there is no directory 'team-x' below '{place.root}'; "
        "the objects of a namespace's pods are in the directory of its name"
    )


def test_without_namespaces_the_root_itself_is_served() -> None:
    with served(by_namespace=False) as place:
        (place.root / "a").write_text("1")
        assert place.contents("- objectName: a", namespace="") == {"a": b"1"}


def test_a_root_that_comes_late_is_found() -> None:
    with served(by_namespace=False) as place:
        place.files.rmdir()
        place.root.rmdir()
        assert place.refusal("- objectName: a") == f"cannot open directory '{place.root}': ENOENT"
        place.root.mkdir()
        (place.root / "a").write_text("1")
        assert place.contents("- objectName: a") == {"a": b"1"}


def test_a_projected_volume_of_kubernetes_can_be_served(place: FilePlace) -> None:
    place.write("..2024_01_01_00_00_00.1/password", "p")
    (place.files / "..data").symlink_to("..2024_01_01_00_00_00.1")
    (place.files / "password").symlink_to("..data/password")
    assert place.contents("- objectName: '*'") == {"password": b"p"}
    with served(opener=open_by_walking) as walked:
        walked.write("real", "p")
        (walked.files / "password").symlink_to("real")
        assert "symbolic link that may not be followed" in walked.refusal("- objectName: password")


def test_a_fifo_is_refused_at_once(place: FilePlace) -> None:
    os.mkfifo(place.files / "fifo")
    assert "is not a regular file" in place.refusal("- objectName: fifo")


def test_a_name_that_is_not_text_is_named_and_refused(place: FilePlace) -> None:
    with open(os.fsencode(place.files) + b"/\xff.pem", "wb"):
        pass
    assert place.refusal("- objectName: '*'") == (
        r"objects[0]: the file name '\udcff.pem' is not UTF-8; rename it, or name its neighbours one by one"
    )


@pytest.mark.parametrize("key", ["", "..", "../x", "/x", "a//b", "a\0b", "x" * 300, "\ud800"])
def test_a_key_that_is_no_file_name_is_counted_and_not_shown(place: FilePlace, key: str) -> None:
    place.write("a.json", json.dumps({"good": 1, key: 2}))
    assert place.refusal('- {objectName: a.json, jsonKeys: "*"}') == (
        "objects[0]: 'a.json': key number 2 can't be a file name; "
        "name the keys in jsonKeys, this one with an objectAlias"
    )


def test_versions_change_with_the_content_and_stay_without(place: FilePlace) -> None:
    place.write("a.json", '{"k": "1", "l": "1"}')
    place.write("b", "1")
    objects = "[{objectName: a.json, jsonKeys: [k, l]}, {objectName: b}]"
    first = place.versions(objects)
    assert place.versions(objects) == first
    assert len(set(first.values())) == 3, "equal contents must not show"
    place.write("a.json", '{"k": "2", "l": "1"}')
    second = place.versions(objects)
    assert {name for name in first if first[name] != second[name]} == {"a.json#k"}
    place.write("a.json", '{"l": "1",   "k": "1"}')
    assert place.versions(objects) == first


def test_a_version_is_no_plain_hash(place: FilePlace) -> None:
    place.write("pin", "1234")
    (version,) = place.versions("- objectName: pin").values()
    for algorithm in ("md5", "sha1", "sha256", "sha512"):
        assert version not in hashlib.new(algorithm, b"1234").hexdigest()


def test_the_room_says_how_it_is(place: FilePlace) -> None:
    place.write("a")
    place.mount("- objectName: a")
    place.refusal("- objectName: none")
    status = place.status()
    assert (status.room, status.version, status.pid) == ("provider-file", sscsi.__version__, os.getpid())
    assert status.state == "serving"
    assert dict(status.facts) == {"mounts": "2", "failed_mounts": "1"}


def test_no_content_and_no_token_is_in_any_log_or_error(
    place: FilePlace, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    place.write("good", CANARY)
    place.write("bad.json", f'{{"k": "{CANARY}", }}')
    place.write("odd.json", json.dumps({"k": CANARY, "../x": CANARY}))
    place.write("list.json", json.dumps([CANARY]))
    place.write("half.json", f'{{"k": "{CANARY}\\ud800"}}')
    place.write("text.json", CANARY)
    place.write("big", CANARY * 300_000)
    tokens = json.dumps({"aud": {"token": CANARY}})
    assert place.contents("- objectName: good", tokens=tokens) == {"good": CANARY.encode()}
    refusals = [
        place.refusal(objects, tokens=tokens)
        for objects in (
            "- {objectName: bad.json, jsonKeys: [k]}",
            "- {objectName: bad.json, jsonKeys: '*'}",
            "- {objectName: odd.json, jsonKeys: '*'}",
            "- {objectName: odd.json, jsonKeys: [none]}",
            "- {objectName: list.json, jsonKeys: '*'}",
            "- {objectName: half.json, jsonKeys: '*'}",
            "- {objectName: text.json, jsonKeys: '*'}",
            "- {objectName: big}",
            "- {objectName: good, objectAlias: ../x}",
            "- {objectName: good, fileMode: " + CANARY + "}",
            "- {objectName: good}: " + CANARY,
        )
    ]
    refusals += [
        place.refusal("- objectName: good", tokens=tokens, permission=CANARY),
        place.refusal("", attributes=f'{{"objects": "{CANARY}'),
        place.refusal("", attributes=json.dumps({"objects": "- objectName: good", "x": CANARY})),
    ]
    formatted = [
        formatter.format(record)
        for record in caplog.records
        for formatter in (TextFormatter("provider-file"), JsonFormatter("provider-file"))
    ]
    assert any("Mount failed" in line for line in formatted)
    assert not [line for line in [*formatted, *refusals] if CANARY in line]
    assert not [refusal for refusal in refusals if "internal error" in refusal]


PARTS = st.sampled_from(
    [
        "..",
        ".",
        "",
        "a",
        "out",
        "out-file",
        "in",
        "*",
        "**",
        "?",
        "[!x]*",
        "..*",
        ".*",
        "team-b",
        "secret",
        "etc",
    ]
)
NAMES = st.lists(PARTS, min_size=1, max_size=6).map("/".join)


@given(name=NAMES, alias=st.sampled_from(["", "x", "x/", "../x", "/x"]), keys=st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=200)
def test_no_object_name_leaves_the_namespace(escapes: FilePlace, name: str, alias: str, keys: bool) -> None:
    entry = {"objectName": name, "objectAlias": alias, **({"jsonKeys": "*"} if keys else {})}
    answer, failed = escapes.outcome(json.dumps([entry]))
    if failed is not None:
        assert CANARY not in (failed.details() or "")
        assert failed.code() in {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNKNOWN}
        return
    assert answer.files
    for file in answer.files:
        assert CANARY.encode() not in file.contents
        assert not file.path.startswith(("/", ".."))
        assert ".." not in file.path.split("/")


@pytest.fixture
def escapes(place: FilePlace) -> FilePlace:
    """Links that lead to other namespaces and out of the root, and files that may be delivered."""
    outside = place.root.parent / "outside"
    outside.mkdir()
    for directory in (outside, place.root / "team-b", place.root):
        directory.mkdir(exist_ok=True)
        (directory / "secret").write_text(json.dumps({"k": CANARY}))
    place.write("a/secret", '{"k": "fine"}')
    place.write("b", '{"k": "fine"}')
    (place.files / "out").symlink_to("../../outside")
    (place.files / "out-file").symlink_to("../team-b/secret")
    (place.files / "in").symlink_to("a")
    return place
