"""`sscsi lint`: what it finds in classes, in process and as an operator runs it."""

import json
import os
import subprocess
import textwrap

import pytest

from sscsi.cli.lint import FILE, FLAGS, lint
from sscsi.cli.lint_finding import Check, Severity
from sscsi.core.class_fields import CLASS_FIELDS, STATUS_FIELDS, schema_fields
from sscsi.process.flags import usage
from tests.cli.fake_node import SSCSI
from tests.kubeapi import manifests
from tests.support.checkout import ROOT

HEAD = "apiVersion: secrets-store.csi.x-k8s.io/v1\nkind: SecretProviderClass\n"
NAMED = HEAD + "metadata: {name: web, namespace: shop}\n"


def spec(text: str) -> str:
    """A class with this spec, whose first line is the fifth of the file."""
    return NAMED + "spec:\n" + textwrap.indent(textwrap.dedent(text).strip("\n"), "  ") + "\n"


def found(text: str, *, allow_privileged_types: bool = False) -> list[tuple[int, str, str, str]]:
    """Line, severity, kind and field of each finding."""
    report = lint([("a.yaml", text.encode())], allow_privileged_types=allow_privileged_types)
    return [(one.line, str(one.severity), str(one.check), one.field) for one in report.findings]


def message_of(text: str, check: Check) -> str:
    (message,) = (
        one.message
        for one in lint([("a.yaml", text.encode())], allow_privileged_types=False).findings
        if one.check == check
    )
    return message


PLAIN = "provider: some\n"
SECRETS = "spec.secretObjects"
CASES = [
    pytest.param(spec(PLAIN), [], id="clean"),
    pytest.param(NAMED + "spec: [\n", [(5, "error", "yaml", "")], id="no YAML"),
    pytest.param(HEAD + "spec: {provider: some}\n", [(1, "error", "schema", "metadata.name")], id="no name"),
    pytest.param(
        spec("provider: 7\n"), [(5, "error", "schema", "spec.provider")], id="a number for a string"
    ),
    pytest.param(
        spec(PLAIN + "paramters: {}\n"), [(6, "error", "unknown-field", "spec.paramters")], id="unknown field"
    ),
    pytest.param(
        spec(PLAIN + "secretObjects: [{secretname: a}]\n"),
        [
            (6, "error", "secret", f"{SECRETS}[0].secretName"),
            (6, "error", "unknown-field", f"{SECRETS}[0].secretname"),
        ],
        id="unknown field in a list",
    ),
    pytest.param(
        HEAD + "metadata: {name: web, anotations: {}}\nspec: {provider: some}\n",
        [(3, "error", "unknown-field", "metadata.anotations")],
        id="unknown field of the metadata",
    ),
    pytest.param(
        spec(PLAIN).replace("/v1\n", "/v1alpha1\n"),
        [(1, "warning", "deprecated", "apiVersion")],
        id="deprecated",
    ),
    pytest.param(
        HEAD + "metadata: {name: web, namespace: a.b}\nspec: {provider: some}\n",
        [(3, "error", "name", "metadata.namespace")],
        id="no namespace has dots",
    ),
    pytest.param(
        HEAD + "metadata: {name: Web}\nspec: {provider: some}\n",
        [(3, "error", "schema", "metadata.name")],
        id="upper case",
    ),
    pytest.param(
        spec(PLAIN + "secretObjects:\n- secretName: a\n  type: Opaque\n  labels: {a: 'b c', -x: b}\n"),
        [
            (7, "info", "keys", f"{SECRETS}[0]"),
            (9, "error", "name", f"{SECRETS}[0].labels.-x"),
            (9, "error", "name", f"{SECRETS}[0].labels.a"),
        ],
        id="labels",
    ),
    pytest.param(spec("parameters: {}\n"), [(5, "error", "provider", "spec.provider")], id="no provider"),
    pytest.param(
        spec("provider: a/b\n"), [(5, "error", "provider", "spec.provider")], id="a provider's name"
    ),
    pytest.param(
        spec(
            "provider: vault\nparameters: {rolename: a, vaultAuthMountPath: a, vaultKubernetesMountPath: b}\n"
        ),
        [
            (6, "error", "parameter", "spec.parameters.objects"),
            (6, "error", "parameter", "spec.parameters.roleName"),
            (6, "warning", "parameter", "spec.parameters.rolename"),
            (6, "error", "parameter", "spec.parameters.vaultAuthMountPath"),
        ],
        id="vault's parameters",
    ),
    pytest.param(
        spec(
            """
            provider: vault
            parameters:
              roleName: app
              objects: |
                - objectName: db
                  secretPath: secret/data/db
                  secretkey: password
                - objectName: db
                  secretPath: secret/data/db
                  encoding: rot13
            """
        ),
        [
            (8, "error", "same-file", "spec.parameters.objects"),
            (11, "warning", "objects", "spec.parameters.objects[0].secretkey"),
            (14, "error", "objects", "spec.parameters.objects[1].encoding"),
        ],
        id="vault's objects, at their own lines",
    ),
    pytest.param(
        spec(
            """
            provider: aws
            parameters:
              objects: |
                - objectName: app/db
                - objectName: arn:aws:secretsmanager:eu-central-1:1:secret:x
                  filePermission: 0400
                  jmesPath: [{path: a}]
            """
        ),
        [
            (8, "error", "objects", "spec.parameters.objects[0].objectType"),
            (10, "error", "objects", "spec.parameters.objects[1].filePermission"),
            (11, "error", "objects", "spec.parameters.objects[1].jmesPath[0].objectAlias"),
        ],
        id="aws' objects",
    ),
    pytest.param(
        spec(
            """
            provider: azure
            parameters:
              keyvaultName: kv
              objects: |
                array:
                  - |
                    objectName: a
                    objectType: sekret
                  - {objectName: b, objectType: [key], objectVersionHistory: 1000000000000}
            """
        ),
        [
            (7, "error", "parameter", "spec.parameters.tenantID"),
            (12, "error", "objects", "spec.parameters.objects[0].objectType"),
            (13, "error", "objects", "spec.parameters.objects[1].objectType"),
        ],
        id="azure's array of texts",
    ),
    pytest.param(
        spec("provider: azure\nparameters: {keyvaultName: a, tenantID: b, objects: '[]'}\n"),
        [(6, "error", "objects", "spec.parameters.objects")],
        id="azure's objects without array",
    ),
    pytest.param(
        spec("provider: gcp\nparameters:\n  auth: none\n  secrets: |\n    - fileName: a\n    - [\n"),
        [
            (7, "error", "parameter", "spec.parameters.auth"),
            (11, "error", "objects", "spec.parameters.secrets"),
        ],
        id="gcp's secrets are no YAML",
    ),
    pytest.param(
        spec("provider: gcp\nparameters:\n  secrets: |\n    - {resourceName: a, path: ../x}\n"),
        [(7, "error", "objects", "spec.parameters.secrets")],
        id="a path that the driver refuses",
    ),
    pytest.param(
        spec("provider: file\nparameters: {objects: '- {objectName: /etc}'}\n"),
        [(6, "error", "objects", "spec.parameters.objects")],
        id="the file provider's objects",
    ),
    pytest.param(
        spec("provider: file\n"),
        [(5, "error", "parameter", "spec.parameters.objects")],
        id="no objects at all",
    ),
    pytest.param(
        spec(PLAIN + "secretObjects: [{secretName: a, type: kubernetes.io/service-account-token}]\n"),
        [(6, "error", "secret", f"{SECRETS}[0].type")],
        id="a type that gives rights",
    ),
    pytest.param(
        spec(
            PLAIN
            + "secretObjects:\n- secretName: a\n  type: Opaque\n  data:\n"
            + "  - {objectName: x, key: k}\n  - {objectName: y, key: k}\n"
        ),
        [(7, "info", "keys", f"{SECRETS}[0]"), (11, "warning", "same-key", f"{SECRETS}[0].data[1].key")],
        id="one key twice",
    ),
    pytest.param(
        spec(PLAIN + "secretObjects:\n- {secretName: a, type: Opaque}\n- {secretName: a, type: Opaque}\n"),
        [
            (7, "info", "keys", f"{SECRETS}[0]"),
            (8, "info", "keys", f"{SECRETS}[1]"),
            (8, "error", "same-secret", f"{SECRETS}[1].secretName"),
        ],
        id="one Secret twice",
    ),
    pytest.param(
        spec(PLAIN) + "---\n" + spec(PLAIN),
        [(9, "error", "defined-twice", "metadata.name")],
        id="defined twice",
    ),
    pytest.param("kind: Pod\n---\nkind: List\nitems: []\n", [], id="other kinds"),
]


@pytest.mark.parametrize(("text", "expected"), CASES)
def test_each_fault_is_found_at_its_place_and_nothing_else(
    text: str, expected: list[tuple[int, str, str, str]]
) -> None:
    assert found(text) == expected


def test_every_kind_of_finding_is_in_a_case() -> None:
    kinds = {one[2] for case in CASES for one in case.values[1]}  # type: ignore[union-attr]
    # These two have tests of their own.
    assert kinds | {"annotation", "secret-file"} == {str(check) for check in Check}


def test_a_misspelled_name_gets_the_nearest_one() -> None:
    assert "did you mean parameters?" in message_of(spec(PLAIN + "paramters: {}\n"), Check.UNKNOWN_FIELD)
    text = spec(
        "provider: gcp\nparameters: {secret: '', secrets: '- {resourceName: a, path: a, extractJsonkey: b}'}\n"
    )
    assert message_of(text, Check.PARAMETER).endswith("did you mean secrets?")
    assert message_of(text, Check.OBJECTS).endswith("did you mean extractJSONKey?")


def test_the_keys_of_a_secret_are_told() -> None:
    objects = (
        "objects: '[{objectName: a/b, objectType: ssmparameter}, {objectName: c, objectType: ssmparameter}]'"
    )
    listed = spec(
        f"provider: aws\nparameters: {{{objects}}}\nsecretObjects: [{{secretName: s, type: Opaque}}]\n"
    )
    assert message_of(listed, Check.KEYS) == "Secret shop/s gets a_b (from a_b), c (from c)"
    kept = listed.replace("{objects", "{pathTranslation: 'False', objects")
    assert message_of(kept, Check.KEYS) == "Secret shop/s gets a.b (from a/b), c (from c)"
    unknown = spec(PLAIN + "secretObjects: [{secretName: s, type: Opaque}]\n")
    assert "every file" in message_of(unknown, Check.KEYS)


def test_a_file_that_no_object_becomes_is_missed_where_the_files_are_known() -> None:
    text = """
        provider: {}
        parameters: {{objects: '[{{objectName: "a{}", objectType: ssmparameter}}]'}}
        secretObjects: [{{secretName: s, type: Opaque, data: [{{objectName: b, key: k}}]}}]
    """
    assert "no object of this class becomes a file 'b'" in message_of(
        spec(text.format("aws", "")), Check.SECRET_FILE
    )
    (keys,) = found(spec(text.replace(", objectType: ssmparameter", "").format("file", "*")))
    assert keys[2] == "keys"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("rotation-poll-interval", "often", "not a duration"),
        ("rotation-poll-interval", "1s", "below the floor"),
        ("rotation-poll-intervals", "5m", "did you mean"),
        ("share-provider-calls", "yes", "neither"),
        ("refresh-at", "x" * 300, "256"),
    ],
)
def test_an_annotation_that_makes_no_sense_is_a_warning(name: str, value: str, words: str) -> None:
    annotation = f"secrets-store.csi.k8s.io/{name}"
    text = (
        HEAD
        + f"metadata:\n  name: web\n  annotations: {{{annotation}: '{value}'}}\nspec: {{provider: some}}\n"
    )
    assert found(text) == [(5, "warning", "annotation", f"metadata.annotations.{annotation}")]
    assert words in message_of(text, Check.ANNOTATION)


def test_two_classes_on_one_secret_are_told_of_the_one_that_status_sync_does_not_serve() -> None:
    secrets = "secretObjects: [{secretName: db, type: Opaque}]\n"
    one, two = spec(PLAIN + secrets), spec(PLAIN + secrets).replace("name: web", "name: app")
    report = lint([("one.yaml", one.encode()), ("two.yaml", two.encode())], allow_privileged_types=False)
    (error,) = (finding for finding in report.findings if finding.severity is Severity.ERROR)
    assert (error.file, error.check) == ("one.yaml", Check.SAME_SECRET)
    assert "as SecretProviderClass app makes this Secret" in error.message
    elsewhere = two.replace("namespace: shop", "namespace: other")
    assert lint([("a", one.encode()), ("b", elsewhere.encode())], allow_privileged_types=False).errors == 0


def test_types_that_give_rights_may_be_allowed() -> None:
    text = spec(PLAIN + "secretObjects: [{secretName: a, type: bootstrap.kubernetes.io/token}]\n")
    assert [severity for _, severity, _, _ in found(text, allow_privileged_types=True)] == ["info"]


@pytest.mark.parametrize("kind", ["SecretProviderClass", "SecretProviderClassPodStatus"])
def test_the_fields_are_those_of_our_crds(kind: str) -> None:
    (crd,) = (one for one in manifests.documents(manifests.CRDS) if one["spec"]["names"]["kind"] == kind)
    (schema,) = (
        version["schema"]["openAPIV3Schema"] for version in crd["spec"]["versions"] if version["name"] == "v1"
    )
    fields = {"SecretProviderClass": CLASS_FIELDS, "SecretProviderClassPodStatus": STATUS_FIELDS}
    assert schema_fields(schema) == fields[kind]


def run(*arguments: str, text: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [SSCSI, "lint", *arguments], input=text, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture
def directory(tmp_path: "os.PathLike[str]") -> str:
    path = os.fspath(tmp_path)
    for name, text in (("b.yaml", spec("provider: a/b\n")), ("a.yml", spec(PLAIN)), ("c.txt", "kind: [")):
        with open(os.path.join(path, name), "w", encoding="utf-8") as file:
            file.write(text.replace("web", name[0]))
    return path


def test_a_directory_is_checked_and_the_code_says_that_there_are_errors(directory: str) -> None:
    answer = run(directory)
    path = os.path.join(directory, "b.yaml")
    assert answer.stdout.splitlines() == [
        f"{path}:5: error: spec.provider: 'a/b' can't name a provider: letters, digits, - and _, at most 30",
        "2 classes, 1 error, 0 warnings",
    ]
    assert (answer.returncode, answer.stderr) == (1, "")
    assert run(os.path.join(directory, "a.yml")).returncode == 0


def test_standard_input_and_json() -> None:
    answer = run("--json", "-", text=spec(PLAIN).replace("/v1\n", "/v1alpha1\n"))
    document = json.loads(answer.stdout)
    assert (answer.returncode, document["version"], document["classes"], document["warnings"]) == (0, 1, 1, 1)
    (finding,) = document["findings"]
    assert sorted(finding) == ["check", "field", "file", "line", "message", "severity"]
    assert (finding["file"], finding["line"]) == ("<stdin>", 1)


@pytest.mark.parametrize("arguments", [[], ["/no/such/file"], ["/dev/null"], ["--no-such", "-"]])
def test_what_can_not_be_read_is_code_2_and_one_line(arguments: list[str]) -> None:
    answer = run(*arguments)
    assert (answer.returncode, answer.stdout) == (2, "")
    (line,) = answer.stderr.splitlines()
    assert line.startswith("sscsi lint: ")


def test_the_classes_of_the_demonstration_are_clean() -> None:
    assert run(os.path.join(ROOT, "sscsi", "cli", "samples", "classes")).returncode == 0


def test_the_page_has_every_kind_of_finding_and_every_flag() -> None:
    with open(os.path.join(ROOT, "docs", "lint.md"), encoding="utf-8") as file:
        lines = file.read().splitlines()
    rows = [
        line.split("|")[1].strip().strip("`") for line in lines if line.startswith("| `") and "--" not in line
    ]
    assert rows == [str(check) for check in Check]
    told = "\n".join(lines)
    assert all(f"`--{flag.name}`" in told for flag in FLAGS)
    assert "FILE... [flags]" in usage("sscsi lint", FLAGS, FILE)
