"""What the four big providers read of a class: parameters, and fields of their objects (providers reference, 1).

The providers decide, and newer releases know more: an unknown name is worth a word, not a refusal.
"""

import dataclasses
import re
from collections.abc import Mapping

_ENCODINGS = frozenset({"utf-8", "base64", "hex"})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ObjectFields:
    """Fields of one entry: those it needs, all there are, and for some the values that are taken.

    `nested` are fields that hold entries of their own, `octal` those whose value is four octal digits.
    """

    required: frozenset[str]
    known: frozenset[str]
    values: Mapping[str, frozenset[str]] = dataclasses.field(default_factory=dict)
    nested: Mapping[str, "ObjectFields"] = dataclasses.field(default_factory=dict)
    octal: frozenset[str] = frozenset()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ProviderParameters:
    """Parameters of one provider. Of each group in `required` one is needed; of each in `exclusive` one at most.

    `objects` is the parameter whose text is a YAML list of entries with `fields`; with `is_array`, a mapping `array` of
    such texts.
    """

    known: frozenset[str]
    required: tuple[tuple[str, ...], ...]
    objects: str
    fields: ObjectFields
    exclusive: tuple[tuple[str, ...], ...] = ()
    values: Mapping[str, frozenset[str]] = dataclasses.field(default_factory=dict)
    is_array: bool = False


# What Go's strconv.ParseBool takes.
_BOOLEANS = frozenset({"1", "t", "T", "TRUE", "true", "True", "0", "f", "F", "FALSE", "false", "False"})
_MAX_VERSIONS = 1000
_AWS = ProviderParameters(
    known=frozenset(
        {"objects", "region", "failoverRegion", "pathTranslation", "usePodIdentity", "preferredAddressType"}
    ),
    required=(("objects",),),
    values={"usePodIdentity": _BOOLEANS},
    objects="objects",
    fields=ObjectFields(
        required=frozenset({"objectName"}),
        known=frozenset(
            {
                "objectName",
                "objectType",
                "objectAlias",
                "objectVersion",
                "objectVersionLabel",
                "filePermission",
                "jmesPath",
                "failoverObject",
            }
        ),
        values={"objectType": frozenset({"secretsmanager", "ssmparameter"})},
        octal=frozenset({"filePermission"}),
        nested={
            "jmesPath": ObjectFields(
                required=frozenset({"path", "objectAlias"}),
                known=frozenset({"path", "objectAlias", "filePermission"}),
                octal=frozenset({"filePermission"}),
            ),
            "failoverObject": ObjectFields(
                required=frozenset({"objectName"}),
                known=frozenset({"objectName", "objectVersion", "objectVersionLabel"}),
            ),
        },
    ),
)
_AZURE = ProviderParameters(
    known=frozenset(
        {
            "keyvaultName",
            "objects",
            "tenantID",
            "tenantId",
            "cloudName",
            "cloudEnvFileName",
            "usePodIdentity",
            "useVMManagedIdentity",
            "userAssignedIdentityID",
            "useAzureTokenProxy",
            "clientID",
        }
    ),
    required=(("keyvaultName",), ("objects",), ("tenantID", "tenantId")),
    values=dict.fromkeys(("usePodIdentity", "useVMManagedIdentity", "useAzureTokenProxy"), _BOOLEANS),
    objects="objects",
    is_array=True,
    fields=ObjectFields(
        required=frozenset({"objectName", "objectType"}),
        known=frozenset(
            {
                "objectName",
                "objectType",
                "objectAlias",
                "objectVersion",
                "objectVersionHistory",
                "objectFormat",
                "objectEncoding",
                "filePermission",
            }
        ),
        values={
            "objectType": frozenset({"secret", "key", "cert"}),
            "objectFormat": frozenset({"pem", "pfx"}),
            "objectEncoding": _ENCODINGS,
        },
        octal=frozenset({"filePermission"}),
    ),
)
_GCP = ProviderParameters(
    known=frozenset({"secrets", "auth"}),
    required=(("secrets",),),
    values={"auth": frozenset({"pod-adc", "provider-adc"})},
    objects="secrets",
    fields=ObjectFields(
        required=frozenset({"resourceName"}),
        known=frozenset({"resourceName", "fileName", "path", "mode", "extractJSONKey", "extractYAMLKey"}),
    ),
)


def _vault(prefix: str) -> ProviderParameters:
    own = (
        "Address",
        "Namespace",
        "SkipTLSVerify",
        "CACertPath",
        "CADirectory",
        "TLSServerName",
        "TLSClientCertPath",
        "TLSClientKeyPath",
        "AuthMountPath",
        "KubernetesMountPath",
    )
    return ProviderParameters(
        known=frozenset({"objects", "roleName", "audience", *(prefix + name for name in own)}),
        required=(("objects",), ("roleName",)),
        exclusive=((f"{prefix}AuthMountPath", f"{prefix}KubernetesMountPath"),),
        values={f"{prefix}SkipTLSVerify": _BOOLEANS},
        objects="objects",
        fields=ObjectFields(
            required=frozenset({"objectName", "secretPath"}),
            known=frozenset(
                {
                    "objectName",
                    "secretPath",
                    "secretKey",
                    "method",
                    "secretArgs",
                    "filePermission",
                    "encoding",
                }
            ),
            values={"encoding": _ENCODINGS},
        ),
    )


PROVIDERS: Mapping[str, ProviderParameters] = {
    "aws": _AWS,
    "azure": _AZURE,
    "gcp": _GCP,
    "vault": _vault("vault"),
    "openbao": _vault("openbao"),
}
"""By the provider's name in a class, as its own manifests install it."""


def file_names(provider: str, parameters: Mapping[str, str], entry: Mapping[str, object]) -> tuple[str, ...]:
    """Paths in the volume that one entry of the provider's objects becomes; empty when that can't be told."""

    def text(name: str) -> str:
        value = entry.get(name)
        return value if isinstance(value, str) else ""

    if provider == "aws":
        return _aws_names(parameters.get("pathTranslation", "_"), entry)
    if provider == "azure":
        history = str(entry.get("objectVersionHistory") or "0")
        name = text("objectAlias") or text("objectName")
        if not name or not re.fullmatch("[0-9]{1,4}", history) or int(history) > _MAX_VERSIONS:
            return ()
        return tuple(f"{name}/{number}" for number in range(int(history))) if int(history) > 1 else (name,)
    name = text("path") or text("fileName") if provider == "gcp" else text("objectName")
    return (name,) if name else ()


def _aws_names(translation: str, entry: Mapping[str, object]) -> tuple[str, ...]:
    parts = entry.get("jmesPath")
    entries = [entry, *(parts if isinstance(parts, list) else ())]
    names = []
    for one in entries:
        name = one.get("objectAlias") or one.get("objectName") if isinstance(one, dict) else None
        if isinstance(name, str) and name:
            names.append(name if translation.lower() == "false" else name.replace("/", translation or "_"))
    return tuple(names)
