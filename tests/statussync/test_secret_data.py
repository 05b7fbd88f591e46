"""A Secret is made from files by upstream's rules, or it is said which field is wrong; never with content."""

import base64
import dataclasses
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sscsi.core.provider_class import SecretObject, SecretObjectData, SecretProviderClass
from sscsi.core.secret_data import MAX_SECRET_BYTES, build_secret, check_secret_object, object_names
from sscsi.core.secret_types import PRIVILEGED
from sscsi.core.tls_file import TLS_KEYS
from sscsi.errors import SecretDataError
from tests.statussync.making import RULES, make_class, make_secret_object

CANARY = b"CANARY-9f1c"
OWNER = {"apiVersion": "a/v1", "kind": "K", "name": "n", "uid": "u"}


def pem(label: str, body: bytes = CANARY) -> bytes:
    return f"-----BEGIN {label}-----\n{base64.encodebytes(body).decode()}-----END {label}-----\n".encode()


def decoded(manifest: dict[str, object]) -> dict[str, bytes]:
    data = manifest["data"]
    assert isinstance(data, dict)
    return {key: base64.b64decode(value, validate=True) for key, value in data.items()}


def test_a_secret_has_data_type_labels_annotations_and_owners() -> None:
    entry = dataclasses.replace(
        make_secret_object("db", "Opaque", password="p", user="dir/u"),
        labels={"app": "web", "secrets-store.csi.k8s.io/managed": "false"},
        annotations={"note": "x"},
    )
    manifest = build_secret(make_class(entry), 0, {"p": b"\x00\xff", "dir/u": b"me"}, [OWNER], RULES)
    assert manifest == {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": "db",
            "namespace": "default",
            "labels": {"app": "web", "secrets-store.csi.k8s.io/managed": "true"},
            "annotations": {"note": "x", "secrets-store.csi.k8s.io/secretproviderclass": "app"},
            "ownerReferences": [OWNER],
        },
        "type": "Opaque",
        "data": {"password": "AP8=", "user": "bWU="},
    }


def test_blanks_around_names_keys_and_type_are_dropped() -> None:
    entry = make_secret_object(" db\n", " Opaque ", **{" k ": " p "})
    manifest = build_secret(make_class(entry), 0, {"p": b"x"}, [], RULES)
    assert manifest["metadata"] == {
        "name": "db",
        "namespace": "default",
        "labels": {"secrets-store.csi.k8s.io/managed": "true"},
        "annotations": {"secrets-store.csi.k8s.io/secretproviderclass": "app"},
        "ownerReferences": [],
    }
    assert (manifest["type"], manifest["data"]) == ("Opaque", {"k": "eA=="})


def test_a_type_of_blanks_is_opaque() -> None:
    assert (
        build_secret(make_class(make_secret_object("db", "  ", k="p")), 0, {"p": b""}, [], RULES)["type"]
        == "Opaque"
    )


def test_a_key_given_twice_has_the_last_file() -> None:
    data = (SecretObjectData(object_name="a", key="k"), SecretObjectData(object_name="b", key="k"))
    entry = dataclasses.replace(make_secret_object(), data=data)
    assert object_names(make_class(entry), 0) == ["a", "b"]
    assert decoded(build_secret(make_class(entry), 0, {"a": b"1", "b": b"2"}, [], RULES)) == {"k": b"2"}


def test_owners_are_each_there_once_and_in_one_order() -> None:
    other = {**OWNER, "uid": "v"}
    one = build_secret(make_class(make_secret_object(k="p")), 0, {"p": b""}, [other, OWNER, other], RULES)
    two = build_secret(make_class(make_secret_object(k="p")), 0, {"p": b""}, [OWNER, other], RULES)
    assert one == two


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (make_secret_object("", k="p"), "spec.secretObjects[0].secretName: secret name is empty"),
        (make_secret_object(" ", k="p"), "spec.secretObjects[0].secretName: secret name is empty"),
        (make_secret_object("My_Secret", k="p"), "spec.secretObjects[0].secretName: 'My_Secret' can't name"),
        (make_secret_object("../x", k="p"), "spec.secretObjects[0].secretName: '../x' can't name"),
        (make_secret_object("db", "", k="p"), "spec.secretObjects[0].type: secret type is empty"),
        (
            make_secret_object("db", "Opaque", k=" "),
            "spec.secretObjects[0].data[0].objectName: object name in secretObjects.data is empty",
        ),
        (
            make_secret_object("db", "Opaque", **{"": "p"}),
            "spec.secretObjects[0].data[0].key: key in secretObjects.data is empty",
        ),
        (
            make_secret_object("db", "Opaque", a="p", **{"b/c": "p"}),
            "spec.secretObjects[0].data[1].key: 'b/c' can't be a key",
        ),
        (
            make_secret_object("db", "kubernetes.io/service-account-token", token="p"),
            "spec.secretObjects[0].type: kubernetes.io/service-account-token is refused",
        ),
        (
            make_secret_object("db", " bootstrap.kubernetes.io/token", token="p"),
            "spec.secretObjects[0].type: bootstrap.kubernetes.io/token is refused",
        ),
        (
            make_secret_object("db", "kubernetes.io/tls", **{"tls.pem": "p"}),
            "spec.secretObjects[0].data[0].key: key 'tls.pem' is not supported",
        ),
        (
            make_secret_object("db", "kubernetes.io/tls", **{"tls.crt": "p"}),
            "spec.secretObjects[0].data: a Secret of type kubernetes.io/tls needs key tls.key",
        ),
        (
            make_secret_object("db", "kubernetes.io/dockerconfigjson", k="p"),
            "spec.secretObjects[0].data: a Secret of type kubernetes.io/dockerconfigjson needs key .dockerconfigjson",
        ),
        (
            make_secret_object("db", "kubernetes.io/basic-auth", k="p"),
            "spec.secretObjects[0].data: a Secret of type kubernetes.io/basic-auth needs key username or password",
        ),
    ],
)
def test_a_wrong_entry_is_named_by_class_and_field(entry: SecretObject, message: str) -> None:
    for attempt in (
        lambda: check_secret_object(make_class(entry), 0, RULES),
        lambda: build_secret(make_class(entry), 0, {"p": b""}, [], RULES),
    ):
        with pytest.raises(SecretDataError) as caught:
            attempt()
        assert str(caught.value).startswith(f"SecretProviderClass default/app: {message}")


@pytest.mark.parametrize(
    ("secret_type", "key"),
    [
        ("kubernetes.io/dockerconfigjson", ".dockerconfigjson"),
        ("kubernetes.io/dockercfg", ".dockercfg"),
        ("kubernetes.io/basic-auth", "password"),
        ("kubernetes.io/ssh-auth", "ssh-privatekey"),
        ("example.com/own", "anything"),
    ],
)
def test_every_other_type_takes_files_as_they_are(secret_type: str, key: str) -> None:
    entry = make_secret_object("db", secret_type, **{key: "p"})
    manifest = build_secret(make_class(entry), 0, {"p": CANARY}, [], RULES)
    assert (manifest["type"], decoded(manifest)) == (secret_type, {key: CANARY})


def test_a_missing_file_is_an_error_with_upstreams_words() -> None:
    with pytest.raises(SecretDataError) as caught:
        build_secret(make_class(make_secret_object(k="p")), 0, {}, [], RULES)
    assert str(caught.value) == (
        "SecretProviderClass default/app: spec.secretObjects[0].data[0].objectName: "
        "file matching objectName p not found in the pod"
    )


def test_more_than_a_mebibyte_is_an_error() -> None:
    entry = make_secret_object(a="p", b="q")
    half = b"x" * (MAX_SECRET_BYTES // 2)
    build_secret(make_class(entry), 0, {"p": half, "q": half}, [], RULES)
    with pytest.raises(SecretDataError, match="with q the Secret is over 1048576 bytes"):
        build_secret(make_class(entry), 0, {"p": half, "q": half + b"x"}, [], RULES)


TLS = make_secret_object("db", "kubernetes.io/tls", **{"tls.crt": "c", "tls.key": "k"})
TLS_CA = make_secret_object("db", "kubernetes.io/tls", **{"tls.crt": "c", "tls.key": "k", "ca.crt": "a"})


def test_a_tls_secret_has_all_certificates_and_the_key_unchanged() -> None:
    chain = pem("CERTIFICATE", b"leaf") + b"between\n" + pem("CERTIFICATE", b"issuer")
    for label in ("RSA PRIVATE KEY", "EC PRIVATE KEY", "PRIVATE KEY"):
        key = pem("EC PARAMETERS", b"curve") + pem(label)
        data = decoded(
            build_secret(make_class(TLS_CA), 0, {"c": key + chain, "k": key + chain, "a": chain}, [], RULES)
        )
        assert data == {
            "tls.crt": pem("CERTIFICATE", b"leaf") + pem("CERTIFICATE", b"issuer"),
            "tls.key": pem(label),
            "ca.crt": pem("CERTIFICATE", b"leaf") + pem("CERTIFICATE", b"issuer"),
        }


def test_of_several_private_keys_the_last_is_taken() -> None:
    key = pem("PRIVATE KEY", b"1") + pem("PRIVATE KEY", b"2")
    data = decoded(build_secret(make_class(TLS), 0, {"c": pem("CERTIFICATE"), "k": key}, [], RULES))
    assert data["tls.key"] == pem("PRIVATE KEY", b"2")


CERTIFICATE = pem("CERTIFICATE")


@pytest.mark.parametrize(
    ("certificate", "key", "message"),
    [
        (
            b"\x30\x82" + CANARY,
            pem("PRIVATE KEY"),
            "data[0].objectName: the file for tls.crt is neither PEM nor PKCS#12, nor a certificate",
        ),
        (CERTIFICATE, CANARY, "data[1].objectName: the file for tls.key is neither PEM nor PKCS#12 nor DER"),
        (CERTIFICATE, b"", "data[1].objectName: the file for tls.key is neither PEM nor PKCS#12 nor DER"),
        (
            pem("PRIVATE KEY"),
            pem("PRIVATE KEY"),
            "data[0].objectName: the PEM file for tls.crt has no CERTIFICATE",
        ),
        (CERTIFICATE, CERTIFICATE, "data[1].objectName: the PEM file for tls.key has no private key"),
        (CERTIFICATE, pem("PUBLIC KEY"), "data[1].objectName: the PEM file for tls.key has no private key"),
        (
            CERTIFICATE,
            pem("ENCRYPTED PRIVATE KEY"),
            "data[1].objectName: the private key for tls.key is encrypted",
        ),
        (
            b"-----BEGIN CERTIFICATE-----\n" + CANARY,
            pem("PRIVATE KEY"),
            "data[0].objectName: the file for tls.crt can't be read as PEM: the PEM block of line 1 has no END",
        ),
    ],
)
def test_a_tls_file_that_cannot_be_used_is_an_error_without_its_content(
    certificate: bytes, key: bytes, message: str
) -> None:
    with pytest.raises(SecretDataError) as caught:
        build_secret(make_class(TLS), 0, {"c": certificate, "k": key}, [], RULES)
    assert message in str(caught.value)
    assert CANARY.decode() not in str(caught.value)
    assert base64.b64encode(CANARY).decode() not in str(caught.value)


def test_a_tls_secret_is_made_from_one_pkcs12_file() -> None:
    content = (Path(__file__).parent / "key_stores" / "aes-rsa.p12").read_bytes()
    entry = make_secret_object("db", "kubernetes.io/tls", **dict.fromkeys(TLS_KEYS, "store.pfx"))
    data = decoded(build_secret(make_class(entry), 0, {"store.pfx": content}, [], RULES))
    assert [value.count(b"-----BEGIN CERTIFICATE-----") for value in data.values()] == [1, 2, 0]
    assert data["tls.key"].startswith(b"-----BEGIN RSA PRIVATE KEY-----")


@pytest.mark.parametrize("secret_type", sorted(PRIVILEGED))
def test_types_that_give_rights_are_made_when_that_is_allowed(secret_type: str) -> None:
    rules = dataclasses.replace(RULES, allow_privileged_types=True)
    entry = make_secret_object("db", secret_type, token="p")
    assert build_secret(make_class(entry), 0, {"p": b"x"}, [], rules)["type"] == secret_type


def made_of_all(files: dict[str, bytes], secret_type: str = "Opaque") -> dict[str, bytes]:
    spc = make_class(make_secret_object("db", secret_type))
    assert object_names(spc, 0) is None
    return decoded(build_secret(spc, 0, files, [], RULES))


def test_without_data_every_file_is_there_under_its_name_with_dots_for_slashes() -> None:
    files = {"user": b"me", "db/password": CANARY, ".env": b"", "a-b_c.D": b"x"}
    assert made_of_all(files) == {"user": b"me", "db.password": CANARY, ".env": b"", "a-b_c.D": b"x"}
    tls = {"tls.crt": pem("CERTIFICATE"), "tls.key": pem("PRIVATE KEY")}
    assert made_of_all(tls, "kubernetes.io/tls") == tls


@pytest.mark.parametrize(
    ("files", "secret_type", "message"),
    [
        ({}, "Opaque", "data is empty, and so is the volume: there is no file to take"),
        ({"a b": CANARY}, "Opaque", "data is empty, and file 'a b' has no key: 'a b' can't be a key"),
        ({"./x": CANARY}, "Opaque", "data is empty, and file './x' has no key: '..x' can't be a key"),
        ({"\udcff": CANARY}, "Opaque", "data is empty, and file '\\udcff' has no key"),
        ({"k" * 254: CANARY}, "Opaque", "data is empty, and file 'kkk"),
        (
            {"a.b": b"", "a/b": CANARY},
            "Opaque",
            "data is empty, and files 'a.b' and 'a/b' have one key, 'a.b'",
        ),
        (
            {"user": CANARY},
            "kubernetes.io/ssh-auth",
            "a Secret of type kubernetes.io/ssh-auth needs key ssh-",
        ),
        (
            {"ca.crt": pem("CERTIFICATE"), "notes": CANARY},
            "kubernetes.io/tls",
            "data is empty, and file 'notes' has no key: key 'notes' is not supported",
        ),
        (
            {"tls.crt": pem("CERTIFICATE")},
            "kubernetes.io/tls",
            "a Secret of type kubernetes.io/tls needs key",
        ),
        (
            {"a": b"x" * MAX_SECRET_BYTES, "b": b"x"},
            "Opaque",
            "with b the Secret is over 1048576 bytes, which the API does not take",
        ),
    ],
)
def test_without_data_a_file_that_cannot_be_a_key_is_named(
    files: dict[str, bytes], secret_type: str, message: str
) -> None:
    check_secret_object(make_class(make_secret_object("db", secret_type)), 0, RULES)
    with pytest.raises(SecretDataError) as caught:
        made_of_all(files, secret_type)
    text = str(caught.value)
    assert text.startswith(f"SecretProviderClass default/app: spec.secretObjects[0].data: {message}")
    assert CANARY.decode() not in text


def with_json_key(json_key: str, **files: bytes) -> dict[str, bytes]:
    data = (
        SecretObjectData(object_name="plain", key="plain"),
        SecretObjectData(object_name="doc", key="k", json_key=json_key),
    )
    entry = dataclasses.replace(make_secret_object(), data=data)
    return decoded(build_secret(make_class(entry), 0, {"plain": b"{}", **files}, [], RULES))


def test_a_json_key_takes_one_value_of_a_file() -> None:
    document = b'{"user": "me", "db": {"port": 5432, "tags": ["a", "b"]}}'
    assert with_json_key("user", doc=document) == {"plain": b"{}", "k": b"me"}
    assert with_json_key("db.port", doc=document)["k"] == b"5432"
    assert with_json_key("db", doc=document)["k"] == b'{"port":5432,"tags":["a","b"]}'


def test_of_a_large_document_only_the_value_counts() -> None:
    document = b'{"filler": "' + b"x" * (MAX_SECRET_BYTES - 50) + b'", "a": "me"}'
    data = tuple(SecretObjectData(object_name="doc", key=key, json_key="a") for key in ("k", "l", "m"))
    entry = dataclasses.replace(make_secret_object(), data=data)
    made = decoded(build_secret(make_class(entry), 0, {"doc": document}, [], RULES))
    assert made == dict.fromkeys("klm", b"me")


@pytest.mark.parametrize(
    ("json_key", "document", "field", "message"),
    [
        ("user.name", b'{"user": "CANARY-9f1c"}', "jsonKey", "file doc has no key 'user.name'"),
        ("user", b'{"user": CANARY-9f1c}', "jsonKey", "file doc is not valid JSON (line 1, column 10)"),
        ("user", CANARY, "jsonKey", "file doc is not valid JSON (line 1, column 1)"),
        ("user", b'["CANARY-9f1c"]', "jsonKey", "file doc is not a JSON object"),
        ("user", b'{"user": "CANARY-9f1c\\ud800"}', "jsonKey", "file doc has half a surrogate pair in it"),
        ("user", CANARY + b"x" * MAX_SECRET_BYTES, "objectName", "file doc is over 1048576 bytes"),
    ],
)
def test_a_json_key_that_leads_nowhere_is_named_without_content(
    json_key: str, document: bytes, field: str, message: str
) -> None:
    with pytest.raises(SecretDataError) as caught:
        with_json_key(json_key, doc=document)
    text = str(caught.value)
    assert text.startswith(
        f"SecretProviderClass default/app: spec.secretObjects[0].data[1].{field}: {message}"
    )
    assert CANARY.decode() not in text
    assert caught.value.__cause__ is None


NAMES = st.text("abc/.", min_size=1, max_size=4)
KEYS = st.text("abc.-_", min_size=1, max_size=4).filter(lambda key: key != "." and not key.startswith(".."))


@st.composite
def classes_and_files(draw: st.DrawFn) -> tuple[SecretProviderClass, dict[str, bytes]]:
    data = draw(st.dictionaries(KEYS, NAMES, min_size=1, max_size=4))
    labels = draw(st.dictionaries(KEYS, NAMES, max_size=3))
    entry = dataclasses.replace(make_secret_object("db", "Opaque", **data), labels=labels)
    files = {name: draw(st.binary(max_size=20)) for name in data.values()}
    return make_class(entry), files


def _shuffled(values: dict[str, bytes], order: random.Random) -> dict[str, bytes]:
    return dict(order.sample(list(values.items()), len(values)))


@given(classes_and_files(), st.randoms())
def test_building_is_deterministic_and_keeps_every_byte(
    made: tuple[SecretProviderClass, dict[str, bytes]], order: random.Random
) -> None:
    spc, files = made
    first = build_secret(spc, 0, files, [OWNER], RULES)
    again = build_secret(spc, 0, _shuffled(files, order), [dict(OWNER)], RULES)
    # The order of keys counts, too: it is the order in the file.
    assert repr(first) == repr(again)
    assert decoded(first) == {
        item.key.strip(): files[item.object_name.strip()] for item in spc.secret_objects[0].data
    }
