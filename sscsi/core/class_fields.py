"""The fields that our CRDs have (deploy/crds; a test compares them). The API server drops every other one.

A path is written as `spec.secretObjects[].data[].key`; `{}` stands for the free keys of a map.
"""

CLASS_FIELDS = frozenset(
    {
        "apiVersion",
        "kind",
        "metadata",
        "spec",
        "spec.provider",
        "spec.parameters",
        "spec.parameters{}",
        "spec.secretObjects",
        "spec.secretObjects[]",
        "spec.secretObjects[].secretName",
        "spec.secretObjects[].type",
        "spec.secretObjects[].labels",
        "spec.secretObjects[].labels{}",
        "spec.secretObjects[].annotations",
        "spec.secretObjects[].annotations{}",
        "spec.secretObjects[].data",
        "spec.secretObjects[].data[]",
        "spec.secretObjects[].data[].objectName",
        "spec.secretObjects[].data[].key",
        "spec.secretObjects[].data[].jsonKey",
        "status",
    }
)
"""Of a SecretProviderClass, v1."""
STATUS_FIELDS = frozenset(
    {
        "apiVersion",
        "kind",
        "metadata",
        "status",
        "status.podName",
        "status.secretProviderClassName",
        "status.mounted",
        "status.targetPath",
        "status.objects",
        "status.objects[]",
        "status.objects[].id",
        "status.objects[].version",
        "status.conditions",
        "status.conditions[]",
        "status.conditions[].type",
        "status.conditions[].status",
        "status.conditions[].reason",
        "status.conditions[].message",
        "status.conditions[].lastTransitionTime",
        "status.lastChangeTime",
    }
)
"""Of a SecretProviderClassPodStatus, v1."""
# What the API server knows of every object's metadata, as far as people write it.
METADATA_FIELDS = frozenset(
    {
        "annotations",
        "creationTimestamp",
        "deletionGracePeriodSeconds",
        "deletionTimestamp",
        "finalizers",
        "generateName",
        "generation",
        "labels",
        "managedFields",
        "name",
        "namespace",
        "ownerReferences",
        "resourceVersion",
        "selfLink",
        "uid",
    }
)
"""Of any object's metadata (metav1.ObjectMeta)."""


def schema_fields(schema: object, path: str = "") -> frozenset[str]:
    """The fields of an OpenAPI schema, as above; below `metadata` it does not look."""
    found: set[str] = {path} if path else set()
    if not isinstance(schema, dict) or path == "metadata":
        return frozenset(found)
    properties = schema.get("properties")
    if isinstance(properties, dict):
        for name, inner in properties.items():
            found |= schema_fields(inner, f"{path}.{name}" if path else str(name))
    if isinstance(schema.get("items"), dict):
        found |= schema_fields(schema["items"], f"{path}[]")
    if isinstance(schema.get("additionalProperties"), dict):
        found |= schema_fields(schema["additionalProperties"], f"{path}{{}}")
    return frozenset(found)
