"""What two rooms tell one another of a class is the whole class."""

from sscsi.core.provider_class import SecretObject, SecretObjectData, SecretProviderClass
from sscsi.edges.class_messages import class_from_message, class_to_message
from sscsi.pb import sscsi_pb2


def test_a_class_comes_back_with_every_field() -> None:
    data = (
        SecretObjectData(object_name="db/password", key="password"),
        SecretObjectData(object_name="db.json", key="user", json_key="db.user"),
    )
    spc = SecretProviderClass(
        namespace="shop",
        name="web",
        uid="u",
        generation=7,
        annotations={"a": "b"},
        provider="file",
        parameters={"objects": "[]"},
        secret_objects=(
            SecretObject(
                secret_name="db", type="Opaque", labels={"l": "1"}, annotations={"n": "2"}, data=data
            ),
            SecretObject(secret_name="all", type="Opaque", labels={}, annotations={}, data=()),
        ),
    )
    written = class_to_message(spc).SerializeToString()
    assert class_from_message(sscsi_pb2.SecretProviderClass.FromString(written)) == spc
